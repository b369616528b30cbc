import numpy as np
import pytest

from streamrl_np.envs import normalize
from streamrl_np.envs.normalize import ObservationNormalizer, RewardScaler, RunningMoments

rng = np.random.default_rng(0)


def test_running_moments_are_the_moments():
    moments, data = RunningMoments((3,)), rng.normal(1e4, 2.0, size=(500, 3))
    for x in data:
        moments.update(x)
    assert np.allclose(moments.mean, data.mean(0), rtol=1e-12)
    assert np.allclose(moments.variance, data.var(0, ddof=1), rtol=1e-9)


def test_variance_is_one_before_there_are_two():
    moments = RunningMoments()
    assert moments.variance == 1
    moments.update(5.0)
    assert moments.variance == 1


def test_observations_come_out_with_mean_zero_and_variance_one():
    normalize = ObservationNormalizer(2)
    out = np.array([normalize(x) for x in rng.normal([5, -3], [10, 0.1], size=(5000, 2))])
    assert out.dtype == "f4"
    assert np.allclose(out[1000:].mean(0), 0, atol=0.1)
    assert np.allclose(out[1000:].std(0), 1, atol=0.1)


def test_a_constant_entry_becomes_zero():
    normalize = ObservationNormalizer(1)
    assert [normalize(np.array([7.0]))[0] for _ in range(5)] == [0] * 5


def test_rewards_are_divided_by_the_std_of_their_discounted_sum():
    scale, rewards, u, sums = RewardScaler(0.9), rng.normal(size=200), 0.0, []
    for t, r in enumerate(rewards):
        done = t % 20 == 19
        u = 0.9 * (not done) * u + r
        sums.append(u)
        scaled = scale(r, done)
        if t:
            assert np.isclose(scaled, r / np.sqrt(np.var(sums, ddof=1) + 1e-8), rtol=1e-12)


def test_switched_off():
    assert RewardScaler(0.9, enabled=False)(3.0, False) == 3.0
    assert ObservationNormalizer(1, enabled=False)(np.array([3.0])) == 3.0


def test_epsilon_stands_under_the_root():
    observe = ObservationNormalizer(1, np.float64)
    for x in 0.0, 1e-4, 2e-4:
        normed = observe(np.array([x]))
    variance = np.var([0.0, 1e-4, 2e-4], ddof=1)
    assert normed[0] == pytest.approx(1e-4 / np.sqrt(variance + normalize.EPS))


def test_switched_off_the_precision_is_the_agents_all_the_same():
    for dtype in "f4", "f8":
        observe = ObservationNormalizer(1, enabled=False, dtype=np.dtype(dtype))
        assert observe(np.array([3.0])).dtype == observe(np.array([3.0], "f4")).dtype == dtype
