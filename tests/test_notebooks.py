"""The notebooks: text and .ipynb are one, each runs, and says again what it said when committed.

What it says again is every word and every number, but for what may differ for good reasons:

- A line with a number below 1e-8 in it reports rounding. Which entry was the worst, and by how
  much, is chance; its words must be the same.
- Whole numbers must be equal, others to 1e-3; below 1e-6 they are errors of differences.
- A cell tagged ``trained`` shows what a trained agent did. On the arithmetic that the notebook
  was made with (build.arithmetic) every number of it must come again; on another, learning takes
  another course, and only the kind of output is compared.
- A cell tagged ``results`` shows what lies in docs/results, and that grows.
- Of figures there is but their number; the tables beside them come from the same arrays.
"""

import importlib.util
import itertools
import math
import re
import runpy
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


NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
ENTRY = re.compile(r"\[[-\d, ]*\](?:\.(?:real|imag))?")


def said(cell):
    """List the lines that a cell's outputs say, figures left out."""
    text = ""
    for output in cell.outputs:
        data = output.get("data", {})
        if output.output_type == "stream":
            text += output.text
        elif not any(kind.startswith("image/") for kind in data):
            text += data.get("text/markdown", data.get("text/plain", "")) + "\n"
    return text.splitlines()


def agree(new, old):
    """Say whether two lines say the same, as the head of this file means it."""
    numbers = [[float(token) for token in NUMBER.findall(line)] for line in (new, old)]
    if any(0 < abs(number) < 1e-8 for number in itertools.chain(*numbers)):
        new, old, numbers = ENTRY.sub("", new), ENTRY.sub("", old), [[], []]
    words = [NUMBER.sub("#", line).split() for line in (new, old)]
    close = (
        a == b
        if a.is_integer() and b.is_integer()
        else math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-6)
        for a, b in zip(*numbers, strict=False)
    )
    return words[0] == words[1] and len(numbers[0]) == len(numbers[1]) and all(close)


def news(new, old):
    """List the lines of two cells that do not agree."""
    pairs = itertools.zip_longest(said(new), said(old), fillvalue="(nothing)")
    return [f"now:  {a}\nthen: {b}" for a, b in pairs if not agree(a, b)]


@pytest.mark.parametrize(
    ("new", "old", "same"),
    [
        ("| RTU | 0.9 | 12 |", "| RTU | 0.9 | 12 |", True),
        ("| RTU | 0.9 | 12 |", "| RTU | 0.8 | 12 |", False),
        ("| RTU | 0.9 | 12 |", "| RTU | 0.9 | 13 |", False),
        ("| RTU | 0.9 | 12 |", "| GRU | 0.9 | 12 |", False),
        ("| RTU | 0.9 |", "| RTU | 0.9 | 12 |", False),
        ("0.4500-0.7794j  -0.0000", "0.4501-0.7794j 0.0000", True),
        ("0.4500-0.7794j", "0.4500+0.7794j", False),
        ("differences: 8e-08", "differences: 6e-08", True),
        ("differences: 8e-08", "differences: 8e-02", False),
        ("p.B[2, 1].real  -0.27  1.3e-15  pass", "p.B[0, 0].imag 0.31 2.2e-16  pass", True),
        ("p.B[2, 1].real  -0.27  1.3e-15  pass", "p.B[0, 0].imag 0.31 2.2e-16  fail", False),
        ("array([0.13, 0.19])", "array([0.13, 0.18])", False),
        ("z *= decay", "z *= decay * 2", False),
    ],
)
def test_lines_agree_or_not(new, old, same):
    assert agree(new, old) == agree(old, new) == same


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


def test_the_notebooks_name_the_commands_that_made_the_results():
    commands = runpy.run_path(str(NOTEBOOKS.parent / "docs/commands.py"))["COMMANDS"]
    cells = [cell for text in TEXTS for cell in committed(text).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in said(cell)]
    made = [re.match(r"\*\*(\S+)\*\*, made by (.*):$", line) for line in lines]
    made = {match[1]: match[2] for match in made if match}
    assert len(made) > 5
    assert made == {name: " and ".join(f"`{c}`" for c in commands[name]) for name in made}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the kernel's machinery, not of the notebook
@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_it_said(text):
    fresh, _ = build.execute(text)
    then = committed(text)
    alike = fresh.metadata["arithmetic"] == then.metadata["arithmetic"]
    for new, old in zip(fresh.cells, then.cells, strict=True):
        tags = new.metadata.get("tags", [])
        if new.cell_type == "code" and "results" not in tags:
            assert kinds(new) == kinds(old), new.source
            if alike or "trained" not in tags:
                found = news(new, old)
                lines = new.source, *found, f"run: python notebooks/build.py {text.stem}"
                assert not found, "\n".join(lines)
