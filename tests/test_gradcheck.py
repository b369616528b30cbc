import ast
import dataclasses
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

from streamrl_np import cells, cli, gradcheck, layers
from streamrl_np.arrays import Complex, Views
from streamrl_np.cells import rtu
from streamrl_np.gradcheck import (
    behaviour,
    compare,
    differences,
    figures,
    large,
    recurrent,
    registry,
    sequence,
    twins,
)
from streamrl_np.gradcheck import report as reports
from streamrl_np.gradcheck.check import check_problem
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


@pytest.mark.parametrize("periods", [500, 2**9, 2**10, 2**15, 2**17])
def test_a_wave_does_not_hide_between_the_steps(periods):
    w, x = 2 * np.pi * periods, rng.normal(size=4)
    assert gradcheck.check(lambda x: np.sin(w * x), lambda g, x: g * w * np.cos(w * x), x).ok
    report = gradcheck.check(lambda x: x**2 + 0.01 * np.sin(w * x), lambda g, x: 2 * g * x, x)
    assert report.verdict == ("fail" if periods <= 2**10 else "inconclusive"), "or it is rounding"


def in_single(x):
    return np.sin(x.astype("f4")).astype("f8")


@pytest.mark.parametrize("digits", [None, 6, 9, 12])
def test_a_function_that_rounds_is_inconclusive_and_not_wrong(digits):
    f = in_single if digits is None else lambda x: np.round(np.sin(x), digits)
    verdicts = {gradcheck.check(f, lambda g, x: g * np.cos(x), rng.normal(size=6)).verdict}
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=6)
        verdicts.add(gradcheck.check(f, lambda g, x: g * np.cos(x), x).verdict)
    assert verdicts == {"inconclusive"}
    wrong = gradcheck.check(f, lambda g, x: g * np.sin(x), np.array([0.3, 1.2]))
    assert wrong.verdict != "pass"
    if digits in (9, 12):
        assert wrong.verdict == "fail"


def test_roughness():
    def widest(phi):
        return max(rough for _, rough in differences.roughness(phi))

    assert widest(lambda s: np.sin(1 + s)) < 1e-18
    for grain in 1e-12, 1e-7, 1e-4:
        rough = widest(lambda s, grain=grain: np.round(np.sin(1 + s) / grain) * grain)
        assert 0.1 * grain < rough < grain
    assert widest(lambda s: np.longdouble(2)) == 0


def test_a_gradient_too_small_for_errors_to_show_is_no_pass():
    report = gradcheck.check(
        lambda a, b: a + np.exp(-b),
        lambda g, a, b: (g, g * np.exp(-b)),  # its sign is wrong
        (np.array([1.0, 2.0]), np.array([36.0, 37.0])),
    )
    assert [p.verdict for p in report.parameters] == ["pass", "inconclusive"]
    assert "too small beside the function's value" in str(report)
    zero = gradcheck.check(lambda a, b: a, lambda g, a, b: (g, 0 * g), (np.ones(2), np.ones(2)))
    assert zero.ok, "nothing is claimed to be something"


def test_a_complex_function_has_no_gradient():
    x = np.array([0.3, 0.5])
    report = gradcheck.check(lambda x: np.exp(1j * x).sum(), lambda x: -np.sin(x), x, "gradient")
    assert report.verdict == "fail" and "only a real one has a gradient" in str(report)


def test_a_forgotten_return_is_named():
    report = gradcheck.check(np.sin, lambda g, x: None, np.ones(3))
    assert report.verdict == "fail" and "is a return missing?" in str(report)


def test_no_hint_from_factors_without_bound():
    x = np.array([800.0, 900.0, 1000.0])
    report = gradcheck.check(lambda x: x**3, lambda g, x: 3 * g * x**1.5, x)
    assert report.verdict == "fail" and "exp(x)" not in str(report)


def test_rounding_is_told_of_complex_functions_too():
    z = np.array([0.3 + 0.2j, -1.0 + 0.5j])
    for f, x in ((lambda z: (z * z).astype("c16"), z), (lambda x: (x * x).astype("f8"), z.real)):
        report = gradcheck.check(f, lambda g, x: 2 * g * np.conj(x), x)
        assert "The function rounds what it returns; differences are less precise." in report.notes


@pytest.mark.parametrize("size", [1e-5, 1e-7, 1e-9])
def test_small_inputs_lie_on_no_kink(size):
    x = size * np.array([1.0, 2.0, 3.0])
    assert gradcheck.check(np.log, lambda g, x: g / x, x).ok
    assert gradcheck.check(np.sqrt, lambda g, x: g / (2 * np.sqrt(x)), x).ok
    assert gradcheck.check(np.log, lambda g, x: g / (1.001 * x), x).verdict == "fail"


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


def test_an_argument_may_be_called_as_a_method_of_views_is():
    x = rng.normal(size=3)
    report = gradcheck.check(
        lambda flat, layout, items: flat * layout + items,
        lambda g, flat, layout, items: (g * layout, g * flat, g),
        (x, 2 * x, x),
    )
    assert report.ok and [p.name for p in report.parameters] == ["flat", "layout", "items"]


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


def test_functions_that_look_at_the_dtype():
    def f(x):
        if x.dtype not in (np.float32, np.float64):
            raise ValueError("x must be float32 or float64")
        return x.view(np.complex128).real ** 2

    def vjp(g, x):
        return np.stack([2 * g * x[::2], 0 * g], axis=1).ravel()

    report = gradcheck.check(f, vjp, rng.normal(size=4))
    assert report.ok and "differences are in float64" in str(report)


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


def test_a_single_number_may_be_a_factor_too():
    report = gradcheck.check(
        lambda log_std: 3 * np.exp(log_std), lambda g, log_std: 3 * g, np.array(0.7)
    )
    assert hints(report) == "a factor exp(log_std) is missing"
    report = gradcheck.check(lambda x: x**2, lambda g, x: g * x, np.array(0.7))
    assert hints(report).startswith("a constant factor: claimed = 0.5 × expected = 1/2")


def test_a_tiny_gradient_that_is_wrong_is_not_nearly_right():
    def f(x, y):
        return np.sum(x) + 1e-5 * np.sum(y**2)

    def wrong(x, y):
        return np.ones_like(x), 1e-5 * y * (1 + (np.arange(len(y)) > 2))

    report = gradcheck.check(f, wrong, (rng.normal(size=4), rng.normal(size=6)), kind="gradient")
    assert report.verdict == "fail" and "float32" not in hints(report)
    assert "nearly" not in hints(report) and "3 of 6 entries are wrong" in hints(report)


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
        (lambda x: np.tanh(x), lambda g, x: np.multiply(x, 2, out=x), "changes its input x in"),
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


@pytest.mark.parametrize(
    "jacobian, words",
    [
        (lambda x: np.ones((4, 3)), "the jacobian of x has shape (4, 3), not (3, 4): first the"),
        (lambda x: np.ones(4), "the jacobian of x has shape (4,), not (3, 4)"),
        (lambda x: (np.ones((3, 4)), np.ones((3, 4))), "2 arrays for 1 inputs: x"),
    ],
)
def test_a_jacobian_of_another_shape_is_a_failure(jacobian, words):
    A = rng.normal(size=(3, 4))
    report = gradcheck.check(lambda x: A @ x, jacobian, rng.normal(size=4), kind="jacobian")
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
        gradcheck.check(lambda x: np.sin(x), np.cos, np.arange(3))
    with pytest.raises(InputError, match="kind must be one of vjp, gradient, jacobian, got 'jvp'"):
        gradcheck.check(np.sin, np.cos, np.ones(3), "jvp")
    for nothing in (), np.zeros(0), {}:
        with pytest.raises(InputError, match="nothing to differentiate"):
            gradcheck.check(np.sin, np.cos, nothing)
    for returned in None, {"y": np.ones(3)}, "y":
        with pytest.raises(InputError, match="must return an array of numbers or a tuple of them"):
            gradcheck.check(lambda x, y=returned: y, np.cos, np.ones(3))
    for option, value, words in [
        ("entries", 0, "entries must be a whole number, at least 1, got 0"),
        ("directions", -1, "directions must be a whole number, at least 0, got -1"),
        ("tolerance", 0, "tolerance must be a number above 0, got 0"),
    ]:
        with pytest.raises(InputError, match=words):
            gradcheck.check(np.sin, np.cos, np.ones(3), **{option: value})


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
        (("--module", f"{file}:course.assignments.a1_layers.linear_vjp"), "has no function course"),
        (("--module", f"{file}:softmax_vjp"), "has no function softmax_vjp"),
        (("--module", f"{tmp_path}/broken.py:tanh_vjp"), "stops with SyntaxError"),
        (("--only", "layers.tanh", "--json", tmp_path / "no" / "r.json"), "cannot write"),
        (("--only", "layers.tanh", "--json", tmp_path), "cannot write"),
        (("--only", "layers.tanh", "--plots", file), "cannot write to"),
    ]:
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


def test_a_function_that_no_check_calls_is_not_said_to_pass(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def linear_vjp(*inputs):\n    raise ZeroDivisionError")
    assert run("--module", f"{file}:linear_vjp", "--only", "leaky") == 2
    printed = capsys.readouterr()
    assert "none of these checks calls layers.linear_vjp" in printed.err
    assert "checks pass" not in printed.out


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


def test_the_page_shows_what_the_command_prints_of_a_slip(capsys, tmp_path):
    page = (Path(__file__).parent.parent / "docs/check-your-own.md").read_text()
    right = inspect.getsource(rtu.immediate_jacobian)
    slip = right.replace("1j * theta * lam", "1j * lam")
    assert slip != right
    (tmp_path / "mine.py").write_text(slip)
    assert run("--module", f"{tmp_path}/mine.py:cells.rtu.immediate_jacobian") == 1
    printed = capsys.readouterr().out
    blocks = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    for block in blocks[2:4]:
        assert without_rounding(block) in without_rounding(printed)
    assert "gradcheck --module mine.py:cells.rtu.immediate_jacobian\n" in blocks[1]


def without_rounding(text):
    """Blot out errors of the size of rounding: another processor rounds otherwise."""
    return re.sub(r"\d\.\de-1\d", "rounding", text)


def look(p, state, x):
    """Look ahead with a side effect."""
    state.S_nu[:] = 0
    return rtu_peek(p, state, x)


def advance(p, state, x, mode):
    """Advance to other features than the modes that are not exact."""
    cache = rtu_advance(p, state, x, mode)
    return cache._replace(y=cache.y + 0.3) if mode == "rtrl" else cache


def vjp(p, state, cache, gy, grad):
    """Pull back and forget."""
    gx = rtu_vjp(p, state, cache, gy, grad)
    state.S_nu[:] = 0
    return gx


rtu_peek, rtu_advance, rtu_vjp = rtu.peek, rtu.advance, rtu.vjp


@pytest.mark.parametrize(
    "name, wrong, words",
    [
        ("peek", look, "peek changes the state: it may only look"),
        ("peek", lambda *a: rtu_peek(*a) + 0.3, "peek gives other features than advance"),
        ("advance", advance, "peek gives other features than advance"),
        ("vjp", vjp, "vjp changes the state: it may only read it"),
    ],
)
def test_a_cell_whose_parts_do_not_fit_together_fails(monkeypatch, name, wrong, words):
    monkeypatch.setattr(rtu, name, wrong)
    problem = recurrent.cell_problem("rtu", "rtrl")(np.random.default_rng(0))
    report = check_problem(problem)
    assert report.verdict == "fail" and words in str(report)


def test_a_mode_with_other_features_fails(monkeypatch):
    def shifted(p, state, x, mode):
        held = state.copy()
        cache = rtu_advance(p, state, x, mode)
        if mode == "frozen":
            state.flat[:] = held.flat
            cache = rtu_advance(p, state, 2 * x, mode)
        return cache

    monkeypatch.setattr(rtu, "advance", shifted)
    problem = recurrent.cell_problem("rtu", "rtrl")(np.random.default_rng(0))
    assert "other features in mode rtrl than in frozen" in str(check_problem(problem))


def test_every_agent_runs_beside_a_plain_one():
    for path in sorted((registry.ROOT / "agents").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            methods = {f.name for f in getattr(node, "body", ()) if isinstance(f, ast.FunctionDef)}
            if {"act", "update"} <= methods:
                assert any(name.startswith(f"agents.{node.name},") for name in CHECKS), node.name


# right, at inputs and of functions that are hard to take differences of
HARD = {
    "1/x at 1e-9": (lambda x: 1 / x, lambda g, x: -g / x**2, 1e-9 * np.array([1.0, -2.0])),
    "log|x| at 1e-40": (lambda x: np.log(abs(x)), lambda g, x: g / x, 1e-40 * np.array([1.0, -2])),
    "x² at 1e-15": (np.square, lambda g, x: 2 * g * x, 1e-15 * np.array([1.0, -2.0])),
    "clip beside its edge": (
        lambda x: np.clip(x, 1, 2),
        lambda g, x: g * ((x > 1) & (x < 2)),
        np.array([0.99]),
    ),
    "relu beside its kink": (
        lambda x: np.maximum(x - 1, 0),
        lambda g, x: g * (x > 1),
        np.array([0.99, 0.995, 1.009]),
    ),
    "a steep tanh": (
        lambda x: np.tanh(1e6 * x + 0.3),
        lambda g, x: 1e6 * g * (1 - np.tanh(1e6 * x + 0.3) ** 2),
        np.zeros(3),
    ),
}


@pytest.mark.parametrize("name", HARD)
def test_a_right_derivative_passes_where_differences_are_hard(name):
    report = gradcheck.check(*HARD[name])
    assert report.ok, str(report)


@pytest.mark.parametrize("w", [3e7, 1e8, 1e9, 1e10])
def test_a_wave_too_fast_for_differences_is_not_wrong(w):
    x = np.random.default_rng(0).normal(size=4)
    report = gradcheck.check(lambda x: np.sin(w * x), lambda g, x: g * w * np.cos(w * x), x)
    assert report.verdict != "fail"


def raises(x):
    if (x < 0).any():
        raise ValueError("not there")
    return np.sqrt(x)


def test_a_function_may_raise_outside_its_domain():
    x = np.array([1e-3, 2.0])
    assert gradcheck.check(raises, lambda g, x: g / (2 * np.sqrt(x)), x).ok
    assert gradcheck.check(raises, lambda g, x: g / np.sqrt(x), x).verdict == "fail"


def test_rounding_beside_something_smooth_does_not_hide():
    def f(x, y):
        return np.round(np.sin(x), 6), y

    x, y = np.array([0.3, 0.7]), np.array([0.5, -0.2])
    report = gradcheck.check(f, lambda g, h, x, y: (g * np.cos(x), h), (x, y))
    assert [p.verdict for p in report.parameters] == ["inconclusive", "pass"]
    at_zero = gradcheck.check(lambda x: np.round(1 + np.sin(x), 6), lambda g, x: g, np.zeros(3))
    assert at_zero.verdict == "inconclusive"


def test_a_function_made_of_steps_has_no_slope_to_speak_of():
    f, x = lambda x: np.round(x * 128) / 128, np.random.default_rng(0).normal(size=6)
    assert gradcheck.check(f, lambda g, x: g, x).verdict == "inconclusive"
    assert gradcheck.check(f, lambda g, x: 0 * g, x).verdict != "fail"


def test_a_gradient_that_is_zero_passes_in_float64_too():
    A, b = np.eye(3) + 0.1, np.ones(3)
    f = lambda A, b: np.linalg.inv(A) + 0 * b  # noqa: E731

    def vjp(g, A, b):
        return -np.linalg.inv(A).T @ g @ np.linalg.inv(A).T, 0 * b

    assert gradcheck.check(f, vjp, (A, b)).ok
    count = gradcheck.check(lambda x: np.ones(3, np.uint8), lambda g, x: 0 * x, np.ones(3))
    assert count.ok


def test_what_is_nearly_right_is_not_told_to_be_turned():
    for x in np.arange(1.0, 5.0), np.eye(3) + 1.0:
        claim = np.ones_like(x) * (1 + 1e-7)
        report = gradcheck.check(np.sum, lambda x, claim=claim: claim, x, "gradient")
        assert report.verdict == "fail"
        assert not re.search("place off|transposed|conjugate", str(report))


def four_ways():
    draw = np.random.default_rng(3)
    cell, p = recurrent.make_cell("rtu", "rtrl", draw, 3, 3)
    gs = draw.normal(size=(9, cell.feature_count(3)))
    s = sequence.Sequence("rtu", 3, p, draw.normal(size=(9, 3)), gs, (0, 4, 6))
    ways = sequence.by_rtrl, sequence.by_bptt, sequence.by_differences, sequence.by_complex_step
    return s, {name: way(s) for name, way in zip(sequence.Ways._fields, ways, strict=True)}


@pytest.mark.parametrize(
    "odd, off", [("rtrl", 1e-11), ("bptt", 1e-11), ("complex_step", 1e-11), ("differences", 1e-8)]
)
def test_the_way_that_is_off_by_little_is_named(odd, off):
    s, rows = four_ways()
    rows[odd] *= 1 + off
    report = sequence.compare_ways(sequence.Ways(**rows), s, "")
    assert report.verdict == "fail" and report.divergence.odd == odd


@pytest.mark.parametrize("odd", sequence.Ways._fields)
def test_the_way_that_is_nan_is_named(odd):
    s, rows = four_ways()
    rows[odd][3, 1] = np.nan
    report = sequence.compare_ways(sequence.Ways(**rows), s, "")
    assert report.verdict == "fail" and report.divergence.odd == odd


def test_full_size_can_fail(monkeypatch):
    run = large.full_size_run(recurrent.make_cell, "rtu", n=3, d=3, steps=9, starts=(0, 4))
    assert run(np.random.default_rng(0)).ok
    own, line = large.sum_by_rtrl, large.look_along
    monkeypatch.setattr(large, "sum_by_rtrl", lambda s: own(s) * (1 + 1e-11))
    assert run(np.random.default_rng(0)).verdict == "fail"
    monkeypatch.setattr(large, "sum_by_rtrl", own)
    monkeypatch.setattr(large, "look_along", lambda s, g, rng: line(s, g * (1 + 1e-7), rng))
    assert run(np.random.default_rng(0)).verdict == "fail"


def test_single_precision_can_fail():
    x = np.random.default_rng(0).normal(size=4)

    def vjp(g, x):
        return g * np.cos(x) + 0.01 * (x.dtype == np.float32) * g

    entry = large.single_precision(gradcheck.Problem(np.sin, vjp, x), np.random.default_rng(0))
    assert entry.verdict == "fail"


def test_the_largest_claims_are_among_the_sampled():
    sizes = np.array([1.0] * 7 + [9.0] + [1.0] * 92)
    assert 7 in compare.choose(sizes, 2, np.random.default_rng(0))


def test_a_claim_of_zero_is_looked_at_too():
    f = lambda x: 1 + np.longdouble(5e-16) * x.sum()  # noqa: E731
    report = gradcheck.check(f, lambda x: 0 * x, np.array([0.3, 0.7]), "gradient")
    assert report.verdict == "inconclusive"


@pytest.mark.parametrize(
    "wrong, words",
    [
        (lambda G: -G.conj(), "a conjugate is missing, and the sign"),
        (lambda G: G.real + 0j, "imaginary part, ∂L/∂Im"),
        (lambda G: 1j * G, "a factor i is missing"),
        (lambda G: 1j * G.conj(), "parts are exchanged"),
        (lambda G: G[::-1], "order along axis 0 is reversed"),
    ],
)
def test_complex_mistakes_are_named(wrong, words):
    draw = np.random.default_rng(0)
    z = draw.normal(size=5) + 1j * draw.normal(size=5)
    assert words in str(gradcheck.check(np.square, lambda g, z: wrong(2 * g * z.conj()), z))


def test_made_up_names_do_not_hide_an_input():
    f = lambda input2, *rest: input2 + rest[0] + rest[1]  # noqa: E731
    report = gradcheck.check(f, lambda g, *xs: (g, g, 2 * g), (np.ones(2), np.ones(2), np.ones(2)))
    assert [p.name for p in report.parameters] == ["input2", "rest", "input3"]
    assert report.verdict == "fail" and report.worst.name.startswith("input3")


def test_another_number_of_answers_is_two_answers():
    calls = []

    def f(x):
        calls.append(x)
        return (x,) * (1 + len(calls) % 2)

    assert "two answers" in str(gradcheck.check(f, lambda *gs: sum(gs[:-1]), np.ones(2)))


def test_a_name_that_the_package_does_not_have_is_refused():
    for name in "layers.nope", "networks.Nope.vjp", "nowhere.vjp":
        with pytest.raises(LookupError, match=f"no module of streamrl_np holds {name}"):
            registry.resolve(name)


def test_a_nan_claim_is_found_in_a_sampled_input():
    def vjp(g, W):
        G = 2 * g * W
        G.ravel()[::2] = np.nan
        return G

    W = np.random.default_rng(0).normal(size=50)
    assert gradcheck.check(np.square, vjp, W, entries=4).verdict == "fail"

    def one(g, W):
        G = g * np.cos(W)
        G[17, 42] = np.nan
        return G

    W = np.random.default_rng(0).normal(size=(50, 50))
    report = gradcheck.check(np.sin, one, W)
    assert report.verdict == "fail" and report.worst.name == "x[17, 42]"
    assert "1 of 2500 entries of the claim are not finite" in str(report)


def pairs(dtype):
    return lambda p: np.abs(p.view(dtype)[..., 0]) ** 2


def test_complex_numbers_stored_as_pairs():
    p, vjp = np.random.default_rng(0).normal(size=(4, 2)), lambda g, p: 2 * g[:, None] * p
    report = gradcheck.check(pairs(complex), vjp, p)
    assert report.ok and "differences are in float64" in str(report)
    assert gradcheck.check(pairs(complex), lambda g, p: g[:, None] * p, p).verdict == "fail"
    single = gradcheck.check(pairs(np.complex64), vjp, p.astype("f4"))
    assert single.verdict != "fail" and "differences are in float32" in str(single)
    z = p[:, 0] + 1j * p[:, 1]
    assert gradcheck.check(lambda z: (z.view(float) ** 2).sum(), lambda z: 2 * z, z, "gradient").ok


@pytest.mark.parametrize("seed", range(12))
def test_a_part_that_rounds_makes_nothing_wrong(seed):
    x = np.random.default_rng(seed).normal(size=6)
    two = lambda x: (np.tanh(x).astype(np.float32), x**2)  # noqa: E731
    right = lambda a, b, x: a * (1 - np.tanh(x) ** 2) + 2 * b * x  # noqa: E731
    assert gradcheck.check(two, right, x, seed=seed).verdict == "inconclusive"
    wrong = gradcheck.check(two, lambda a, b, x: right(a, b, x) + b, x, seed=seed)
    assert wrong.verdict == "fail"
    hidden = lambda x: np.sum(x**2) + 1e-2 * float(np.float32(np.sum(np.sin(x))))  # noqa: E731
    report = gradcheck.check(hidden, lambda x: 2 * x + 1e-2 * np.cos(x), x, "gradient", seed=seed)
    assert report.verdict == "inconclusive"
    assert gradcheck.check(hidden, lambda x: 3 * x, x, "gradient", seed=seed).verdict == "fail"


def test_a_nearly_singular_matrix_is_not_wrong():
    inverse_vjp = lambda g, A: -np.linalg.inv(A).T @ g @ np.linalg.inv(A).T  # noqa: E731
    hilbert = 1 / (np.arange(8)[:, None] + np.arange(8) + 1.0)
    assert gradcheck.check(np.linalg.inv, inverse_vjp, hilbert).verdict != "fail"


def test_a_large_constant_takes_no_digits_from_the_rest():
    mask, x = np.array([True, True, False, True]), np.array([0.3, -1.0, 0.5, 2.0])

    def masked(x):
        z = np.where(mask, x, -1e30)
        z = z - z.max()
        return np.where(mask, z - np.log(np.exp(z).sum()), -1e30)

    def vjp(g, x):
        return np.where(mask, g - np.exp(masked(x)) * g[mask].sum(), 0)

    assert gradcheck.check(masked, vjp, x).ok
    assert gradcheck.check(masked, lambda g, x: np.zeros(4), x).verdict != "pass"
    assert gradcheck.check(masked, lambda g, x: np.where(mask, g, 0), x).verdict != "pass"


@pytest.mark.parametrize("seed", range(5))
def test_zero_may_be_claimed_but_for_rounding(seed):
    def softmax(z):
        e = np.exp(z - z.max())
        return e / e.sum()

    def vjp(g, x, b):
        p = softmax(x + b)
        gx = p * (g - g @ p)
        return gx, gx.sum()  # 0, but for rounding

    inputs = np.random.default_rng(seed).normal(size=5), np.array(0.3)
    f = lambda x, b: softmax(x + b)  # noqa: E731
    assert gradcheck.check(f, vjp, inputs, seed=seed).ok
    wrong = gradcheck.check(f, lambda g, x, b: (vjp(g, x, b)[0], 1e-6 * g[0]), inputs, seed=seed)
    assert wrong.verdict == "fail"


@pytest.mark.parametrize(
    "f, slope",
    [
        (lambda x: np.sqrt(np.abs(x)), lambda x: np.sign(x) / (2 * np.sqrt(np.abs(x)) + (x == 0))),
        (lambda x: x + 1000.0 * (x == 0), np.ones_like),
        (lambda x: np.log(np.abs(x) + 1e-30), lambda x: np.sign(x) / (np.abs(x) + 1e-30)),
    ],
)
def test_a_cusp_and_a_jump_are_never_a_pass(f, slope):
    report = gradcheck.check(f, lambda g, x: g * slope(x), np.array([0.0, 1.0, 2.0]))
    assert report.verdict == "inconclusive" and "x[0]" in str(report)


def test_gradients_in_views_go_by_name():
    p = Views({"a": (3,), "b": (3,)})
    p.a, p.b = [0.5, 1.0, 2.0], [3.0, -1.0, 0.7]

    def claim(ga, gb):
        def vjp(g, p):
            turned = Views({"b": (3,), "a": (3,)})
            turned.a, turned.b = ga(g, p), gb(g, p)
            return turned

        return gradcheck.check(lambda p: p.a**2 * p.b, vjp, p)

    by_a, by_b = lambda g, p: 2 * g * p.a * p.b, lambda g, p: g * p.a**2
    assert claim(by_a, by_b).ok and claim(by_b, by_a).verdict == "fail"


def test_an_input_may_be_called_g():
    inputs = {"g": np.ones(3), "h": np.arange(3.0) + 2}
    gradient = lambda g, h: {"g": h**2, "h": 2 * g * h}  # noqa: E731
    assert gradcheck.check(lambda g, h: np.sum(g * h**2), gradient, inputs, "gradient").ok


def test_suspects_are_of_the_kind_of_the_derivative_and_cost_no_report():
    suspects = {"the 2 is forgotten": lambda x: x, "of another shape": lambda x: x[:2]}
    report = gradcheck.check(
        lambda x: np.sum(x**2), lambda x: x, np.ones(3), "gradient", suspects=suspects
    )
    assert "a known mistake: the 2 is forgotten" in str(report)
    del suspects["the 2 is forgotten"]
    report = gradcheck.check(
        lambda x: np.sum(x**2), lambda x: x, np.ones(3), "gradient", suspects=suspects
    )
    assert "the suspect 'of another shape' stops with IndexError" in str(report)


def test_what_a_function_raises_nearby_is_said():
    def f(A):
        if not np.array_equal(A, A.T):
            raise ValueError("A must be symmetric")
        return np.trace(A @ A)

    A = np.array([[2.0, 0.3], [0.3, 1.0]])
    report = gradcheck.check(f, lambda A: 2 * A.T, A, "gradient")
    assert report.verdict == "inconclusive"
    assert "near it the function raises ValueError: A must be symmetric" in str(report)
    assert gradcheck.check(np.log, lambda g, p: g / p, np.array([2e-13, 5e-13])).ok


def test_rounding_is_no_kink():
    x = np.random.default_rng(11).normal(size=64)
    in_f4 = lambda x: np.tanh(x).astype("f4")  # noqa: E731
    report = gradcheck.check(in_f4, lambda g, x: g * (1 - np.tanh(x) ** 2), x)
    assert report.verdict == "inconclusive" and "kink: at" not in str(report)


def test_a_v_curve_of_what_is_no_smooth_ride():
    inverse_vjp = lambda g, A: -np.linalg.inv(A).T @ g @ np.linalg.inv(A).T  # noqa: E731
    A = np.array([[2.0, 0.3], [0.3, 1.0]])
    (curves,) = figures.v_curve(gradcheck.Problem(np.linalg.inv, inverse_vjp, A)).values()
    assert set(curves) == {"float32", "float64"} and min(curves["float64"]) < 1e-8
    x = np.array([0.5, 2.0])
    curves = figures.v_curve(gradcheck.Problem(raises, lambda g, x: g / (2 * np.sqrt(x)), x))
    assert min(curves["x"]["extrapolated"]) < 1e-14
    empty = gradcheck.Problem(
        lambda x, y: x**2, lambda g, x, y: (2 * g * x, y), (x, np.ones(0)), "vjp"
    )
    assert list(figures.v_curve(empty)) == ["x"]
    with pytest.raises(gradcheck.InputError, match="is a return missing"):
        figures.v_curve(gradcheck.Problem(np.multiply, lambda g, x, y: None, (x, x)))


@pytest.mark.parametrize(
    "arguments, options, words",
    [
        ((np.sum, lambda x: 2 * x, np.ones(3)), {}, "say kind='gradient'"),
        ((np.sum, lambda g, x: g, np.ones(3), "gradient"), {}, "takes g before the inputs, a gr"),
        ((lambda x: (x, (x[:2], x)), lambda g, h, x: x, np.ones(3)), {}, "makes no arrays"),
        ((np.square, lambda g, x: g, np.ones(3)), {"tolerance": "a"}, "a number above 0, got 'a'"),
        ((np.square, lambda g, x: g, {1: np.ones(3)}), {}, r"must be strings, got \[1\]"),
    ],
)
def test_more_bad_input_is_refused(arguments, options, words):
    with pytest.raises(gradcheck.InputError, match=words):
        gradcheck.check(*arguments, **options)


def test_a_gradient_of_no_numbers_and_a_return_forgotten_among_two():
    nothing = np.array([1, None, 2])
    assert "holds what is no number" in str(
        gradcheck.check(np.square, lambda g, x: nothing, np.ones(3))
    )
    forgotten = gradcheck.check(np.multiply, lambda g, x, y: None, (np.ones(3), np.ones(3)))
    assert "is a return missing?" in str(forgotten)


def test_a_name_means_no_function_of_the_checkers_own(capsys, tmp_path):
    (tmp_path / "mine.py").write_text("def linear(x, W, b):\n    return x @ W.T + b\n")
    assert run("--module", f"{tmp_path}/mine.py:linear") == 0
    assert "in place of layers.linear" in capsys.readouterr().out


def test_a_module_may_hold_dataclasses_and_may_not_exit(capsys, tmp_path):
    source = "from __future__ import annotations\nimport dataclasses\nimport numpy as np\n"
    source += "@dataclasses.dataclass\nclass Config:\n    x: int = 0\n"
    source += inspect.getsource(layers.leaky_relu_vjp)
    source = source.replace("LEAK", "0.01")
    (tmp_path / "mine.py").write_text(source)
    assert run("--module", f"{tmp_path}/mine.py:leaky_relu_vjp") == 0
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    assert run("--module", f"{tmp_path}/exits.py:leaky_relu_vjp") == 2
    assert "stops with SystemExit: 3" in capsys.readouterr().err


def test_an_entry_a_hundredth_of_the_largest_is_held_to_its_own_digits():
    x, off = np.array([1.0, 0.005]), np.array([0.0, 5e-9])
    report = gradcheck.check(lambda x: x @ x, lambda x: 2 * x * (1 + off), x, "gradient")
    assert report.verdict == "fail" and report.worst.name == "x[1]"


def test_half_of_the_sampled_are_drawn_from_the_rest():
    at = compare.choose(np.arange(100.0), 10, np.random.default_rng(0))
    assert len(set(at)) == 10 and list(at[5:]) == [95, 96, 97, 98, 99] and at[4] < 95


def test_what_fails_in_float32_fails():
    x = np.random.default_rng(0).normal(size=4)

    def vjp(g, x):
        return g * np.cos(x) + 0.01 * (x.dtype == np.float32) * g

    report = gradcheck.check(np.sin, vjp, x)
    single = large.single_precision(gradcheck.Problem(np.sin, vjp, x), np.random.default_rng(0))
    assert report.ok and not dataclasses.replace(report, single=single).ok


def test_another_seed_is_another_draw():
    check = registry.checks()["layers.tanh"]
    assert check.rng(0).random() == check.rng(0).random() != check.rng(1).random()


def test_what_stands_behind_an_input_without_a_claim_is_still_checked():
    inputs = rng.normal(size=2), rng.normal(size=3)
    report = gradcheck.check(
        lambda x, y: (x**2).sum() + y**3, lambda g, x, y: (None, 3 * g * y**2), inputs
    )
    assert report.ok and report.checked == 3 and "Nothing is claimed for x" in str(report)


def test_a_direction_sees_an_entry_that_is_off_by_millionths():
    W, x = rng.normal(size=(192, 64)), np.ones(64)

    def vjp(g, W):
        gradient = np.outer(g, x)
        gradient[17, 33] *= 1 + 3e-6
        return gradient

    report = gradcheck.check(lambda W: W @ x, vjp, W, entries=16)
    assert report.verdict == "fail" and report.worst.name == "W[17, 33]"


def test_the_least_precise_input_sets_the_tolerance():
    x, y = rng.normal(size=3), rng.normal(size=3).astype("f4")
    for inputs in (x, y), (y, x):
        report = gradcheck.check(lambda a, b: a * b, lambda g, a, b: (g * b, g * a), inputs)
        assert report.ok and report.tolerance == 2e-3


@pytest.mark.parametrize("doubt, verdict", [(0.01, "inconclusive"), (5e-4, "fail")])
def test_a_claim_is_wrong_where_differences_know_a_hundred_times_better(doubt, verdict):
    assert compare.entry("x", 1.0, 1.1, doubt, 0.0, 1.1, 1e-9).verdict == verdict


def test_the_two_slopes_of_a_kink_are_on_their_sides():
    report = gradcheck.check(
        lambda x: layers.leaky_relu(x).sum(),
        lambda x: layers.leaky_relu_vjp(np.ones(3), x),
        np.array([-1.0, 0.0, 2.0]),
        "gradient",
    )
    assert "the slope is 0.01 to the left and 1 to the right" in str(report)


def test_little_claimed_where_there_is_nothing_is_no_pass():
    inputs = np.ones(2), np.ones(2)
    report = gradcheck.check(lambda a, b: a, lambda g, a, b: (g, 1e-10 * g), inputs, tolerance=1e-3)
    assert [p.verdict for p in report.parameters] == ["pass", "inconclusive"]


def test_the_size_of_g_for_g_is_caught_whatever_its_sign():
    for seed in range(6):
        report = gradcheck.check(
            lambda x: x @ x, lambda g, x: 2 * np.abs(g) * x, np.ones(3), seed=seed
        )
        assert "the vjp is not linear in g" in str(report)


def test_a_vjp_may_overwrite_what_it_returned_before():
    buffer = np.empty(3)
    report = gradcheck.check(
        np.sin, lambda g, x: np.multiply(g, np.cos(x), out=buffer), rng.normal(size=3)
    )
    assert report.ok, report


def test_a_complex_term_that_is_missing_is_named():
    z = rng.normal(size=4) + 1j * rng.normal(size=4)
    report = gradcheck.check(
        lambda z: (np.abs(z) ** 2 + ((0.5 + 1j) * z * z).real).sum(),
        lambda z: 2 * z,
        z,
        "gradient",
    )
    (parameter,) = report.parameters
    assert any("a term is missing" in h and h.endswith("× conj(z)") for h in parameter.hints)


def test_a_sampled_square_matrix_may_be_wrong():
    W, x = rng.normal(size=(20, 20)), rng.normal(size=20)
    report = gradcheck.check(lambda W: W @ x, lambda g, W: np.outer(x, g), W, entries=16)
    assert report.verdict == "fail"


def test_a_report_on_nothing_is_no_pass():
    report = gradcheck.check(np.sin, lambda g, x: (None,), np.ones(3))
    assert report.verdict == "inconclusive" and not report.ok


def test_an_error_that_is_no_number_is_the_worst():
    large, nan = (reports.Entry(str(e), 1.0, 2.0, 0.0, e, reports.FAIL) for e in (9.0, np.nan))
    for entries in [large, nan], [nan, large]:
        assert reports.worst_of(entries) is nan


def test_a_diary_dates_the_first_error_and_keeps_the_worst():
    diary = behaviour.Diary()
    for t, off in enumerate([0.0, 1e-3, 0.5]):
        diary.compare(t, "trace", np.ones(2), np.array([1.0, 1.0 + off]))
    report = diary.report()
    assert report.divergence.step == 1 and "at transition 1, in trace" in str(report)
    assert report.worst.name == "trace[1], transition 2"


def test_both_precisions_are_compared_at_the_same_numbers():
    problem = gradcheck.Problem(
        lambda x: (x - 1) ** 2, lambda g, x: 2 * g * (x - 1), 1 + 1e-7 * np.arange(1.0, 5.0)
    )
    entry = large.single_precision(problem, np.random.default_rng(0))
    assert entry.verdict == "pass" and entry.error < 1e-6


def test_of_an_agent_every_part_is_compared():
    report = behaviour.td_run(np.random.default_rng(0))
    parts = [f"value {part}" for part in ("trace", "state", "parameters")]
    assert report.ok and [p.name for p in report.parameters] == ["TD error", *parts]
