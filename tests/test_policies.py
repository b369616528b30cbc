"""Both policies: gradients against differences, one step and a batch, samples against moments."""

import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np.policies import Categorical, Gaussian
from streamrl_np.settings import SettingError

rng = np.random.default_rng(0)
categorical, gaussian = Categorical(5), Gaussian(3)
logits, outputs = rng.normal(size=5), rng.normal(size=6)
CASES = [(categorical, logits, action) for action in range(5)]
CASES += [(gaussian, outputs, action) for action in rng.normal(size=(3, 3))]


@pytest.mark.parametrize("policy, outputs, action", CASES)
def test_log_prob_gradient(policy, outputs, action):
    expected = derivative(lambda x: policy.log_prob(x, action), outputs)
    assert_close(policy.log_prob_gradient(outputs, action), expected)


@pytest.mark.parametrize("policy, outputs, action", CASES[4:6])
def test_entropy_gradient(policy, outputs, action):
    assert_close(policy.entropy_gradient(outputs), derivative(policy.entropy, outputs))


@pytest.mark.parametrize("delta", [-2.0, 0.0, 0.5])
@pytest.mark.parametrize("policy, outputs, action", CASES[4:6])
def test_the_actors_gradient(policy, outputs, action, delta):
    weight = 0.01 * np.sign(delta)

    def objective(x):
        return policy.log_prob(x, action) + weight * policy.entropy(x)

    assert_close(policy.gradient(outputs, action, weight), derivative(objective, outputs))


@pytest.mark.parametrize("policy, outputs", [(categorical, logits), (gaussian, outputs)])
def test_a_batch_is_its_steps(policy, outputs):
    batch = rng.normal(size=(2, 4, outputs.size))
    actions = np.array([[policy.sample(x, rng) for x in row] for row in batch])
    for name in ("log_prob", "log_prob_gradient", "entropy", "entropy_gradient"):
        one = getattr(policy, name)
        arguments = (batch, actions) if name.startswith("log_prob") else (batch,)
        each = [
            [one(*step) for step in zip(*rows, strict=True)]
            for rows in zip(*arguments, strict=True)
        ]
        assert_close(one(*arguments), each, 1e-14)


def test_entropy_of_equal_logits_is_its_greatest():
    assert categorical.entropy(np.zeros(5)) == pytest.approx(np.log(5))
    assert categorical.entropy(np.array([100.0, 0, 0, 0, 0])) == pytest.approx(0, abs=1e-12)


def test_samples_follow_the_probabilities():
    draw = np.random.default_rng(1)
    counts = np.bincount([categorical.sample(logits, draw) for _ in range(20_000)], minlength=5)
    pi = np.exp(logits) / np.exp(logits).sum()
    assert (np.abs(counts / 20_000 - pi) < 5 * np.sqrt(pi * (1 - pi) / 20_000)).all()


def test_samples_follow_the_moments():
    draw = np.random.default_rng(1)
    actions = np.array([gaussian.sample(outputs, draw) for _ in range(20_000)])
    mean, std = gaussian.moments(outputs)
    assert (np.abs(actions.mean(0) - mean) < 5 * std / np.sqrt(20_000)).all()
    assert (np.abs(actions.std(0) / std - 1) < 0.03).all()
    entropy = -np.mean([gaussian.log_prob(outputs, action) for action in actions])
    assert gaussian.entropy(outputs) == pytest.approx(entropy, abs=0.05)


@pytest.mark.parametrize("policy", [Categorical, Gaussian])
@pytest.mark.parametrize("actions", [0, -1, 2.0, True])
def test_actions_are_counted(policy, actions):
    with pytest.raises(SettingError, match="actions must be a whole number, at least 1, got"):
        policy(actions)


def test_a_draw_at_the_upper_end_is_still_an_action():
    class Last:
        def random(self):
            return 1.0

    assert Categorical(2).sample(np.zeros(2, "f4"), Last()) == 1


@pytest.mark.parametrize("rho", [-1e4, 0.0, 1e4])
def test_the_gaussian_stays_finite_and_float32(rho):
    x = np.full(6, rho, "f4")
    x[:3] = 0
    with np.errstate(all="raise", under="ignore"):
        action = gaussian.sample(x, rng)
        values = [action, gaussian.log_prob(x, action), gaussian.gradient(x, action, 0.1)]
    assert all(np.isfinite(v).all() and v.dtype == np.float32 for v in values)


def test_the_categorical_stays_float32():
    x = np.zeros(5, "f4")
    assert {categorical.log_prob(x, 2).dtype, categorical.gradient(x, 2, 0.1).dtype} == {
        np.dtype("f4")
    }


def test_the_least_spread_is_a_thousandth():
    _, std = Gaussian(1).moments(np.array([0.0, -1e4]))
    assert std == 1e-3


@pytest.mark.parametrize("actions, action", [(1, 0.5), (2, [[0.5], [0.5]]), (3, [0.5, 0.5])])
def test_an_action_of_another_shape_is_refused(actions, action):
    with pytest.raises(SettingError, match=rf"must have shape \({actions},\), got \("):
        Gaussian(actions).require(np.array(action))
