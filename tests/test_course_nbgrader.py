"""The sources are what nbgrader reads: it releases them and grades them as they are."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from streamrl_np.course import notebook, sources
from streamrl_np.course.assignments import ASSIGNMENTS

pytest.importorskip("nbgrader", reason="needs the course extra: pip install -e '.[course]'")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
NAME, FOLDER = "a1", "a1_layers"


def nbgrader(course, *arguments):
    """Run a command of nbgrader in a course directory."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment["JUPYTER_CONFIG_DIR"] = str(course / "config")
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """Make a course directory with the sources as they are, and release the first of them."""
    course = tmp_path_factory.mktemp("course")
    shutil.copytree(sources.DEFAULT / FOLDER, course / "source" / FOLDER)
    nbgrader(course, "generate_assignment", FOLDER, "--create")
    return course


def test_generate_assignment_releases_what_we_release(course):
    path = course / "release" / FOLDER / f"{FOLDER}.ipynb"
    theirs = [
        notebook.source_of(cell).strip() for cell in notebook.parse(path.read_text())["cells"]
    ]
    ours = sources.make("release", ASSIGNMENTS[NAME], None)["cells"]
    assert theirs == [notebook.source_of(cell).strip() for cell in ours]


def test_autograde_gives_the_solution_all_and_the_release_nothing(course):
    for student, kind in ("solver", "solutions"), ("blank", "release"):
        made = sources.make(kind, ASSIGNMENTS[NAME], None)
        notebook.write(course / "submitted" / student / FOLDER / f"{FOLDER}.ipynb", made)
    nbgrader(course, "autograde", FOLDER, "--create")
    nbgrader(course, "export")
    rows = (course / "grades.csv").read_text().splitlines()
    header = rows[0].split(",")
    scores = {}
    for row in rows[1:]:
        cells = dict(zip(header, row.split(","), strict=False))
        scores[cells["student_id"]] = float(cells["score"])
    assert scores == {"solver": float(ASSIGNMENTS[NAME].points), "blank": 0.0}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_nbgraders_preprocessors_make_the_release_that_we_make(name):
    import nbformat
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

    made = nbformat.read(sources.path_of(ASSIGNMENTS[name]), as_version=4)
    for preprocessor in ClearSolutions(), ClearHiddenTests():
        made, _ = preprocessor.preprocess(made, {})
    ours = sources.make("release", ASSIGNMENTS[name], None)["cells"]
    theirs = [cell.source.strip() for cell in made.cells]
    assert theirs == [notebook.source_of(cell).strip() for cell in ours]


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_every_source_is_a_valid_notebook_of_nbgrader(name):
    import nbformat
    from nbgrader.nbgraderformat import MetadataValidator

    text = sources.path_of(ASSIGNMENTS[name]).read_text()
    read = nbformat.reads(text, as_version=4)
    nbformat.validate(read)
    MetadataValidator().validate_nb(read)
    assert json.loads(text)["nbformat"] == 4
