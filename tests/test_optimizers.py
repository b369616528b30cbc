import numpy as np
import pytest

from streamrl_np.arrays import NonFiniteError
from streamrl_np.optimizers import AdaptiveObGD, ObGD, Workspace, accumulate

rng = np.random.default_rng(0)


def test_the_trace_is_a_decaying_sum():
    z, gradients = np.zeros(3), rng.normal(size=(4, 3))
    for g in gradients:
        accumulate(z, g, 0.5)
    expected = sum(0.5 ** (3 - t) * g for t, g in enumerate(gradients))
    assert np.allclose(z, expected, rtol=1e-14)


@pytest.mark.parametrize("delta", [0.3, -4.0])
def test_obgd_follows_its_formula(delta):
    w, z = rng.normal(size=5), rng.normal(size=5)
    norm = np.abs(z).sum()
    alpha = 1.0 / max(1.0, 1.0 * 2.0 * max(abs(delta), 1.0) * norm)
    expected = w + alpha * delta * z
    optimizer = ObGD(5, 1.0, 2.0, np.float64)
    assert optimizer.step(w, z, delta) == pytest.approx((alpha, norm), rel=1e-14)
    assert np.allclose(w, expected, rtol=1e-14)


def test_obgd_takes_the_whole_step_where_the_bound_does_not_bite():
    w, z = np.zeros(2), np.array([0.01, -0.02])
    alpha, _ = ObGD(2, 0.5, 2.0, np.float64).step(w, z, 2.0)
    assert alpha == 0.5 and np.allclose(w, 0.5 * 2.0 * z)


def test_obgd_does_not_overshoot_a_linear_prediction():
    """With features in [−1, 1] and κ ≥ 1 no step carries a prediction w·x past its target."""
    for _ in range(100):
        x, w = rng.uniform(-1, 1, size=8), rng.normal(size=8)
        delta = 5.0 - w @ x
        ObGD(8, 1.0, 1.0, np.float64).step(w, x, delta)
        assert abs(5.0 - w @ x) <= abs(delta)


def test_adaptive_obgd_follows_its_formula():
    w, v = rng.normal(size=4), np.zeros(4)
    expected = w.copy()
    optimizer = AdaptiveObGD(4, 1.0, 2.0, np.float64)
    for t in range(1, 4):
        z, delta = rng.normal(size=4), rng.normal()
        v = 0.999 * v + 0.001 * (delta * z) ** 2
        scaled = z / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        alpha = 1.0 / max(1.0, 2.0 * max(abs(delta), 1.0) * np.abs(scaled).sum())
        expected += alpha * delta * scaled
        optimizer.step(w, z, delta)
    assert np.allclose(w, expected, rtol=1e-12)
    assert optimizer.arrays()["t"] == 3


@pytest.mark.parametrize("kind", [ObGD, AdaptiveObGD])
def test_a_shared_workspace_changes_nothing(kind):
    """Two optimizers of different lengths that take turns step as they would each alone."""
    shared = Workspace(7, np.float64)
    for_two = [kind(size, 1.0, 2.0, np.float64, shared) for size in (7, 4)]
    alone = [kind(size, 1.0, 2.0, np.float64) for size in (7, 4)]
    ws = [rng.normal(size=size) for size in (7, 4)]
    expected = [w.copy() for w in ws]
    for _ in range(3):
        for i in range(2):
            z, delta = rng.normal(size=ws[i].size), rng.normal()
            assert for_two[i].step(ws[i], z, delta) == alone[i].step(expected[i], z, delta)
    assert all(np.array_equal(*pair) for pair in zip(ws, expected, strict=True))


@pytest.mark.parametrize("kind", [ObGD, AdaptiveObGD])
def test_a_broken_trace_stops_before_it_reaches_the_parameters(kind):
    w, z = np.zeros(3), np.array([1.0, np.inf, 0.0])
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteError, match=r"trace: entry 1 is (inf|nan)"),
    ):
        kind(3, 1.0, 2.0, np.float64).step(w, z, 1.0)
    assert not w.any()


def test_a_norm_that_overflows_is_named():
    w, z = np.zeros(4, "f4"), np.full(4, 3e38, "f4")
    with (
        np.errstate(all="ignore"),
        pytest.raises(NonFiniteError, match="the norm of the eligibility trace is inf"),
    ):
        ObGD(4, 1.0, 2.0).step(w, z, 1.0)
