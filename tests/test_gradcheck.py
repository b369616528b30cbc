import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from streamrl_np import cells, cli, gradcheck, layers
from streamrl_np.arrays import Complex, Views
from streamrl_np.gradcheck import differences, figures, registry, sequence, twins
from streamrl_np.gradcheck.inputs import InputError
from streamrl_np.gradcheck.recurrent import make_cell

CHECKS = registry.checks()
rng = np.random.default_rng(0)


def layer_norm(x):
    return layers.layer_norm(x)[0]


def layer_norm_vjp(g, x):
    return layers.layer_norm_vjp(g, *layers.layer_norm(x))


def hints(report):
    return " / ".join(hint for p in report.parameters for hint in p.hints)


# the package


def test_every_derivative_has_a_check():
    assert registry.uncovered() == [], "register these in streamrl_np/gradcheck/catalogue.py"


def test_a_new_derivative_would_be_missed():
    tree = ast.parse("def f_vjp(g): ...\nclass A:\n def gradient(): ...\ndef gradients(): ...")
    names = list(registry.named_functions(tree, "m."))
    assert names == ["m.f_vjp", "m.A.gradient", "m.gradients"]
    derivatives = [n for n in names if registry.DERIVATIVE.fullmatch(n.rpartition(".")[2])]
    assert derivatives == ["m.f_vjp", "m.A.gradient"]


def test_every_cell_is_checked_in_every_way_that_it_has():
    for name in cells.CELLS:
        own = [check for check in CHECKS if check.startswith(f"cells.{name},")]
        for words in (*cells.MODES, "four ways, rtrl", "four ways, tbptt1"):
            assert f"cells.{name}, {words}" in own
        assert {f"networks, {name}, {mode}" for mode in cells.MODES} <= set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_passes(name):
    report = CHECKS[name].run(seed=1)
    assert report.ok, str(report)
    exact = any(word in name for word in ("four ways", "full size", "steps"))
    assert report.worst.error < (1e-12 if exact else 1e-9)
    if CHECKS[name].problem is not None:
        assert report.single.error < 1e-4


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.covers])
def test_a_check_asks_what_it_covers_by_way_of_the_module(name):
    def broken(*arguments):
        raise ArithmeticError("asked")

    for covered in CHECKS[name].covers:
        with registry.swapped(covered, broken):
            assert "ArithmeticError: asked" in str(CHECKS[name].run()), covered


# differences


def test_differences_have_fourteen_digits_and_know_it():
    for x in (0.3, 2.0, -5.0):
        estimate = differences.derivative(lambda s, x=x: np.sin(np.longdouble(x) + s))
        error = abs(float(estimate.value) - np.cos(x))
        assert error < 1e-14 and estimate.uncertainty < 1e-12
        assert abs(estimate.jump) < 1e-9


def test_a_kink_has_two_slopes():
    estimate = differences.derivative(lambda s: np.maximum(s, 0.1 * s))
    assert abs(float(estimate.jump) - 0.9) < 1e-12


def test_steps_shrink_where_the_function_is_narrow_or_undefined():
    narrow = differences.derivative(lambda s: np.tanh(1e4 * (np.longdouble(1e-5) + s)))
    assert abs(float(narrow.value) / (1e4 / np.cosh(0.1) ** 2) - 1) < 1e-9
    beside_zero = differences.derivative(lambda s: np.log(np.longdouble(1e-4) + s))
    assert abs(float(beside_zero.value) / 1e4 - 1) < 1e-9


def test_nowhere_finite_is_infinitely_uncertain():
    assert differences.derivative(lambda s: s / 0 if s else s * 0).uncertainty == np.inf


# one function


def test_a_right_vjp_passes_with_many_digits():
    report = gradcheck.check(layer_norm, layer_norm_vjp, rng.normal(size=(3, 6)))
    assert report.ok and report.checked == 18 and report.worst.error < 1e-13
    assert "pass" in str(report)


def test_inputs_come_in_any_form_and_are_named():
    W, x = rng.normal(size=(3, 2)), rng.normal(size=2)
    B = rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2))

    def vjp(g, W, x):
        return np.outer(g, x), g @ W

    for form in ((W, x), [W, x], dict(W=W, x=x)):
        report = gradcheck.check(lambda W, x: W @ x, vjp, form)
        assert report.ok and [p.name for p in report.parameters] == ["W", "x"]
    p = Views({"cell": {"B": Complex((3, 2))}, "x": (2,)})
    p.cell.B, p.x = B, x

    def wrong(g, p):
        found = p.like()
        found.cell.B, found.x = np.outer(g, p.x).conj(), (g.conj() @ p.cell.B).real
        return found

    report = gradcheck.check(lambda p: p.cell.B @ p.x, wrong, p)
    assert re.fullmatch(r"cell\.B\[\d, \d\]\.imag", report.worst.name)
    assert [q.verdict for q in report.parameters] == ["fail", "pass"]
    assert "conjugate" in hints(report)


def test_gradients_and_jacobians():
    x, z = rng.normal(size=4), rng.normal(size=3) + 1j * rng.normal(size=3)
    assert gradcheck.check(lambda x: x @ x, lambda x: 2 * x, x, "gradient").ok
    assert gradcheck.check(np.sin, lambda x: np.diag(np.cos(x)), x, "jacobian").ok
    assert gradcheck.check(np.square, lambda z: np.diag(2 * z), z, "jacobian").ok
    report = gradcheck.check(np.conj, lambda z: np.eye(3), z, "jacobian")
    assert not report.ok, "conj has no complex derivative"
    assert "only a scalar" in str(gradcheck.check(np.sin, np.cos, x, "gradient"))


def test_functions_that_take_no_extended_precision():
    def vjp(g, A):
        inverse = np.linalg.inv(A)
        return -inverse.T @ g @ inverse.T

    report = gradcheck.check(np.linalg.inv, vjp, np.eye(3) + 0.1 * rng.normal(size=(3, 3)))
    assert report.ok and "no extended precision" in str(report)


def test_float32_is_checked_with_a_wider_tolerance():
    x = rng.normal(size=6).astype("f4")
    report = gradcheck.check(np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2), x)
    assert report.ok and report.tolerance == 2e-3
    assert not gradcheck.check(np.tanh, lambda g, x: g * 1.01 * (1 - np.tanh(x) ** 2), x).ok


@pytest.mark.parametrize(
    "vjp, words",
    [
        (lambda g, x: -layer_norm_vjp(g, x), "the sign is flipped"),
        (lambda g, x: 3 * layer_norm_vjp(g, x), "a constant factor: claimed = 3 × expected"),
        (lambda g, x: layer_norm_vjp(g, x) / 5, "1/5: a mean for a sum"),
        (lambda g, x: layer_norm_vjp(g, x).T, "it is transposed"),
        (lambda g, x: 0 * g, "zero everywhere"),
        (lambda g, x: x * layer_norm_vjp(g, x), "a factor x too many"),
        (lambda g, x: layer_norm_vjp(g, x) / np.exp(x), "a factor exp(x) is missing"),
        (lambda g, x: layer_norm_vjp(g, x) + g.sum() * x, "a term is missing: "),
        (lambda g, x: np.roll(layer_norm_vjp(g, x), 1, 1), "one place off along axis 1"),
        (lambda g, x: layer_norm_vjp(g, x).astype("f4").astype(float), "computed in float32"),
        (lambda g, x: layer_norm_vjp(g, x) * (1 + 1e-4 * x), "nearly right"),
        (lambda g, x: np.where(np.arange(5) == 3, 0, layer_norm_vjp(g, x)), "index 3 along axis 1"),
        (lambda g, x: np.where(x > 9, 0, np.nan), "not finite"),
    ],
)
def test_hints(vjp, words):
    report = gradcheck.check(layer_norm, vjp, rng.normal(size=(5, 5)))
    assert report.verdict == "fail" and words in hints(report)
    assert words in str(report)


def test_a_misplaced_epsilon_is_named():
    problem = CHECKS["layers.layer_norm"].problem(np.random.default_rng(0))

    def outside(g, x):
        y, _ = layers.layer_norm(x)
        return layers.layer_norm_vjp(g, y, 1 / (x.std(-1, keepdims=True) + layers.LAYER_NORM_EPS))

    suspects = {"ε is added to the standard deviation": outside}
    report = gradcheck.check(problem.f, outside, problem.inputs, suspects=suspects)
    assert "ε is added to the standard deviation" in hints(report)


@pytest.mark.parametrize(
    "f, vjp, words",
    [
        (np.tanh, lambda g, x: g.reshape(-1, 1), "has shape (6, 1), not (6,)"),
        (np.tanh, lambda g, x: g * 1j, "is a real part missing"),
        (np.tanh, lambda g, x: (g, g), "2 arrays for 1 inputs"),
        (np.tanh, lambda g, x: g * g, "not linear in g"),
        (np.tanh, lambda g, x: np.multiply(x, 2, out=x), "changes its input x in place"),
        (np.tanh, lambda g, x: np.multiply(g, 2, out=g), "changes the incoming gradient"),
        (lambda x: np.multiply(x, 2, out=x), lambda g, x: 2 * g, "the function changes its input"),
        (lambda x: x + rng.normal(), lambda g, x: g, "two answers to one question"),
        (np.tanh, lambda g, x: g * rng.normal(), "two answers to one question"),
        (lambda x: x / 0, lambda g, x: g, "the function gives"),
    ],
)
def test_what_is_wrong_beyond_numbers(f, vjp, words):
    with np.errstate(all="ignore"):
        report = gradcheck.check(f, vjp, rng.normal(size=6))
    assert report.verdict == "fail" and words in str(report)


def test_a_vjp_that_accumulates_is_caught():
    total = np.zeros(3)

    def vjp(g, x):
        total[:] += g
        return total.copy()

    assert "two answers" in str(gradcheck.check(lambda x: x * 1, vjp, rng.normal(size=3)))


def test_a_complex_input_needs_a_complex_gradient():
    z = rng.normal(size=3) + 1j * rng.normal(size=3)
    report = gradcheck.check(lambda z: z * 2, lambda g, z: 2 * g.real, z)
    assert "∂L/∂Im is missing" in str(report)
    assert gradcheck.check(np.abs, lambda g, z: g * z / np.abs(z), z).ok, "∂L/∂Re + i ∂L/∂Im"


@pytest.mark.parametrize("slope", [0.01, 0.505, 1.0])
def test_a_kink_is_never_a_pass(slope):
    x = np.array([-1.0, 0.0, 2.0])

    def vjp(g, x):
        return np.where(x == 0, slope * g, layers.leaky_relu_vjp(g, x))

    report = gradcheck.check(layers.leaky_relu, vjp, x)
    assert report.verdict == "inconclusive" and not report.ok
    assert "kink" in hints(report)
    beside = gradcheck.check(layers.leaky_relu, vjp, np.array([-1.0, 1e-4, 2.0]))
    assert beside.ok, "steps shrink until they are on one side"


def test_a_rough_function_is_inconclusive():
    def rough(x):
        return x + 1e-5 * np.sin(1e9 * x)

    assert gradcheck.check(rough, lambda g, x: g, np.array([0.3, 0.7])).verdict != "pass"


def test_one_wrong_entry_among_many_is_found_and_located():
    W, x = rng.normal(size=(192, 64)), rng.normal(size=64)

    def vjp(g, W):
        gradient = np.outer(g, x)
        gradient[17, 33] *= 1.0 + 1e-3
        return gradient

    report = gradcheck.check(lambda W: W @ x, vjp, W, entries=16, directions=2)
    assert report.verdict == "fail" and report.worst.name == "W[17, 33]"
    assert "halving" in hints(report) and "random directions" in str(report)
    assert gradcheck.check(lambda W: W @ x, lambda g, W: np.outer(g, x), W, entries=16).ok


def test_what_is_not_claimed_is_not_checked_and_said_so():
    def vjp(g, x, y):
        return g * y, None

    inputs = rng.normal(size=2), rng.normal(size=2)
    report = gradcheck.check(lambda x, y: x * y, vjp, inputs, claim="of the first alone")
    assert report.ok and report.checked == 2
    assert "Nothing is claimed for y" in str(report)
    assert "declared: of the first alone" in str(report)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="x must be an array of float32"):
        gradcheck.check(np.sin, np.cos, np.arange(3))
    with pytest.raises(InputError, match="kind must be one of vjp, gradient, jacobian, got 'jvp'"):
        gradcheck.check(np.sin, np.cos, np.ones(3), "jvp")
    with pytest.raises(InputError, match="nothing to differentiate"):
        gradcheck.check(np.sin, np.cos, ())


def test_a_report_is_data():
    report = gradcheck.check(np.tanh, lambda g, x: g * np.inf, rng.normal(size=2))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["verdict"] == "fail" and data["parameters"][0]["worst"]["claimed"] in (
        "inf",
        "-inf",
    )


# sequences


def make_sequence(mode="rtrl", name="rtu"):
    draw = np.random.default_rng(3)
    cell, p = make_cell(name, mode, draw, 3, 3)
    xs, gs = draw.normal(size=(9, 3)), draw.normal(size=(9, cell.feature_count(3)))
    return sequence.Sequence(name, 3, p, xs, gs, (0, 4, 6), mode)


@pytest.mark.parametrize("odd", sequence.Ways._fields)
def test_the_odd_one_out_is_named_with_the_step_and_the_parameter(odd):
    s = make_sequence()
    ways = [sequence.by_rtrl, sequence.by_bptt, sequence.by_differences, sequence.by_complex_step]
    rows = {name: way(s) for name, way in zip(sequence.Ways._fields, ways, strict=True)}
    at = next(i for i in range(s.p.flat.size) if s.p.name_of(i) == "theta_log[1]")
    rows[odd][5:, at] *= 1.01
    report = sequence.compare_ways(sequence.Ways(**rows), s, "")
    assert report.verdict == "fail"
    where = report.divergence
    assert (where.odd, where.step, where.entry) == (odd, 5, "theta_log[1]")
    assert sequence.WORDS[odd] in where.words


def test_a_state_carried_into_the_next_episode_is_dated():
    s = make_sequence()
    wrong = make_sequence()
    wrong.starts = (0, 6)
    others = sequence.by_bptt(s), sequence.by_differences(s), sequence.by_complex_step(s)
    ways = sequence.Ways(sequence.by_rtrl(wrong), *others)
    where = sequence.compare_ways(ways, s, "").divergence
    assert where.odd == "rtrl" and where.step == 4 and "carried into it" in where.words


def test_twins_have_every_cell():
    assert set(twins.PARTS) == set(cells.CELLS)
    p = Views({"b": (2,), "B": Complex((2, 1))})
    p.flat[:] = np.arange(6)
    assert (twins.join(twins.split(p), p).flat == p.flat).all()
    entries = [twins.split(p)[name][index] for name, index in twins.entries(p)]
    assert entries == list(p.flat)


# figures and the command


def test_the_v_curve_falls_and_rises():
    check = CHECKS["layers.tanh"]
    curves = figures.v_curve(check.problem(check.rng(0)))["x"]
    assert curves["float64"].argmin() in range(10, 25), "between 1e-3 and 1e-7"
    assert 1e-12 < curves["float64"].min() < 1e-9 and curves["float64"][0] > 1e-2
    assert curves["float64"][-1] > 1e-6 and curves["float32"].min() > curves["float64"].min()
    assert curves["extrapolated"].min() < 1e-14


def test_sensitivities_are_exact_until_parameters_move():
    times, errors = figures.sensitivity_errors(np.random.default_rng(0), steps=60, samples=8)
    assert times[0] == 1 and times[-1] == 60
    exact, one_step, fast, _, slow = errors.values()
    assert exact.max() < 1e-12
    assert one_step[-1] > 0.1
    assert 1e-9 < slow[-1] < fast[-1]


def test_figures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    check = CHECKS["layers.tanh"]
    figures.draw_v_curves(figures.v_curve(check.problem(check.rng(0))), "tanh", tmp_path / "v.png")
    times, errors = figures.sensitivity_errors(np.random.default_rng(0), steps=20, samples=4)
    figures.draw_sensitivity_errors(times, errors, tmp_path / "s.png")
    assert (tmp_path / "v.png").stat().st_size > 5000 and (tmp_path / "s.png").stat().st_size > 5000


def run(*arguments):
    return cli.main(["gradcheck", *map(str, arguments)])


def test_the_command_prints_a_table_and_writes_json(capsys, tmp_path):
    assert run("--only", "layers.*norm", "--json", tmp_path / "r.json", "--seed", 5) == 0
    printed = capsys.readouterr().out
    assert "layers.layer_norm" in printed and "1 of 1 checks pass" in printed
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["reports"][0]["verdict"] == "pass"


THEIRS = """
import numpy as np

def tanh_vjp(g, y):
    return g * (1.0 - y{square})

def nothing(): ...
"""


@pytest.mark.parametrize("square, code", [(" * y", 0), ("", 1)])
def test_the_command_checks_a_function_of_yours(capsys, tmp_path, square, code):
    file = tmp_path / "mine.py"
    file.write_text(THEIRS.format(square=square))
    own = layers.tanh_vjp
    assert run("--module", f"{file}:tanh_vjp") == code
    assert layers.tanh_vjp is own
    printed = capsys.readouterr().out
    assert "in place of layers.tanh_vjp" in printed
    assert f"{1 - code} of 1 checks pass" in printed


def test_the_command_refuses_bad_input_in_one_sentence(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(THEIRS.format(square=""))
    (tmp_path / "broken.py").write_text("def")
    for arguments, words in [
        (("--only", "nothing"), "fits no check"),
        (("--seed", -1), "seed must be a whole number, at least 0, got -1"),
        (("--module", "mine"), "takes FILE.py:FUNCTION"),
        (("--module", f"{tmp_path}/none.py:tanh_vjp"), "there is no file"),
        (("--module", f"{file}:nothing"), "the package has no function nothing"),
        (("--module", f"{file}:vjp"), "vjp may be any of cells.feedforward.vjp, "),
        (("--module", f"{file}:softmax_vjp"), "has no function softmax_vjp"),
        (("--module", f"{tmp_path}/broken.py:tanh_vjp"), "stops with SyntaxError"),
        (("--only", "layers.tanh", "--json", tmp_path / "no" / "r.json"), "cannot write"),
    ]:
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_the_page_on_checking_your_own_runs_and_prints_what_it_says(capsys):
    page = (Path(__file__).parent.parent / "docs/check-your-own.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in blocks[0].splitlines() if line]) <= 10
    names = {}
    for block in blocks:
        exec(block, names)
    printed = capsys.readouterr().out
    shown = re.search(r"```text\n(.*?)```", page, re.DOTALL).group(1)
    assert printed.startswith(shown) and printed.endswith("True\n")


def test_every_agent_runs_beside_a_plain_one():
    for path in sorted((registry.ROOT / "agents").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            methods = {f.name for f in getattr(node, "body", ()) if isinstance(f, ast.FunctionDef)}
            if {"act", "update"} <= methods:
                assert any(name.startswith(f"agents.{node.name},") for name in CHECKS), node.name
