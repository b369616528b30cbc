"""Grading a class: right scores and useful lines, whatever is handed in."""

import contextlib
import csv
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from course_help import why_no_isolation

from streamrl_np import cli
from streamrl_np.course import grade, sandbox, sources
from streamrl_np.course.assignments import ASSIGNMENTS
from streamrl_np.course.tasks import SEED, Result

GOOD = {
    "imports": "import numpy as np",
    "linear": "def linear(x, W, b):\n    return x @ W.T + b",
    "linear_vjp": """
        def linear_vjp(g, x, W):
            if g.ndim == 1:
                return g @ W, np.outer(g, x), g
            return g @ W, g.T @ x, g.sum(0)""",
    "layer_norm": """
        def layer_norm(x):
            centred = x - x.mean(-1, keepdims=True)
            inv_std = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            return centred * inv_std, inv_std""",
    "layer_norm_vjp": """
        def layer_norm_vjp(g, y, inv_std):
            gy = (g * y).mean(-1, keepdims=True)
            return inv_std * (g - g.mean(-1, keepdims=True) - y * gy)""",
    "leaky_relu": "def leaky_relu(x):\n    return np.where(x > 0, x, 0.01 * x)",
    "leaky_relu_vjp": "def leaky_relu_vjp(g, x):\n    return np.where(x > 0, g, 0.01 * g)",
}
FULL = 12
NO_LEAKY = FULL - 1 - 2  # leaky_relu and the dense layer
NO_LINEAR_VJP = FULL - 3 - 2


def notebook(**changes):
    """Make a notebook of good cells with some changed, added, or (None) left out."""
    cells = [source for source in (GOOD | changes).values() if source is not None]
    return json.dumps({"cells": [cell(source) for source in cells], "nbformat": 4})


def cell(source):
    return {"cell_type": "code", "metadata": {}, "source": textwrap.dedent(source).strip("\n")}


def linear_vjp(*lines):
    """Make a notebook with another linear_vjp."""
    return notebook(linear_vjp="\n    ".join(["def linear_vjp(g, x, W):", *lines]))


def leaky(*lines):
    """Make a notebook with another leaky_relu."""
    return notebook(leaky_relu="\n    ".join(["def leaky_relu(x):", *lines]))


BATCH = "if g.ndim > 1: return g @ W, {}"
ALONE = "return g @ W, {}"
NOTHING = {name: None for name in GOOD if name != "imports"}
SHELL = """
import os, sys
import numpy as np
"""

# what is handed in, the points it is worth, and words that its feedback must hold
MISTAKES = {
    "with_questions": (
        notebook(
            linear="np.outer?\n?np.dot\n\ndef linear(x, W, b):\n    return x @ W.T + b\nnp.ones??"
        ),
        FULL,
        "Right.",
    ),
    "with_commands": (
        notebook(linear="files = !ls\nt = %time 1\ndef linear(x, W, b):\n    return x @ W.T + b"),
        FULL,
        "Right.",
    ),
    "perfect": (notebook(), FULL, "Right."),
    "perfect_in_a_folder": (notebook(), FULL, "Right."),
    "empty": ("", 0, "the file is empty"),
    "sixty_megabytes": ("x" * 60_000_000, 0, "the file has 60 MB"),
    "broken_json": (notebook()[:-20], 0, "its JSON is broken"),
    "deep_json": ("[" * 200_000, 0, "its JSON is broken"),
    "not_a_notebook": ("[1, 2]", 0, "it has no list of cells"),
    "no_code": ('{"cells": []}', 0, "there is no code in it"),
    "a_picture": (b"\x89PNG\r\n\x1a\n\xff\xfe", 0, "not text in UTF-8"),
    "nothing_written": (notebook(**NOTHING), 0, "there is no linear"),
    "another_assignment": (
        json.dumps({"cells": [cell("x = 1")], "metadata": {"streamrl_np": {"assignment": "a3"}}}),
        0,
        "this notebook is of assignment a3, not of a1",
    ),
    "first_half": (
        notebook(layer_norm=None, layer_norm_vjp=None, leaky_relu=None, leaky_relu_vjp=None),
        4,
        "there is no layer_norm: was its cell deleted",
    ),
    "deleted_cell": (notebook(leaky_relu=None), NO_LEAKY, "there is no leaky_relu"),
    "syntax_error": (
        notebook(layer_norm_vjp="def layer_norm_vjp(g, y, inv_std)\n    return g"),
        NO_LINEAR_VJP,
        "cell 5, line 1: SyntaxError: expected ':'",
    ),
    "indentation": (
        notebook(leaky_relu="def leaky_relu(x):\nreturn x"),
        NO_LEAKY,
        "IndentationError",
    ),
    "duplicate_mended_below": (
        notebook(leaky_relu="def leaky_relu(x):\n    return x", again=GOOD["leaky_relu"]),
        FULL,
        "Right.",
    ),
    "duplicate_spoilt_below": (
        notebook(again="def leaky_relu(x):\n    return x"),
        NO_LEAKY,
        "leaky_relu",
    ),
    "a_name_not_a_function": (notebook(leaky_relu="leaky_relu = 3"), NO_LEAKY, "not a function"),
    "wrong_arguments": (
        notebook(leaky_relu="def leaky_relu():\n    return 1"),
        NO_LEAKY,
        "TypeError",
    ),
    # linear_vjp
    "transposed": (
        linear_vjp(BATCH.format("x.T @ g, g.sum(0)"), ALONE.format("np.outer(x, g), g")),
        NO_LINEAR_VJP,
        "is it transposed?",
    ),
    "sign": (
        linear_vjp(BATCH.format("-g.T @ x, g.sum(0)"), ALONE.format("-np.outer(g, x), g")),
        NO_LINEAR_VJP,
        "the sign is flipped",
    ),
    "factor": (
        linear_vjp(BATCH.format("2 * g.T @ x, g.sum(0)"), ALONE.format("2 * np.outer(g, x), g")),
        NO_LINEAR_VJP,
        "a constant factor: claimed = 2 × expected",
    ),
    "mean_of_batch": (
        linear_vjp(BATCH.format("g.T @ x, g.mean(0)"), ALONE.format("np.outer(g, x), g")),
        NO_LINEAR_VJP,
        "∂L/∂b",
    ),
    "no_sum": (
        linear_vjp(BATCH.format("g.T @ x, g"), ALONE.format("np.outer(g, x), g")),
        NO_LINEAR_VJP,
        "has shape",
    ),
    "no_batch": (linear_vjp(ALONE.format("np.outer(g, x), g")), NO_LINEAR_VJP, "has shape"),
    "two_results": (linear_vjp("return g @ W, np.outer(g, x)"), NO_LINEAR_VJP, "must return 3"),
    "no_return": (linear_vjp("g @ W"), NO_LINEAR_VJP, "returned nothing: is a `return` missing?"),
    "not_written": (linear_vjp("raise NotImplementedError()"), NO_LINEAR_VJP, "not written yet"),
    # layer norm
    "std_held_still": (
        notebook(
            layer_norm_vjp="""
            def layer_norm_vjp(g, y, inv_std):
                return inv_std * (g - g.mean(-1, keepdims=True))"""
        ),
        NO_LINEAR_VJP,
        "the standard deviation is held still",
    ),
    "mean_held_still": (
        notebook(
            layer_norm_vjp="""
            def layer_norm_vjp(g, y, inv_std):
                return inv_std * (g - y * (g * y).mean(-1, keepdims=True))"""
        ),
        NO_LINEAR_VJP,
        "differences say",
    ),
    "eps_outside": (
        notebook(
            layer_norm="""
            def layer_norm(x):
                inv_std = 1 / (x.std(-1, keepdims=True) + 1e-5)
                return (x - x.mean(-1, keepdims=True)) * inv_std, inv_std"""
        ),
        NO_LEAKY,
        "layer_norm on x",
    ),
    "eps_forgotten": (
        notebook(
            layer_norm="""
            def layer_norm(x):
                inv_std = 1 / x.std(-1, keepdims=True)
                return (x - x.mean(-1, keepdims=True)) * inv_std, inv_std"""
        ),
        NO_LEAKY,
        "layer_norm on x",
    ),
    "one_too_few": (
        notebook(
            layer_norm="""
            def layer_norm(x):
                inv_std = 1 / np.sqrt(x.var(-1, keepdims=True, ddof=1) + 1e-5)
                return (x - x.mean(-1, keepdims=True)) * inv_std, inv_std"""
        ),
        NO_LEAKY,
        "layer_norm on x",
    ),
    "one_result": (
        notebook(layer_norm="def layer_norm(x):\n    return x - x.mean(-1, keepdims=True)"),
        NO_LEAKY,
        "layer_norm must return 2 values, it returned one value",
    ),
    # leaky ReLU
    "slope": (leaky("return np.maximum(x, 0.1 * x)"), NO_LEAKY, "leaky_relu on x of shape (2, "),
    "wrong_condition": (
        notebook(leaky_relu_vjp="def leaky_relu_vjp(g, x):\n    return np.where(g > 0, g, 0.01*g)"),
        NO_LEAKY,
        ": the vjp is not linear in g",
    ),
    "in_place": (leaky("x[x < 0] *= 0.01", "return x"), NO_LEAKY, "in place: make a new array"),
    "half_precision": (
        leaky("return np.where(x > 0, x, 0.01 * x).astype('f4')"),
        NO_LEAKY,
        "float32",
    ),
    "an_exception": (leaky("return x[99]"), NO_LEAKY, "IndexError"),
    "a_list": (leaky("return [1.0, 2.0]"), NO_LEAKY, "is 2 values"),
    "a_string": (leaky("return 'right'"), NO_LEAKY, "is a str"),
    "an_object": (leaky("return object()"), NO_LEAKY, "the result holds a object"),
    "objects": (leaky("return x.astype(object)"), NO_LEAKY, "an array of object"),
    "not_finite": (leaky("return x / 0"), NO_LEAKY, "is not finite"),
    "complex": (leaky("return np.where(x > 0, x, 0.01 * x) + 0j"), NO_LEAKY, "is complex"),
    "recursion": (leaky("return leaky_relu(x)"), NO_LEAKY, "RecursionError"),
    "enormous_result": (leaky("return np.zeros(20_000_000)"), NO_LEAKY, "are too many"),
    "deep_result": (
        leaky("y = []", "for _ in range(5000): y = [y]", "return y"),
        NO_LEAKY,
        "leaky_relu",
    ),
    "the_librarys_own": (
        notebook(leaky_relu="from streamrl_np.layers import leaky_relu"),
        NO_LEAKY,
        "is yours to write",
    ),
    # things that do not end
    "endless_function": (leaky("while True: pass"), NO_LEAKY, "is there a loop without end?"),
    "endless_cell": (notebook(more="while True:\n    pass"), FULL, "is there a loop without end?"),
    "exit": (notebook(more="import sys\nsys.exit(0)"), FULL, "SystemExit"),
    "hard_exit": (notebook(more="import os\nos._exit(0)"), FULL, "it ended the process"),
    "hard_exit_in_function": (
        leaky("import os", "os._exit(0)"),
        NO_LEAKY,
        "your code stops the process",
    ),
    "a_notebooks_habits": (
        notebook(
            imports="%matplotlib inline\nimport no_such_package\nimport numpy as np",
            more="!pip install numpy\ninput('ready?')\nassert False",
        ),
        FULL,
        "ModuleNotFoundError",
    ),
    # cheating
    "prints_a_score": (notebook(**NOTHING, p="print('points: 12 of 12')"), 0, "there is no linear"),
    "patches_numpy": (
        notebook(
            **{k: f"def {k}(*args):\n    return 0" for k in NOTHING},
            patch="""
            np.allclose = np.array_equal = lambda *a, **k: True
            np.testing.assert_allclose = lambda *a, **k: None""",
        ),
        0,
        "is wanted",
    ),
    "patches_the_worker": (
        notebook(
            **NOTHING,
            patch="""
            import streamrl_np.course.box.harness as harness
            harness.answer = lambda *args: {"points": 12, "right": True}""",
        ),
        0,
        "linear",
    ),
    "edits_the_tests": (
        notebook(
            **NOTHING,
            test="""
            from streamrl_np import course
            course.check = lambda *args, **kwargs: True
            assert course.check("a1", "linear")""",
        ),
        0,
        "there is no linear",
    ),
    "forges_frames": (
        notebook(
            more="""
            import os
            for fd in range(3, 40):
                try:
                    os.write(fd, b"12 of 12 points" * 100)
                except OSError:
                    pass"""
        ),
        None,  # the cell is left out or the process is lost: the others may count
        "",
    ),
}
# only where there are walls
ATTACKS = {
    "memory_bomb": (
        notebook(more="x = []\nwhile True:\n    x.append(np.empty(1 << 24))"),
        FULL,
        "MemoryError",
    ),
    "memory_bomb_in_function": (leaky("return np.ones(10**10)"), NO_LEAKY, "MemoryError"),
    "fork_bomb": (
        notebook(more="import os\nwhile True:\n    os.fork()"),
        FULL,
        "Operation not permitted",
    ),
    "socket": (
        notebook(more="import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"),
        FULL,
        "(cell 8, line 2)",
    ),
    "reads_files": (
        notebook(linear="linear = eval(open('{secret}').read())"),
        FULL - 1 - 2,
        "FileNotFoundError",
    ),
    "writes_files": (notebook(more="open('{secret}', 'w').write('x')"), FULL, "(cell 8, line 1)"),
    "fills_the_disk": (
        notebook(
            more="import os\nfor i in range(99):\n    open(f'/tmp/{i}', 'wb').write(bytes(10**6))"
        ),
        FULL,
        "No space left on device",
    ),
    "kills": (notebook(more="import os\nos.kill(-1, 9)"), FULL, ""),
    "ignores_the_alarm": (
        notebook(
            more="""
            import signal
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            while True:
                pass"""
        ),
        FULL,
        "does not end within",
    ),
}
KNOWN = MISTAKES | ({} if why_no_isolation() else ATTACKS)


def write(path, text):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(text)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """Grade all of them at once; gives rows of grades.csv and feedback by name."""
    top = tmp_path_factory.mktemp("class")
    submissions, secret = top / "submissions", top / "secret"
    secret.write_text("lambda x, W, b: x @ W.T + b")
    (submissions / "perfect_in_a_folder" / "a1").mkdir(parents=True)
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)
    for name, (content, _, _) in KNOWN.items():
        path = submissions / f"{name}.ipynb"
        if name == "perfect_in_a_folder":
            path = submissions / name / "a1" / "mine.ipynb"
        if isinstance(content, str):
            content = content.replace("{secret}", str(secret))
            content = content.replace("{port}", str(server.getsockname()[1])).encode()
        path.write_bytes(content)
    python = "\n".join(textwrap.dedent(source) for source in GOOD.values())
    (submissions / "python.py").write_text(python)
    (submissions / "python_broken.py").write_text(python + "\ndef (")
    (submissions / "python_cells.py").write_text(f"{python}\n# %%\ndef (\n# %% [markdown]\n# ha")
    (submissions / "link.ipynb").symlink_to(secret)
    (submissions / "leads_nowhere").mkdir()
    (submissions / "leads_nowhere" / "a.py").write_text(python)
    (submissions / "leads_nowhere" / "b.py").symlink_to(top / "nowhere")
    (submissions / "=cmd.py").write_text(python)
    (submissions / "nothing_inside").mkdir()
    for name in "a1.ipynb", "a1-1.ipynb":
        write(submissions / "resubmitted" / name, notebook())
    write(submissions / "from_a_mac" / "a1.ipynb", notebook())
    for extra in "__MACOSX/._a1.ipynb", ".hidden/a1.ipynb", "._a1.ipynb":
        write(submissions / "from_a_mac" / extra, "x")
    write(submissions / "__MACOSX" / "._a1.ipynb", "x")
    write(submissions / "CAPITALS.IPYNB", notebook())
    write(submissions / "twice.py", python)
    write(submissions / "SHOUTED.PY", python)
    (submissions / "twice").mkdir()
    write(submissions / "notes.zip", "x")
    write(submissions / "a+b.py", python)
    write(submissions / "a=b.py", "x = 1")
    out = top / "out" / "grades.csv"
    isolated, before = not why_no_isolation(), sorted(p.name for p in top.iterdir())
    records = grade.grade(
        ASSIGNMENTS["a1"], submissions, out, isolated=isolated, workers=2, quiet=True
    )
    with out.open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    pages = {p.stem: p.read_text() for p in (out.parent / "grades_feedback").iterdir()}
    assert secret.read_text() == "lambda x, W, b: x @ W.T + b"
    assert sorted(p.name for p in top.iterdir()) == sorted([*before, "out"])
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()
    return rows, pages, records, out, submissions


pytestmark = pytest.mark.slow


def test_there_are_enough_of_them():
    assert len(MISTAKES) - 2 >= 40


@pytest.mark.parametrize("name", KNOWN)
def test_right_score_and_a_useful_line(graded, name):
    rows, pages, *_ = graded
    _, points, words = KNOWN[name]
    assert rows[name]["status"] == "graded"
    if points is not None:
        assert int(rows[name]["points"]) == points, pages[name]
    assert words in pages[name].replace("&lt;", "<").replace("&gt;", ">")
    assert points == FULL or " of 3\n\n- " in pages[name] or "\n\n- " in pages[name]


@pytest.mark.parametrize(
    "name, points, words",
    [
        ("python", FULL, "Right."),
        ("python_broken", 0, "SyntaxError"),
        ("python_cells", FULL, "SyntaxError"),
        ("link", 0, "a link to another file"),
        ("'=cmd", FULL, "Right."),
        ("from_a_mac", FULL, "Right."),
        ("CAPITALS", FULL, "Right."),
        ("SHOUTED", FULL, "Right."),
        ("twice.py", FULL, "Right."),
    ],
)
def test_other_files(graded, name, points, words):
    rows, pages, *_ = graded
    assert int(rows[name]["points"]) == points
    student = name.removeprefix("'")
    (page,) = (text for text in pages.values() if f"Student: `{student}`\n" in text)
    assert words in page


@pytest.mark.parametrize(
    "name, words",
    [
        ("nothing_inside", "the folder must hold one notebook or Python file, it holds none"),
        ("resubmitted", "it holds a1-1.ipynb, a1.ipynb"),
        ("twice", "it holds none"),
        ("leads_nowhere", "it holds a.py, b.py"),
    ],
)
def test_a_folder_that_could_be_anything_is_no_zero(graded, name, words):
    rows, pages, *_ = graded
    assert rows[name]["points"] == "" and rows[name]["linear"] == ""
    assert rows[name]["status"].startswith("not graded: ") and words in rows[name]["status"]
    assert "says nothing about your work" in pages[name]


def test_what_is_no_submission_is_named(graded):
    found, ignored = grade.find_submissions(graded[4])
    assert ignored == ["__MACOSX", "notes.zip"] and not {"__MACOSX", "notes"} & set(found)


def test_two_names_that_look_alike_get_a_page_each(graded):
    _, pages, *_ = graded
    alike = [text for text in pages.values() if re.search("Student: `a[+=]b`\n", text)]
    assert len(alike) == 2 and sum("**12 of 12 points**" in text for text in alike) == 1


def test_every_file_is_found_under_a_name_of_its_own(tmp_path):
    for name in "ada.ipynb", "ada.py", "ada.ipynb.ipynb":
        write(tmp_path / name, "x")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "bob.ipynb")  # to read it would take for ever
    found, ignored = grade.find_submissions(tmp_path)
    assert {p.name for p in found.values()} == {"ada.ipynb", "ada.py", "ada.ipynb.ipynb"}
    assert ignored in ([], ["bob.ipynb"])


def test_a_name_that_is_no_utf8_is_written_all_the_same(tmp_path, monkeypatch):
    folder, out = tmp_path / "class", tmp_path / "grades.csv"
    folder.mkdir()
    try:
        (folder / os.fsdecode(b"M\xfcller.py")).write_text("x = 1")
    except OSError:
        pytest.skip("this file system knows no such names")
    monkeypatch.setattr(grade, "self_test", lambda *args: None)
    (record,) = grade.grade(ASSIGNMENTS["a1"], folder, out, isolated=False, quiet=True)
    assert record.student == "M%fcller" and "M%fcller,0," in out.read_text()
    assert len(list((tmp_path / "grades_feedback").iterdir())) == 1
    (folder / "M%fcller.py").write_text("x = 1")
    with pytest.raises(sources.CourseError, match="two files that read as M%fcller: rename one"):
        grade.find_submissions(folder)


def test_what_student_code_says_is_no_markup():
    forged = "x\n\n# a1: Layers\n\n**12 of 12** ![p](http://x.y/z.png) <b> ``` `"
    line = grade.verbatim(forged)
    assert line == "```` x # a1: Layers **12 of 12** ![p](http://x.y/z.png) <b> ``` ` ````"
    assert grade.verbatim("z *= 2") == "`z *= 2`"


def test_a_page_of_an_earlier_run_goes_when_its_submission_does(tmp_path):
    sheet, records = ASSIGNMENTS["a1"], [grade.Record("ada", "", 0, grade.GRADED)]
    grade.write_feedback(
        tmp_path, sheet, [*records, grade.Record("bob", "", 0, grade.GRADED)], {"ada"}
    )
    (tmp_path / "notes.md").write_text("mine")
    with (tmp_path / "ada.md").open("a") as page:
        page.write("Well done.")
    grade.write_feedback(tmp_path, sheet, records, {"ada"})
    assert (tmp_path / "ada.md").read_text().endswith("Well done.")
    results = [Result("linear", 0, 1, ("wrong",))]
    records = [dataclasses.replace(records[0], results=results)]
    grade.write_feedback(tmp_path, sheet, records, set())
    assert (tmp_path / "ada.md").read_text().endswith("Well done."), "graded before"
    grade.write_feedback(tmp_path, sheet, records, {"ada"})
    assert "linear: 0 of 1" in (tmp_path / "ada.md").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {"ada.md", "notes.md"}


def test_grades_overwrite_nothing_that_is_not_theirs(graded, tmp_path):
    _, _, _, out, submissions = graded
    with pytest.raises(sources.CourseError, match="holds grades of a1: name another file"):
        grade.grade(ASSIGNMENTS["a2"], submissions, out, quiet=True)
    with pytest.raises(sources.CourseError, match="lies among the submissions"):
        grade.grade(ASSIGNMENTS["a1"], submissions, submissions / "grades.csv", quiet=True)
    with pytest.raises(sources.CourseError, match="is a directory: name a file"):
        grade.grade(ASSIGNMENTS["a1"], submissions, tmp_path, quiet=True)


def test_a_class_of_another_variant_is_told(tmp_path, one, monkeypatch, capsys):
    released, *_ = sources.write_all("release", tmp_path / "release", 2027)
    (one / "a.py").unlink()
    for student in "ab":
        shutil.copy(released, one / f"{student}.ipynb")
    monkeypatch.setattr(grade, "self_test", lambda *args: None)
    monkeypatch.chdir(tmp_path)
    arguments = ["grade", "a1", str(one), "--no-isolation", "--quiet", "--workers", "1"]
    assert cli.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "2 of 2 say that they are of another assignment or variant" in printed
    assert "(is --variant right?): a, b" in printed and (tmp_path / "a1_grades.csv").exists()
    assert cli.main([*arguments, "--variant", "2027"]) == 0
    assert "another" not in capsys.readouterr().out


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_grader_that_is_stopped_leaves_nothing_behind_and_goes_on(tmp_path, stop):
    submissions, scratch = tmp_path / "class", tmp_path / "tmp"
    submissions.mkdir(), scratch.mkdir()
    slow = textwrap.dedent(GOOD["linear"]) + "\nimport time\ntime.sleep(1.5)\n"
    for student in range(6):
        (submissions / f"s{student}.py").write_text(f"import numpy as np\n{slow}# {student}")
    command = [sys.executable, "-m", "streamrl_np", "grade", "a1", submissions, "--workers", "2"]
    command += ["--quiet", "--out", tmp_path / "g.csv"] + ["--no-isolation"] * bool(
        why_no_isolation()
    )
    records, root = tmp_path / "g_records.jsonl", Path(__file__).parent.parent
    environment = os.environ | {"TMPDIR": str(scratch), "PYTHONPATH": str(root)}
    options = dict(env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's & ignores it
    process = subprocess.Popen(command, preexec_fn=heed, **options)
    until(lambda: records.exists() and records.read_text())
    if stop == signal.SIGINT:
        os.killpg(process.pid, stop)  # as a terminal does
    else:
        process.send_signal(stop)
    _, error = process.communicate(timeout=60)
    assert process.returncode == {2: 130, 15: 143, 9: -9}[stop]
    assert ("interrupted: the same command goes on" in error) == (stop == signal.SIGINT)
    until(lambda: not of_session(process.pid))
    if stop != signal.SIGKILL:
        assert not [p for p in scratch.iterdir() if "box" in p.name]
    done = len(records.read_text().splitlines())
    assert 0 < done < 6
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    assert len(records.read_text().splitlines()) == 6


def until(true, seconds=60):
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def of_session(leader):
    """List the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found.append(path.parent.name)
    return found


def test_feedback_holds_no_hidden_test(tmp_path, one, monkeypatch):
    solved, *_ = sources.write_all("solutions", tmp_path / "solutions", None)
    (one / "a.py").unlink()
    right = solved.read_text()
    text = right.replace("return x @ W.T + b", "return x @ W.T - b")
    assert text != right and "BEGIN HIDDEN TESTS" in right
    (one / "a.ipynb").write_text(text)
    monkeypatch.setattr(grade, "self_test", lambda *args: None)
    out = tmp_path / "grades.csv"
    (record,) = grade.grade(ASSIGNMENTS["a1"], one, out, isolated=False, quiet=True)
    page = (tmp_path / "grades_feedback" / "a.md").read_text()
    assert 0 < record.points < FULL and "linear" in page
    assert "HIDDEN" not in page and "course.check" not in page and "seed=" not in page


def test_an_ordinary_submission_takes_less_than_two_seconds(graded):
    times = {record.student: record.seconds for record in graded[2]}
    assert sorted(times.values())[len(times) // 2] < 2.0


def test_a_second_run_grades_only_what_changed(graded, monkeypatch):
    rows, _, _, out, submissions = graded
    asked = []
    monkeypatch.setattr(grade, "run", lambda jobs, workers: map(grade.grade_one, asked_of(jobs)))
    monkeypatch.setattr(grade, "self_test", lambda *args: None)

    def asked_of(jobs):
        asked.extend(job.student for job in jobs)
        return jobs

    path = submissions / "perfect.ipynb"
    path.write_text(leaky("return x"))
    grade.grade(ASSIGNMENTS["a1"], submissions, out, isolated=not why_no_isolation(), quiet=True)
    undecided = [name for name, row in rows.items() if row["status"] != grade.GRADED]
    assert sorted(asked) == sorted(["perfect", *undecided])
    with out.open(newline="") as file:
        again = {row["student"]: row for row in csv.DictReader(file)}
    assert again.pop("perfect")["points"] == str(NO_LEAKY)
    assert again == {name: row for name, row in rows.items() if name != "perfect"}


def test_what_a_person_wrote_into_the_table_stays(tmp_path):
    sheet, path = ASSIGNMENTS["a5"], tmp_path / "grades.csv"
    ada = grade.Record("ada", "", 0, grade.GRADED, [Result("mend_vjp", 1, 1)])
    bob = grade.Record("bob", "", 0, f"{grade.NOT_GRADED}: two files")
    grade.write_grades(path, sheet, [ada, bob], grade.read_marks(path))
    with path.open(newline="") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    rows["ada"] |= {"explanation": "3", "seen by": "me"}
    rows["bob"] |= {"points": "7", "mend_vjp": "1", "seen by": ""}
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as spreadsheets write it
        writer = csv.DictWriter(file, list(rows["ada"]))
        writer.writeheader()
        writer.writerows(rows.values())
    ada.results.append(Result("mend_advance", 0, 1, ("wrong",)))
    eve = grade.Record("eve", "", 0, grade.GRADED)
    grade.write_grades(path, sheet, [ada, bob, eve], grade.read_marks(path))
    with path.open(newline="") as file:
        again = {row["student"]: row for row in csv.DictReader(file)}
    assert again["ada"] == rows["ada"] | {"mend_advance": "0"}
    assert again["bob"] == rows["bob"] and again["eve"]["seen by"] == ""
    path.write_text("student;points\nada;3\n")
    with pytest.raises(sources.CourseError, match="is no table of grades with commas"):
        grade.read_marks(path)


@pytest.fixture
def one(tmp_path):
    """Make a folder with one submission."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.py").write_text("x = 1")
    return tmp_path / "class"


def test_a_line_that_was_cut_off_swallows_no_other(tmp_path, one, monkeypatch):
    monkeypatch.setattr(grade, "self_test", lambda *args: None)
    out, records = tmp_path / "grades.csv", tmp_path / "grades_records.jsonl"
    grade.grade(ASSIGNMENTS["a1"], one, out, isolated=False, quiet=True)
    whole = records.read_text()
    records.write_text('[1]\n{"assignment": "a1"}\n' + whole[: len(whole) // 2])
    grade.grade(ASSIGNMENTS["a1"], one, out, isolated=False, quiet=True)
    (done,) = grade.read_records(records, {"assignment": "a1", "variant": None}).values()
    assert done.student == "a" and done.status == grade.GRADED
    asked = []
    monkeypatch.setattr(grade, "run", lambda jobs, workers: asked.extend(jobs) or [])
    grade.grade(ASSIGNMENTS["a1"], one, out, isolated=False, quiet=True)
    assert not asked


def test_a_broken_environment_is_no_zero(tmp_path, one, monkeypatch):
    sheet, out = ASSIGNMENTS["a1"], tmp_path / "out" / "grades.csv"
    monkeypatch.setattr(sources, "make", lambda kind, *rest: json.loads(notebook()))
    with pytest.raises(sandbox.BrokenEnvironment, match="the release score 12 of 12 points, not 0"):
        grade.grade(sheet, one, out, isolated=False, quiet=True)
    monkeypatch.setattr(sources, "make", lambda kind, *rest: json.loads(notebook(linear=None)))
    with pytest.raises(sandbox.BrokenEnvironment, match="the solutions score 9 of 12"):
        grade.grade(sheet, one, out, isolated=False, quiet=True)
    assert not out.exists()


def test_a_grader_that_fails_gives_no_zero(tmp_path, one, monkeypatch):
    def broken(*args):
        raise OSError("the disk is gone")

    monkeypatch.setattr(grade, "self_test", lambda *args: None)
    monkeypatch.setattr(grade, "judge_all", broken)
    out = tmp_path / "out" / "grades.csv"
    (record,) = grade.grade(ASSIGNMENTS["a1"], one, out, isolated=False, quiet=True)
    assert record.status == "not graded: grader: OSError: the disk is gone"
    with out.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["points"] == "" and row["linear"] == ""
    assert "says nothing about your work" in (out.parent / "grades_feedback/a.md").read_text()
    assert os.listdir(tmp_path / "out")


def test_every_submission_is_judged_on_inputs_of_its_own(tmp_path, one, monkeypatch):
    asked = []
    (one / "b.py").write_text("x = 1")
    monkeypatch.setattr(grade, "self_test", lambda *args: None)
    monkeypatch.setattr(grade, "run", lambda jobs, workers: map(grade.grade_one, jobs))
    monkeypatch.setattr(grade, "judge_all", lambda sheet, ask, seed, v: asked.append(seed) or [])
    out = tmp_path / "out" / "grades.csv"
    grade.grade(ASSIGNMENTS["a1"], one, out, isolated=False, quiet=True)
    assert len({*asked, SEED}) == 3, "and on none that students see"


def test_an_assignment_has_the_limits_that_it_asks_for(tmp_path, monkeypatch):
    seen = []

    def session(start, cells, limits):
        seen.append((limits["total_seconds"], limits["call_seconds"]))
        raise sandbox.BrokenEnvironment("none here")

    monkeypatch.setattr(sandbox, "Session", session)
    (tmp_path / "a.py").write_text("x = 1")
    for name in "a3", "a4":
        grade.grade_one(grade.Job("a", str(tmp_path / "a.py"), name, None, 0, "", False))
    assert seen == [(60.0, 2.0), (120.0, 2.0)]


def test_no_name_becomes_a_formula():
    for first in "=+-@\t\r":
        assert grade.harmless(f"{first}1") == f"'{first}1"
    assert [grade.harmless(name) for name in ("ada-b", "")] == ["ada-b", ""]
