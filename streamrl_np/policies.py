"""Policies: what a network's outputs mean, and the derivative that the actor climbs.

Each policy samples an action and gives log-probability and entropy, each with its
gradient right below, with respect to the network's outputs.
"""

# k actions

import numpy as np

from . import layers


class Categorical:
    """A choice among k actions, probabilities softmax(logits).

    Parameters
    ----------
    actions : int
        k, also the number of network outputs.
    """

    def __init__(self, actions):
        self.outputs = actions

    def sample(self, logits, rng):
        """Draw an action (int) with the generator ``rng``."""
        cumulative = np.cumsum(layers.softmax(logits))
        action = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
        return min(int(action), self.outputs - 1)  # rounding may leave the last sum at the draw

    def log_prob(self, logits, action):
        """Compute log π(action)."""
        return layers.log_softmax(logits)[action]  # (eq. P1)

    def log_prob_gradient(self, logits, action):
        """Differentiate :meth:`log_prob`: one-hot(action) − π, shape (k,)."""
        g = -layers.softmax(logits)
        g[action] += 1.0
        return g  # (eq. P2)

    def entropy(self, logits):
        """Compute H(π) = −Σ π log π, in nats."""
        log_pi = layers.log_softmax(logits)
        return -(np.exp(log_pi) @ log_pi)  # (eq. P3)

    def entropy_gradient(self, logits):
        """Differentiate :meth:`entropy`: −π (log π + H), shape (k,)."""
        log_pi = layers.log_softmax(logits)
        pi = np.exp(log_pi)
        return -pi * (log_pi - pi @ log_pi)  # (eq. P4)

    def gradient(self, logits, action, entropy_weight):
        """Differentiate log π(action) + entropy_weight · H(π), shape (k,)."""
        return self.log_prob_gradient(logits, action) + entropy_weight * self.entropy_gradient(
            logits
        )  # (eq. P5)
