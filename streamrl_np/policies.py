"""Policies: what a network's outputs mean, and the derivative that the actor climbs.

An actor's policy samples an action and gives log-probability and entropy, each with its
gradient right below, with respect to the network's outputs. All but ``sample`` work on
the last axis, so the same line serves one step and a batch of them. ``EpsilonGreedy``, for
action values, only samples.
"""

# k actions (of which one is chosen, or which are all set); "..." is nothing or (batch,)

import numbers

import numpy as np

from . import layers
from .settings import SettingError, at_least

STD_MIN = 1e-3
LOG_2PI = float(np.log(2.0 * np.pi))


def require_action(action, count):
    """Raise SettingError unless ``action`` is one of ``count`` choices."""
    if not isinstance(action, numbers.Integral) or not 0 <= action < count:
        raise SettingError(f"action must be one of 0 to {count - 1}, got {action!r}")


class Policy:
    """What every policy shares."""

    def gradient(self, outputs, action, entropy_weight):
        """Differentiate log π(action) + entropy_weight · H(π), (..., outputs)."""
        g = self.log_prob_gradient(outputs, action)
        if entropy_weight:
            g = g + entropy_weight * self.entropy_gradient(outputs)  # (eq. P5)
        return g


class Categorical(Policy):
    """A choice among k actions, probabilities softmax(logits).

    Parameters
    ----------
    actions : int
        k, also the number of network outputs.

    Raises
    ------
    SettingError
        If ``actions`` is no whole number above 0.
    """

    def __init__(self, actions):
        at_least(1, actions=actions)
        self.outputs = actions
        self.choices = np.arange(actions)

    def require(self, action):
        """Raise SettingError unless ``action`` is one that there is."""
        require_action(action, self.outputs)

    def sample(self, logits, rng):
        """Draw an action (int) from ``logits`` (k,) with the generator ``rng``."""
        cumulative = layers.softmax(logits).cumsum()
        action = cumulative.searchsorted(rng.random() * cumulative[-1], side="right")
        return min(int(action), self.outputs - 1)  # rounding may leave the last sum at the draw

    def one_hot(self, action):
        """Mark the action among the k choices: (...) int → (..., k) bool."""
        return self.choices == np.asarray(action)[..., None]

    def log_prob(self, logits, action):
        """Compute log π(action), (...)."""
        return np.vecdot(self.one_hot(action), layers.log_softmax(logits))  # (eq. P1)

    def log_prob_gradient(self, logits, action):
        """Differentiate :meth:`log_prob`: one-hot(action) − π, (..., k)."""
        return self.one_hot(action) - layers.softmax(logits)  # (eq. P2)

    def entropy(self, logits):
        """Compute H(π) = −Σ π log π, in nats, (...)."""
        log_pi = layers.log_softmax(logits)
        return -np.vecdot(np.exp(log_pi), log_pi)  # (eq. P3)

    def entropy_gradient(self, logits):
        """Differentiate :meth:`entropy`: −π (log π + H), (..., k)."""
        log_pi = layers.log_softmax(logits)
        pi = np.exp(log_pi)
        return -pi * (log_pi - np.vecdot(pi, log_pi)[..., None])  # (eq. P4)


class Gaussian(Policy):
    """k independent normal actions whose mean and spread both depend on the state.

    The first k network outputs are the mean μ, the last k make the standard deviation
    σ = softplus(ρ). The action is not bounded: the log-probability is that of the number
    drawn, and the environment clips what it receives to its own box.

    Parameters
    ----------
    actions : int
        k, half the number of network outputs.

    Raises
    ------
    SettingError
        If ``actions`` is no whole number above 0.
    """

    def __init__(self, actions):
        at_least(1, actions=actions)
        self.outputs = 2 * actions
        self.actions = actions

    def moments(self, outputs):
        """Compute μ and σ, (..., k) each, from the outputs (..., 2k)."""
        mean, rho = outputs[..., : self.actions], outputs[..., self.actions :]
        # differs from Elsayed 2024: a floor under σ keeps log π and its gradient finite
        return mean, layers.softplus(rho) + STD_MIN  # (eq. P6)

    def moments_vjp(self, g_mean, g_std, outputs):
        """Pull ∂L/∂μ and ∂L/∂σ back to the outputs, (..., 2k)."""
        g_rho = layers.softplus_vjp(g_std, outputs[..., self.actions :])  # (eq. P7)
        return np.concatenate([g_mean, g_rho], axis=-1)

    def require(self, action):
        """Raise SettingError unless ``action`` is (k,) numbers."""
        if np.shape(action) != (self.actions,):
            raise SettingError(f"action must have shape ({self.actions},), got {np.shape(action)}")

    def sample(self, outputs, rng):
        """Draw an action (k,) from ``outputs`` (2k,) with the generator ``rng``."""
        mean, std = self.moments(outputs)
        return mean + std * rng.standard_normal(self.actions).astype(outputs.dtype)

    def log_prob(self, outputs, action):
        """Compute log π(action), the log-density, (...)."""
        mean, std = self.moments(outputs)
        u = (action - mean) / std
        return -(0.5 * u * u + np.log(std) + 0.5 * LOG_2PI).sum(-1)  # (eq. P8)

    def log_prob_gradient(self, outputs, action):
        """Differentiate :meth:`log_prob`: ∂/∂μ = u/σ and ∂/∂σ = (u² − 1)/σ, (..., 2k)."""
        mean, std = self.moments(outputs)
        u = (action - mean) / std
        return self.moments_vjp(u / std, (u * u - 1.0) / std, outputs)  # (eq. P9)

    def entropy(self, outputs):
        """Compute H(π) = Σ log σ + ½ log 2πe, in nats, (...)."""
        _, std = self.moments(outputs)
        return (np.log(std) + 0.5 * (1.0 + LOG_2PI)).sum(-1)  # (eq. P10)

    def entropy_gradient(self, outputs):
        """Differentiate :meth:`entropy`: ∂/∂σ = 1/σ, (..., 2k)."""
        mean, std = self.moments(outputs)
        return self.moments_vjp(np.zeros_like(mean), 1.0 / std, outputs)  # (eq. P11)


class EpsilonGreedy:
    """The action of the greatest value, but now and then any: ever more rarely.

    Parameters
    ----------
    start, end : float
        Share of random actions, ε, at first and at last.
    steps : int
        Steps from first to last; ε falls in a straight line.

    Raises
    ------
    SettingError
        If a share is not in [0, 1], or ``steps`` no whole number above 0.
    """

    def __init__(self, start, end, steps):
        for name, share in ("start", start), ("end", end):
            if not isinstance(share, numbers.Real) or not 0 <= share <= 1:
                raise SettingError(f"{name} must be a share in [0, 1], got {share!r}")
        at_least(1, steps=steps)
        self.start, self.end, self.steps = start, end, steps

    def epsilon(self, t):
        """Compute ε after ``t`` steps."""
        return self.start + (self.end - self.start) * min(t / self.steps, 1.0)  # (eq. P12)

    def sample(self, values, t, rng):
        """Choose an action (int) after ``t`` steps, given the values (k,) of all."""
        if rng.random() < self.epsilon(t):
            return int(rng.integers(len(values)))
        return int(values.argmax())
