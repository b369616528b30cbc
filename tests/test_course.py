"""The course: sources, releases, checks, and the wall between student code and the grader."""

import functools
import io
import json
import re
import time

import numpy as np
import pytest
from course_help import cells_of, judge_cells, needs_isolation

from streamrl_np import cli, course, layers
from streamrl_np.course import judge, notebook, sandbox, seccomp, sources, tasks, walls
from streamrl_np.course.assignments import ASSIGNMENTS
from streamrl_np.course.box import wire
from streamrl_np.course.judge import values

NAMES = list(ASSIGNMENTS)
VARIED = [name for name, sheet in ASSIGNMENTS.items() if sheet.constants]


def total(results):
    return sum(result.points for result in results.values())


def quick(name):
    """Name the tasks of an assignment that train nothing."""
    return [task.name for task in ASSIGNMENTS[name].tasks if task.judge and not task.needs]


def worth(name, tasks):
    return sum(task.points for task in ASSIGNMENTS[name].tasks if task.name in tasks)


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_has_all_points_and_the_release_none(name):
    only = quick(name) if name == "a4" else None
    results, errors = judge_cells(name, cells_of("solutions", name), only=only)
    assert total(results) == (worth(name, only) if only else ASSIGNMENTS[name].points), results
    assert errors == []
    results, _ = judge_cells(name, cells_of("release", name))
    assert total(results) == 0
    assert all(result.lines for result in results.values())


def test_the_checks_find_all_eight_mistakes_of_the_bug_hunt():
    made = sources.make("solutions", ASSIGNMENTS["a5"], None)
    found = [c for c in made["cells"] if not c["metadata"].get("nbgrader", {}).get("solution")]
    results, _ = judge_cells("a5", notebook.notebook_cells(json.dumps({"cells": found})))
    mended = [result for name, result in results.items() if name.startswith("mend_")]
    assert len(mended) == 8 and all(result.lines for result in mended)


UPDATES = [
    ("(not terminated)", "(not (terminated or truncated))", "truncation does not"),
    ("(not terminated)", "(not terminated or truncated)", "truncated at once or not"),
    ("gamma * (not terminated)", "gamma", "after termination v(s′) must count 0"),
    (
        "agent.critic.peek(next_observation)[0]",
        "agent.critic.forward(next_observation)[0][0]",
        "peek at s′",
    ),
    ("float(np.sign(delta))", "1.0", "is τ sign(δ)"),
    ("if terminated or truncated:", "if terminated:", "the episode ends with a truncation too"),
    ("gamma * lam", "lam", "this is λ"),
    ("agent.z_pi.flat, delta)", "agent.z_pi.flat, -delta)", "are wrong first, in"),
]


@pytest.mark.parametrize("old, new, words", UPDATES, ids=[new for _, new, _ in UPDATES])
def test_mistakes_in_the_update_are_named(old, new, words):
    names, cells = {"__name__": "__main__"}, cells_of("solutions", "a4")
    assert any(old in source for _, source in cells)
    for _, source in cells:
        exec(source.replace(old, new), names)
    outcome = course.check("a4", "update", namespace=names)
    (line,) = outcome.results[0].lines
    assert words in line


@pytest.mark.slow
def test_the_solution_of_a4_remembers():
    results, errors = judge_cells("a4", cells_of("solutions", "a4"))
    assert total(results) == ASSIGNMENTS["a4"].points and errors == []


@pytest.mark.parametrize("name", VARIED)
def test_a_variant_fails_last_years_answers_and_only_those(name):
    sheet, only = ASSIGNMENTS[name], quick(name)
    texts, default = sheet.texts(2), sheet.texts(None)
    assert all(texts[key] != default[key] for key in texts)
    results, _ = judge_cells(name, cells_of("solutions", name, 2), variant=2, only=only)
    assert total(results) == worth(name, only), [r for r in results.values() if r.lines]
    results, _ = judge_cells(name, cells_of("solutions", name), variant=2, only=only)
    assert total(results) < worth(name, only)


@pytest.mark.parametrize("name", VARIED)
def test_a_variants_release_speaks_of_its_own_numbers_alone(name):
    sheet = ASSIGNMENTS[name]
    plain, text = (
        "\n".join(map(notebook.source_of, sources.make("release", sheet, variant)["cells"]))
        for variant in (None, 3)
    )
    for key, (default, _) in sheet.constants.items():
        alone = rf"(?<![\w.]){re.escape(default)}(?![\w.]*\w)"
        assert re.search(alone, plain) and not re.search(alone, text), key
        assert sheet.texts(3)[key] in text
    assert "variant=3)" in text


def test_a_variant_of_the_bug_hunt_moves_every_letter():
    sheet = ASSIGNMENTS["a5"]
    names = [task.name for task in sheet.tasks if task.name.startswith("name_")]
    for variant in range(5):
        moved = sheet.moved(variant)
        assert sorted(moved) == sorted(moved.values()) == list(sheet.letters)
        assert all(old != new for old, new in moved.items())
    made = sources.make("solutions", sheet, 2)
    text = "\n".join(map(notebook.source_of, made["cells"]))
    assert f"| {sheet.moved(2)['c']} | a conjugate is missing |" in text
    results, _ = judge_cells("a5", cells_of("solutions", "a5", 2), variant=2, only=names)
    assert total(results) == 8
    results, _ = judge_cells("a5", cells_of("solutions", "a5"), variant=2, only=names)
    assert total(results) == 0


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_clean_and_tests_match_tasks(name):
    sheet = ASSIGNMENTS[name]
    source = json.loads(sources.path_of(sheet).read_text())
    points = {}
    for cell in source["cells"]:
        role = cell["metadata"].get("nbgrader", {})
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
        if role.get("grade"):
            points[role["grade_id"].removeprefix("test_")] = role["points"]
    assert points == {task.name: task.points for task in sheet.tasks}
    ids = [cell["metadata"].get("nbgrader", {}).get("grade_id") for cell in source["cells"]]
    ids = [i for i in ids if i]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", NAMES)
def test_a_release_holds_no_solution_and_no_hidden_test(name):
    sheet = ASSIGNMENTS[name]
    written = notebook.parse(sources.path_of(sheet).read_text())["cells"]
    released = sources.make("release", sheet, None)["cells"]
    text = bare("\n".join(map(notebook.source_of, released)))
    for mark in ("BEGIN SOLUTION", "END SOLUTION", "HIDDEN"):
        assert mark not in text
    for pattern in notebook.SOLUTION, notebook.HIDDEN:
        found = [m.group(0) for cell in written for m in pattern.finditer(notebook.source_of(cell))]
        assert len(found) >= (1 if pattern is notebook.SOLUTION else 4)
        assert [part for part in found if bare("\n".join(part.splitlines()[1:-1])) in text] == []
    manual = [c for c in written if c["metadata"].get("nbgrader", {}).get("points")]
    manual = [c for c in manual if c["cell_type"] == "markdown"]
    assert all(bare(notebook.source_of(cell)) not in text for cell in manual)


def bare(source):
    """Strip the indentation of every line."""
    return "\n".join(line.strip() for line in source.strip().splitlines())


def test_the_commands_write_and_check(tmp_path, capsys):
    assert cli.main(["course", "release", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count(".ipynb") == len(NAMES)
    path = tmp_path / "out/a1_layers/a1_layers.ipynb"
    assert cli.main(["check", "a1", str(path)]) == 1
    assert "linear: not yet (0 of 1)" in capsys.readouterr().out
    assert cli.main(["course", "solutions", str(tmp_path / "sol"), "--variant", "5"]) == 0
    capsys.readouterr()
    assert cli.main(["check", "a1", str(tmp_path / "sol/a1_layers/a1_layers.ipynb")]) == 0
    assert "12 of 12 points" in capsys.readouterr().out


def test_a_notebook_of_another_assignment_or_class_is_named(tmp_path, capsys):
    assert cli.main(["course", "release", str(tmp_path / "out"), "--variant", "5"]) == 0
    path = tmp_path / "out/a1_layers/a1_layers.ipynb"
    assert cli.main(["check", "a2", str(path)]) == 2
    assert "is a notebook of a1, not of a2" in capsys.readouterr().err
    for sheet, variant, words in (
        ("a2", 5, ["this notebook is of assignment a1, not of a2"]),
        ("a1", 6, ["this notebook is of variant 5; judged by variant 6"]),
        ("a1", None, ["this notebook is of variant 5; judged by the plain release"]),
        ("a1", 5, []),
    ):
        assert notebook.foreign(path, ASSIGNMENTS[sheet], variant) == words
    path.write_text('{"cells": [], "metadata": {"streamrl_np": 3}}')
    assert notebook.foreign(path, ASSIGNMENTS["a1"], 5) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["check", "a9", "x.ipynb"], "assignment must be one of a1"),
        (["check", "a1", "x.ipynb"], "there is no file x.ipynb"),
        (["grade", "a1", "nowhere"], "nowhere is not a directory"),
        (["grade", "a1", "."], "holds no .ipynb and no .py file"),
        (["grade", "a1", ".", "--workers", "0"], "workers must be at least 1, got 0"),
        (["course", "release", "out", "--variant", "-1"], "variant must be at least 0, got -1"),
        (["course", "release", "out", "--sources", "nowhere"], "there is no nowhere"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_check_in_a_notebook(capsys):
    mine = {"leaky_relu": lambda x: np.maximum(x, 0.01 * x), "leaky_relu_vjp": lambda g, x: g}
    assert course.check("a1", "leaky_relu", namespace=mine)
    assert "leaky_relu: right (1 of 1)" in capsys.readouterr().out
    assert not course.check("a1", "leaky_relu_vjp", namespace=mine)
    assert "∂L/∂x" in capsys.readouterr().out
    with pytest.raises(sources.CourseError, match="task must be one of linear"):
        course.check("a1", "leeky", namespace=mine)


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_the_check_in_a_notebook(name, capsys):
    names = {"__name__": "__main__"}
    for _, source in cells_of("solutions", name):
        exec(source, names)
    assert course.check(name, *quick(name), namespace=names), capsys.readouterr().out
    assert "not yet" not in capsys.readouterr().out


def test_what_is_judged_after_handing_in_is_noted_and_counts_nothing_yet(capsys):
    diagnosis = {"vjp": "a", "advance": "x"}
    outcome = course.check("a5", "name_vjp", "name_advance", namespace={"diagnosis": diagnosis})
    assert not outcome and outcome.points == 0
    words = capsys.readouterr().out
    assert "name_vjp: noted (1 if right, which is said after handing in)" in words
    assert 'name_advance: not yet (0 of 1)\n    diagnosis["advance"] must be one letter' in words
    assert "0 of 2 points, 1 more are judged after handing in" in words
    assert course.check("a5", "name_vjp", namespace={"diagnosis": diagnosis})


def test_a_function_that_stops_says_what_it_was_called_with(capsys):
    mine = {"linear": lambda x, W, b: W @ x + b, "gates": lambda p: p.nu_log @ np.ones(9)}
    course.check("a1", "linear", namespace=mine)
    assert re.search(
        r"called with x \(\d, \d\), W \(\d, \d\), b \(\d,\)\n", capsys.readouterr().out
    )
    course.check("a3", "gates", namespace=mine)
    assert re.search(
        r"called with p.nu_log \(\d,\), p.theta_log \(\d,\), p.B", capsys.readouterr().out
    )


def test_swap_replaces_and_puts_back():
    own = layers.leaky_relu
    with pytest.raises(KeyError), course.swap(layers, leaky_relu=abs):
        assert layers.leaky_relu(-2) == 2
        raise KeyError
    assert layers.leaky_relu is own
    with pytest.raises(AttributeError, match="has no leeky to swap"), course.swap(layers, leeky=1):
        pass


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda a: -a, "the sign is flipped"),
        (lambda a: 2 * a, "a constant factor: claimed = 2 × expected"),
        (lambda a: a.T, "is it transposed?"),
        (lambda a: a[0], "has shape (3,), (2, 3) is wanted"),
        (lambda a: None, "is a `return` missing?"),
        (lambda a: (a, a), "is 2 values"),
        (lambda a: a * np.nan, "is not finite in 6 of 6"),
        (lambda a: a + 1j, "is a real part missing?"),
        (lambda a: a * np.array([[1], [3]]), "only entries with index 1 along axis 0"),
        (lambda a: a.astype("f4"), "is something computed in float32?"),
    ],
)
def test_wrong_values_are_described(wrong, words):
    a = np.random.default_rng(0).normal(size=(2, 3))
    (line,) = values("it", wrong(a), a)
    assert words in line
    if numbers := re.search(r" is (\S+), right (\S+?)(;|$)", line):
        assert numbers[1] != numbers[2]  # as many digits as tell them apart


@pytest.mark.parametrize(
    "tree",
    [
        None,
        (1, 2.5, "text", True, None),
        {"a": np.arange(6.0).reshape(2, 3), "b": (np.ones(2, complex), {"c": np.float32(2)})},
        (np.zeros((0, 3)), np.array(1 + 2j), np.array([True, False])),
    ],
)
def test_what_travels_arrives(tree):
    stream = io.BytesIO(wire.encode(tree))
    np.testing.assert_equal(wire.read(stream), tree)


@pytest.mark.parametrize("thing", [object(), {1, 2}, np.array([None]), np.array(["a"]), b"x"])
def test_nothing_else_travels(thing):
    with pytest.raises(wire.WireError):
        wire.encode({"x": thing})


@pytest.mark.parametrize(
    "structure, body",
    [
        (b"{", b""),
        (b'{"array": "|O", "shape": [1]}', b"12345678"),
        (b'{"array": "<f8", "shape": [9]}', b"12345678"),
        (b'{"array": "<f8", "shape": [-1]}', b""),
        (b'{"array": "<f8", "shape": ["1"]}', b"12345678"),
        (b'{"other": 1}', b""),
        (b"1", b"left over"),
        (b"[" * 100_000, b""),
    ],
)
def test_forged_frames_are_refused(structure, body):
    with pytest.raises(wire.WireError):
        wire.decode(structure, body)


@pytest.mark.parametrize("name", NAMES)
def test_the_box_holds_no_answer(name, tmp_path):
    sheet = ASSIGNMENTS[name]
    walls.fill_box(tmp_path, sheet.withheld)
    for full in sheet.withheld:
        *module, _ = full.split(".")
        path = tmp_path.joinpath("streamrl_np", *module).with_suffix(".py")
        text = path.read_text() if path.exists() else path.parent.with_suffix(".py").read_text()
        assert f"{full} is yours to write" in text
    inside = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.py")}
    assert not [p for p in inside if "assignments" in p or "judge" in p or "grade.py" in p]


def test_the_librarys_own_function_earns_nothing():
    source = "from streamrl_np.layers import linear, linear_vjp"
    results, _ = judge_cells("a1", [(1, source)])
    assert total(results) == 0
    assert "is yours to write" in results["linear"].lines[0]


BY_VJP = """
def vjp(p, state, cache, gy, grad):
    G = rtu.features_vjp(gy, cache.y)
    grad.flat[:] = 0
    rows = {k: state[k][None] for k in ("S_nu", "S_theta", "S_B")}
    rtu.sensitivity_vjp(rows, G[None], grad)
    return ((cache.gates.gamma * G.conj()) @ p.B).real
"""
BY_SUSPECTS = """
def bptt(p, xs, gys, grad):
    from streamrl_np.gradcheck import suspects
    grad.flat[:] = suspects.rtu_sum(p, xs, gys, (0,), None).flat
"""
BY_TWINS = BY_SUSPECTS.replace("suspects\n", "twins\n").replace("suspects.rtu_sum", "twins.any")
BY_LAYERS = """
def log_prob_gradient(logits, action):
    return layers.log_softmax_vjp(np.eye(len(logits))[action], layers.log_softmax(logits))
"""
BY_SOFTMAX = """
def entropy_gradient(logits):
    logs = layers.log_softmax(logits)
    return layers.softmax_vjp(-(logs + 1), np.exp(logs))
"""


@pytest.mark.parametrize(
    "name, task, source, words",
    [
        ("a3", "vjp", BY_VJP, "cells.rtu.sensitivity_vjp is yours to write"),
        ("a3", "bptt", BY_SUSPECTS, "cannot import name 'suspects'"),
        ("a3", "bptt", BY_TWINS, "cannot import name 'twins'"),
        ("a4", "log_prob_gradient", BY_LAYERS, "layers.log_softmax_vjp is yours to write"),
        ("a4", "entropy_gradient", BY_SOFTMAX, "layers.softmax_vjp is yours to write"),
    ],
)
def test_the_same_derivative_by_another_way_earns_nothing(name, task, source, words):
    cells = [*cells_of("solutions", name), (999, source)]
    results, _ = judge_cells(name, cells, only=(task,))
    assert results[task].points == 0
    assert words in results[task].lines[0]


def test_a_check_without_walls_sees_no_more_packages_than_the_grader():
    cells = [*cells_of("solutions", "a1"), (999, "import pytest")]
    _, errors = judge_cells("a1", cells, isolated=False, only=("linear",))
    assert len(errors) == 1 and "while grading there are only NumPy and streamrl_np" in errors[0]


def test_broken_frames_are_wire_errors():
    for structure in b'{"dict": []}', b'{"array": "(,)f8", "shape": [1]}', b"[", b"\xff":
        with pytest.raises(wire.WireError):
            wire.decode(structure, b"")


def probe(code, isolated=True):
    """Run code in the box and bring back the text that it leaves in ``found``."""
    with walls.make_box(()) as box:
        session = sandbox.Session(lambda: sandbox.Worker(box, isolated=isolated), [(1, code)])
        try:
            return session.ask("value", "found")
        finally:
            session.close()


OUTSIDE = """
import os, pathlib
found = ""
try:
    {attempt}
    found = "it worked"
except Exception as error:
    found = f"{{type(error).__name__}}: {{error}}"
"""


@pytest.mark.parametrize(
    "attempt, words",
    [
        ("open({outside!r}).read()", "FileNotFoundError"),
        ("open('/etc/passwd').read()", "FileNotFoundError"),
        ("pathlib.Path('/box/streamrl_np/layers.py').write_text('')", "Read-only file system"),
        ("pathlib.Path('/usr/bin/x').write_text('')", "Read-only file system"),
        ("pathlib.Path('/x').write_text('')", "Read-only file system"),
        ("pathlib.Path('/dev/shm/x').write_text('')", "Read-only file system"),
        ("pathlib.Path('/tmp/x').write_bytes(bytes(1 << 21))", "File too large"),
        ("import socket; socket.socket()", "PermissionError"),
        ("os.fork()", "PermissionError"),
        ("import subprocess; subprocess.run(['true'])", "PermissionError"),
        ("import threading; threading.Thread(target=print).start()", "RuntimeError"),
        ("os.kill(1, 9); os.kill(os.getppid(), 9); raise OSError('still here')", "still here"),
        ("import streamrl_np.course.judge", "ModuleNotFoundError"),
        ("import gymnasium", "ModuleNotFoundError"),
        ("x = bytearray(1 << 31)", "MemoryError"),
    ],
)
def test_student_code_cannot(attempt, words, tmp_path):
    needs_isolation()
    outside = tmp_path / "secret"
    outside.write_text("the answers")
    attempt = attempt.replace("{outside!r}", repr(str(outside)))
    assert words in probe(OUTSIDE.format(attempt=attempt))
    assert outside.read_text() == "the answers"


def test_long_cells_below_the_answers_cost_nothing():
    limits = sandbox.LIMITS | {"cells_seconds": 0.5}
    answer = [(1, "import no_such_package\nfound = 3")]
    naps = [(i, "import time\ntime.sleep(0.3)") for i in range(2, 100)]
    with walls.make_box(()) as box:
        start = functools.partial(sandbox.Worker, box, limits, False)
        session = sandbox.Session(start, answer + naps, limits)
        assert session.ask("value", "found") == 3
        session.close()
    missing, late = session.errors
    assert "only NumPy and streamrl_np" in missing
    assert "and those below are left out: the cells above took more than 0.5 s" in late


def test_time_and_memory_of_the_grader_are_its_own():
    limits = sandbox.LIMITS | {"total_seconds": 1.0}
    naps = [(i, "import time\ntime.sleep(0.3)") for i in range(1, 100)]
    flood = "import os\nwhile True:\n    os.write(4, bytes([1, 0, 0, 0, 0, 0, 0, 0]) + b'1')"
    with walls.make_box(()) as box:
        session = sandbox.Session(lambda: sandbox.Worker(box, limits, False), naps, limits)
        with pytest.raises(sandbox.Mistake, match="the 1 s for the whole notebook are used up"):
            session.ask("value", "x")
        worker = sandbox.Worker(box, isolated=False)
        worker.request({"do": "run", "cell": 1, "source": flood}, 0.1)
        time.sleep(0.5)  # in which 100 000 frames would come
        assert worker.frames.qsize() <= 2
        worker.stop()


def test_the_filter_of_system_calls_is_whole():
    for machine in seccomp.CALLS:
        assert len(seccomp.program(machine)) % 8 == 0
    assert seccomp.program("another") == b""


def test_without_bubblewrap_the_grader_refuses_and_says_what_to_do(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.py").write_text("x = 1")
    out = tmp_path.parent / f"{tmp_path.name}_grades.csv"
    assert cli.main(["grade", "a1", str(tmp_path), "--out", str(out), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "apt-get install bubblewrap" in error and "--no-isolation" in error
    assert not out.exists()


def test_a_swap_with_a_wrong_name_replaces_nothing():
    own = layers.leaky_relu
    with (
        pytest.raises(AttributeError, match="has no leeky to swap"),
        course.swap(layers, leaky_relu=abs, leeky=1),
    ):
        pass
    assert layers.leaky_relu is own


def test_another_seed_draws_other_inputs():
    drawn = []
    task = tasks.Task("one", 1, lambda ask, rng, c: drawn.append(rng.normal()) or [])
    sheet = tasks.Assignment("a0", "a0", "", (task,), ())
    for seed in tasks.SEED, tasks.SEED, 1:
        assert list(tasks.judge_all(sheet, None, seed)) == [tasks.Result("one", 1, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_no_variant_of_the_bug_hunt_leaves_a_letter_where_it_was():
    for variant in range(200):
        moved = ASSIGNMENTS["a5"].moved(variant)
        assert all(new != old for old, new in moved.items()), variant
        assert sorted(moved.values()) == list(moved)


def test_what_the_checker_cannot_decide_is_neither_right_nor_wrong():
    with pytest.raises(judge.Doubtful, match="kink"):
        judge.gradient("it", lambda x: np.abs(x), lambda g, x: 0 * g, {"x": np.zeros(3)})


@pytest.mark.parametrize("sizes", [(wire.MOST_JSON + 1, 0), (1, wire.MOST_BYTES + 1)])
def test_a_frame_that_is_too_large_is_not_read(sizes):
    with pytest.raises(wire.WireError, match="the frame is too large"):
        wire.read(io.BytesIO(wire.HEAD.pack(*sizes) + b"1"))


def test_an_answer_that_a_person_grades_runs_and_a_test_does_not():
    def cell(source, **role):
        return {"cell_type": "code", "source": source, "metadata": {"nbgrader": role}}

    cells = [cell("x = 1", grade=True, solution=True), cell("assert x", grade=True, solution=False)]
    assert notebook.notebook_cells(json.dumps({"cells": cells})) == [(1, "x = 1")]


def test_the_plain_release_in_a_class_of_a_variant_is_told(tmp_path):
    sheet = ASSIGNMENTS["a1"]
    notebook.write(tmp_path / "a.ipynb", sources.make("release", sheet, None))
    words = ["this notebook is of the plain release; judged by variant 2027"]
    assert notebook.foreign(tmp_path / "a.ipynb", sheet, 2027) == words
    assert notebook.foreign(tmp_path / "a.ipynb", sheet, None) == []


def session_of(cells, **limits):
    """Load cells in a process without walls; returns the session and x, as they define it."""
    limits = sandbox.LIMITS | limits
    with walls.make_box(()) as box:
        start = functools.partial(sandbox.Worker, box, limits, False)
        session = sandbox.Session(start, cells, limits)
        try:
            return session, session.ask("value", "x")
        finally:
            session.close()


def test_cells_together_may_take_longer_than_one():
    naps = [(i, f"import time\ntime.sleep(0.3)\nx = {i}") for i in (1, 2, 3)]
    session, x = session_of(naps, cell_seconds=0.5)
    assert x == 3 and session.errors == []


def test_what_other_cells_say_outlives_one_that_ends_the_process():
    cells = [(1, "x = 1\n1 / 0"), (2, "import os\nos._exit(7)")]
    session, x = session_of(cells)
    died, said = session.errors
    assert x == 1 and died == "cell 2: it ended the process (code 7); it is left out"
    assert said == "cell 1: ZeroDivisionError: division by zero (cell 1, line 2)"


def test_a_check_with_another_seed_has_other_inputs():
    seen = []
    mine = {"linear": lambda x, W, b: seen.append(b.tobytes())}
    for seed in 0, 0, 1:
        seen.append(seed)
        course.check("a1", "linear", seed=seed, namespace=mine)
    first, again, other = (seen[i + 1] for i, drawn in enumerate(seen) if isinstance(drawn, int))
    assert first == again != other


def test_a_cell_that_is_no_cell_is_refused(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x" * notebook.MOST_CELL)
    assert len(notebook.read_submission(path)) == 1
    path.write_text("x" * (notebook.MOST_CELL + 1))
    with pytest.raises(notebook.NotebookError, match="cell 1 has more than 50000 characters"):
        notebook.read_submission(path)


def test_what_stands_below_an_exit_runs_all_the_same():
    session, x = session_of([(1, "import sys\nsys.exit(0)\nx = 1\nraise KeyboardInterrupt\nx = 2")])
    assert x == 2 and session.starts == 1
    assert [line.split()[2] for line in session.errors] == ["SystemExit:", "KeyboardInterrupt"]
