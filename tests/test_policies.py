import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np.policies import Categorical

rng = np.random.default_rng(0)
policy = Categorical(5)
logits = rng.normal(size=5)


def test_log_prob_gradient():
    for action in range(5):
        expected = derivative(lambda x, a=action: policy.log_prob(x, a), logits)
        assert_close(policy.log_prob_gradient(logits, action), expected)


def test_entropy_gradient():
    assert_close(policy.entropy_gradient(logits), derivative(policy.entropy, logits))


@pytest.mark.parametrize("delta", [-2.0, 0.0, 0.5])
def test_the_actors_gradient(delta):
    weight = 0.01 * np.sign(delta)

    def objective(x):
        return policy.log_prob(x, 3) + weight * policy.entropy(x)

    assert_close(policy.gradient(logits, 3, weight), derivative(objective, logits))


def test_entropy_of_equal_logits_is_its_greatest():
    assert policy.entropy(np.zeros(5)) == pytest.approx(np.log(5))
    assert policy.entropy(np.array([100.0, 0, 0, 0, 0])) == pytest.approx(0, abs=1e-12)


def test_samples_follow_the_probabilities():
    draw = np.random.default_rng(1)
    counts = np.bincount([policy.sample(logits, draw) for _ in range(20_000)], minlength=5)
    pi = np.exp(logits) / np.exp(logits).sum()
    assert (np.abs(counts / 20_000 - pi) < 5 * np.sqrt(pi * (1 - pi) / 20_000)).all()


def test_a_draw_at_the_upper_end_is_still_an_action():
    class Last:
        def random(self):
            return 1.0

    assert Categorical(2).sample(np.zeros(2, "f4"), Last()) == 1
