"""The notebooks: text and .ipynb are one, each runs, and its outputs are of the kind committed."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="needs pip install '.[notebooks]'")
pytest.importorskip("jupytext", reason="needs pip install '.[notebooks]'")
import nbformat

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
spec = importlib.util.spec_from_file_location("build", NOTEBOOKS / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
TEXTS = build.texts()


def committed(text):
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


def contents(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def kinds(cell):
    """Say what each output of a cell is: printed text, a table, a figure, an error."""
    found = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kind = output.name  # one print may arrive in pieces
        else:
            kind = sorted(output.get("data", {"error": output.get("ename")}))
        if output.output_type != "stream" or found[-1:] != [kind]:
            found.append(kind)
    return found


def test_there_are_notebooks():
    assert [text.name[:2] for text in TEXTS] == [f"{i:02d}" for i in range(len(TEXTS))]
    assert len(TEXTS) >= 6
    assert {p.stem for p in NOTEBOOKS.glob("*.ipynb")} == {p.stem for p in TEXTS}


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_text_and_notebook_are_one(text):
    assert contents(build.read(text)) == contents(committed(text)), (
        f"run: python notebooks/build.py {text.stem}"
    )
    assert text.with_suffix(".ipynb").stat().st_size < 1024**2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's machinery, not of the notebook
@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_it_said(text):
    fresh, _ = build.execute(text)
    for new, old in zip(fresh.cells, committed(text).cells, strict=True):
        # what a cell tagged so shows depends on what lies in docs/results
        if new.cell_type == "code" and "results" not in new.metadata.get("tags", []):
            assert kinds(new) == kinds(old), new.source
