"""A rollout: the last T transitions, in order, and what they say about each action."""

import numpy as np


def advantages(rewards, values, next_values, ends, gamma, lam):
    """Estimate how much better each action was than the policy's average (GAE).

    Parameters
    ----------
    rewards : (T,) ndarray
    values, next_values : (T,) ndarray
        v(s) and v(s′), the latter 0 where the episode terminated.
    ends : (T,) bool ndarray
        Where an episode ended, by termination or truncation: no later error counts.
    gamma, lam : float
        Discount, and decay of later errors.

    Returns
    -------
    (T,) ndarray
    """
    delta = rewards + gamma * next_values - values  # (eq. B4)
    decay = gamma * lam * ~ends
    A, result = 0.0, np.empty_like(delta)
    for t in reversed(range(len(delta))):
        A = result[t] = delta[t] + decay[t] * A  # (eq. B5)
    return result


class Rollout:
    """T transitions in arrays that are overwritten by the next T.

    Parameters
    ----------
    steps : int
        T.
    inputs : int
        Length of an observation.
    action : int or ndarray
        An example of one.
    dtype : dtype
    """

    def __init__(self, steps, inputs, action, dtype):
        action = np.asarray(action)
        self.count = np.zeros(1, np.int64)  # transitions held
        self.observations = np.zeros((steps, inputs), dtype)
        self.actions = np.zeros((steps, *action.shape), action.dtype)
        self.starts = np.zeros(steps, bool)  # this is the first step of an episode
        self.ends = np.zeros(steps, bool)  # this is the last one
        self.rewards, self.values, self.next_values, self.log_probs = (
            np.zeros(steps, dtype) for _ in range(4)
        )

    @property
    def full(self):
        """Whether there is room for no more."""
        return self.count[0] == len(self.rewards)

    def segments(self, length):
        """Cut every array into segments: name → (T // length, length, …), without a copy."""
        return {
            name: array.reshape(-1, length, *array.shape[1:])
            for name, array in self.arrays().items()
            if name != "count"
        }

    def arrays(self):
        """Name what a checkpoint must hold."""
        return vars(self)
