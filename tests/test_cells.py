"""Every cell: its vjp against differences, over sequences with resets, on the second episode."""

import numpy as np
import pytest
from bptt import rtu_bptt, rtu_loss
from differences import assert_close, derivative

from streamrl_np import cells
from streamrl_np.arrays import Views, size
from streamrl_np.cells import CELLS, mingru, rtu
from streamrl_np.settings import SettingError

N, D, T = 4, 3, 9
RESETS = [t in (0, 4, 6) for t in range(T)]


def make(name, mode="rtrl", dtype=np.float64, n=N, d=D, seed=0):
    rng = np.random.default_rng(seed)
    cell = CELLS[name]
    p = Views(cell.layout(n, d), dtype)
    for key, value in cell.init(rng, n, d, cells.Config(name=name, units=n, mode=mode)).items():
        setattr(p, key, value)
    return cell, p, Views(cell.state_layout(n, d, mode), dtype), rng


def run(cell, p, state, xs, resets, gys, mode):
    """Sum the gradients of Σ gy·y over a sequence; also return the last ∂L/∂x."""
    grad, total = p.like(), p.like()
    for x, reset, gy in zip(xs, resets, gys, strict=True):
        if reset:
            state.flat[:] = 0
        cache = cell.advance(p, state, x, mode)
        gx = cell.vjp(p, state, cache, gy, grad)
        total.flat[:] += grad.flat
    return total, gx


@pytest.mark.parametrize("name", CELLS)
def test_rtrl_against_differences_over_three_episodes(name):
    cell, p, state, rng = make(name)
    xs, gys = rng.normal(size=(T, D)), rng.normal(size=(T, cell.feature_count(N)))
    total, _ = run(cell, p, state, xs, RESETS, gys, "rtrl")

    def loss(flat):
        q = Views(p.layout, flat=flat)
        s = Views(state.layout, flat.dtype)
        value = 0
        for x, reset, gy in zip(xs, RESETS, gys, strict=True):
            if reset:
                s.flat[:] = 0
            value += gy @ cell.advance(q, s, x.astype(flat.dtype), "frozen").y
        return value

    assert_close(total.flat, derivative(loss, p.flat))


@pytest.mark.parametrize("name", CELLS)
def test_gradient_of_the_input_is_that_of_one_step(name):
    cell, p, state, rng = make(name)
    cell.advance(p, state, rng.normal(size=D), "rtrl")
    x, gy = rng.normal(size=D), rng.normal(size=cell.feature_count(N))
    wide = p.copy(np.longdouble), state.copy(np.longdouble)
    expected = derivative(lambda x: gy @ cell.peek(*wide, x), x)
    cache = cell.advance(p, state, x, "rtrl")
    assert_close(cell.vjp(p, state, cache, gy, p.like()), expected)


@pytest.mark.parametrize("name", CELLS)
def test_tbptt1_is_the_gradient_with_the_last_state_held_still(name):
    cell, p, state, rng = make(name, "tbptt1")
    for _ in range(3):
        cell.advance(p, state, rng.normal(size=D), "tbptt1")
    x, gy = rng.normal(size=D), rng.normal(size=cell.feature_count(N))
    wide = state.copy(np.longdouble)
    expected = derivative(lambda f: gy @ cell.peek(Views(p.layout, flat=f), wide, x), p.flat)
    cache, grad = cell.advance(p, state, x, "tbptt1"), p.like()
    cell.vjp(p, state, cache, gy, grad)
    assert_close(grad.flat, expected)


@pytest.mark.parametrize("name", CELLS)
def test_peek_gives_the_numbers_of_advance_and_changes_nothing(name):
    cell, p, state, rng = make(name)
    cell.advance(p, state, rng.normal(size=D), "rtrl")
    x, before = rng.normal(size=D), state.flat.copy()
    y = cell.peek(p, state, x)
    assert (state.flat == before).all()
    assert (cell.advance(p, state, x, "rtrl").y == y).all()


def test_rtu_rtrl_is_bptt_at_full_size_with_resets_in_the_middle():
    n, d, steps = 192, 64, 60
    cell, p, state, rng = make("rtu", n=n, d=d)
    xs, gys = rng.normal(size=(steps, d)), rng.normal(size=(steps, 2 * n))
    resets = [t in (0, 17, 40) for t in range(steps)]
    total, _ = run(cell, p, state, xs, resets, gys, "rtrl")
    expected = rtu_bptt(p, xs, resets, gys)
    for name, value in expected.items():
        assert_close(total[name] / np.abs(value).max(), value / np.abs(value).max(), 1e-12)


def test_the_bptt_reference_agrees_with_differences():
    _, p, _, rng = make("rtu")
    xs, gys = rng.normal(size=(T, D)), rng.normal(size=(T, 2 * N))

    def loss(flat):
        return rtu_loss(Views(p.layout, flat=flat), xs, RESETS, gys)

    assert_close(rtu_bptt(p, xs, RESETS, gys).flat, derivative(loss, p.flat))


@pytest.mark.parametrize("name", CELLS)
def test_frozen_gives_no_gradient_but_the_same_features(name):
    cell, p, state, rng = make(name, "frozen")
    _, _, other, _ = make(name)
    for x in rng.normal(size=(5, D)):
        frozen = cell.advance(p, state, x, "frozen")
        assert (frozen.y == cell.advance(p, other, x, "rtrl").y).all()
    grad = p.copy()
    cell.vjp(p, state, frozen, np.ones(cell.feature_count(N)), grad)
    assert not grad.flat.any()


def test_the_published_theta_slip_is_caught():
    """A public RTU code drops θ in ∂λ/∂theta_log; METHOD gives the values at one point."""
    nu, theta = np.array([0.3]), np.array([2.1])
    lam = np.exp(-nu + 1j * theta)
    gates = rtu.Gates(nu, theta, lam, np.sqrt(1 - np.abs(lam) ** 2))
    _, J_theta = rtu.immediate_jacobian(gates, np.array([1.0 + 0j]), np.zeros(1))
    assert abs(J_theta[0].real - -1.3429) < 1e-4
    assert abs(J_theta[0].real / theta[0] - -0.6395) < 1e-4


def test_the_ring():
    config = cells.Config(units=10_000, r_min=0.9, r_max=0.99)
    p = rtu.init(np.random.default_rng(0), 10_000, 1, config)
    r = np.exp(-np.exp(p["nu_log"]))
    theta = np.exp(p["theta_log"])
    assert 0.9 <= r.min() < 0.901 and 0.989 < r.max() <= 0.99
    assert abs((r**2).mean() - (0.81 + 0.9801) / 2) < 1e-3, "uniform by area"
    assert theta.min() > 0 and theta.max() <= 6.28
    assert abs(rtu.ring(16) ** 16 - np.exp(-3)) < 1e-12
    for memory in 0, -5, np.nan:
        with pytest.raises(SettingError, match="memory must be a number of steps above 0"):
            rtu.ring(memory)


@pytest.mark.parametrize("name", [name for name in CELLS if name != "feedforward"])
def test_the_ring_means_the_same_for_every_cell(name):
    """Retention is what the ring says, and what a step with nothing to take in leaves of h."""
    config = cells.Config(name=name, units=500, r_min=0.9, r_max=0.99)
    cell = CELLS[name]
    p = Views(cell.layout(500, 1))
    for key, value in cell.init(np.random.default_rng(0), 500, 1, config).items():
        setattr(p, key, value)
    r = cell.retention(p)
    assert 0.9 <= r.min() < 0.901 and 0.989 < r.max() <= 0.99


@pytest.mark.parametrize("name", ["mingru", "gru"])
def test_retention_is_the_slope_of_a_gated_step_at_rest(name):
    cell, p, state, _ = make(name, "frozen", np.longdouble)
    expected = np.diag(
        [derivative(lambda h, i=i: peek_from(cell, p, state, h)[i], np.zeros(N)) for i in range(N)]
    )
    if name == "gru":  # r U_c h/2 enters through the candidate too
        z, Uc = cell.retention(p), np.diag(p.U[2])
        expected = expected - (1 - z) * Uc / 2
    assert_close(cell.retention(p), expected)


def peek_from(cell, p, state, h):
    state.h = h
    return cell.peek(p, state, np.zeros(D, p.flat.dtype))


def test_the_candidate_of_mingru_is_continuous_and_its_slope_at_zero_is_one():
    a = np.array([-1e-9, 0.0, 1e-9])
    c = mingru.candidate(a)
    assert np.ptp(c) < 2e-9 and c[1] == 0.5
    assert_close(mingru.candidate_vjp(np.ones(3), c), [0.25, 1.0, 1.0], 1e-8)


def test_dense_rtrl_is_allocated_only_where_it_is_asked_for():
    n, d = 192, 64
    assert size(CELLS["gru"].state_layout(n, d, "tbptt1")) == n
    parameters = size(CELLS["gru"].layout(n, d))
    assert size(CELLS["gru"].state_layout(n, d, "rtrl")) == n + n * parameters


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("ring", [(0.0, 0.001), (0.999999, 1.0), (0.0, 1.0)])
def test_the_first_parameters_are_finite_at_the_ends_of_the_ring(name, ring):
    config = cells.Config(name=name, units=500, r_min=ring[0], r_max=ring[1])
    parameters = CELLS[name].init(np.random.default_rng(0), 500, 3, config)
    assert all(np.isfinite(np.asarray(array, "c8")).all() for array in parameters.values())


@pytest.mark.parametrize(
    "setting, words",
    [
        (dict(units=-3), "units must be a whole number, at least 1, got -3"),
        (dict(units=2.5), "units must be a whole number"),
        (dict(r_min=0.9, r_max=0.5), "r_min must be at most r_max = 0.5, got 0.9"),
        (dict(mode="exact"), "mode must be one of rtrl, tbptt1, frozen, got 'exact'"),
        (dict(r_max=1.5), r"r_max must be a number in \[0.001, 1\], got 1.5"),
        (dict(r_max=1e-300, r_min=0.0), "r_max must be a number in"),
        (dict(r_min=1), r"r_min must be a number in \[0, 0.999999\], got 1"),
    ],
)
def test_settings_out_of_range(setting, words):
    with pytest.raises(SettingError, match=words):
        cells.Config(**setting)


@pytest.mark.parametrize("name", cells.CELLS)
def test_first_weights_are_of_the_size_that_keeps_variances(name):
    n, d = 300, 50
    p = cells.CELLS[name].init(np.random.default_rng(0), n, d, cells.Config(name=name, units=n))
    for key in {"B", "W", "W_u", "W_c"} & p.keys():
        for part in (p[key].real, p[key].imag) if np.iscomplexobj(p[key]) else (p[key],):
            assert abs(part.std() * np.sqrt(d) - 1) < 0.03 and abs(part.mean()) < 0.01
    if name == "gru":
        assert np.allclose(p["U"] @ p["U"].swapaxes(1, 2), np.eye(n), atol=1e-10)


def test_phases_go_as_far_as_they_are_told():
    p = rtu.init(np.random.default_rng(0), 1000, 1, cells.Config(units=1000, max_phase=0.3))
    theta = np.exp(p["theta_log"])
    assert theta.min() > 0 and theta.max() == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize("name", [name for name in CELLS if name != "feedforward"])
def test_the_whole_ring_is_uniform_by_area(name):
    """By radius it would have a mean square of a third."""
    config, cell = cells.Config(name=name, units=4000, r_min=0.0, r_max=1.0), CELLS[name]
    if name == "gru":  # its U is dense
        config = cells.Config(name=name, units=400, r_min=0.0, r_max=1.0)
    p = Views(cell.layout(config.units, 1))
    for key, value in cell.init(np.random.default_rng(0), config.units, 1, config).items():
        setattr(p, key, value)
    assert (cell.retention(p) ** 2).mean() == pytest.approx(0.5, abs=0.05)


def test_without_memory_nothing_is_retained():
    p = Views(CELLS["feedforward"].layout(5, 3))
    assert CELLS["feedforward"].retention(p).tolist() == [0.0] * 5
