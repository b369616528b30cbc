"""No memory: the RTU with its recurrence removed, y = tanh(W x).

It has as many features and (but for λ) as many parameters as the RTU, so a
curve drawn with it is the memoryless ceiling of a task.
"""

# n units (2n features), d inputs

from typing import NamedTuple

import numpy as np

from .. import layers


def layout(n, d):
    """Lay out the parameters."""
    return {"W": (2 * n, d)}


def state_layout(n, d, mode="rtrl"):
    """Lay out what a step carries: nothing."""
    return {}


def feature_count(n):
    """Count the features."""
    return 2 * n


def init(rng, n, d, config):
    """Draw W LeCun-normal."""
    return {"W": rng.normal(size=(2 * n, d)) / np.sqrt(d)}


class Cache(NamedTuple):
    """What :func:`vjp` needs of the step just taken."""

    mode: str
    x: np.ndarray  # (d,)
    y: np.ndarray  # (2n,)


def peek(p, state, x):
    """Compute the features y = tanh(W x), (2n,)."""
    return layers.tanh(p.W @ x)  # (eq. C1)


def advance(p, state, x, mode):
    """Compute the features; there is no state to advance, and "rtrl" and "tbptt1" are the same.

    Returns
    -------
    Cache
    """
    return Cache(mode, x, peek(p, state, x))


def vjp(p, state, cache, gy, grad):
    """Pull ``gy`` (2n,) back: write ∂L/∂W to ``grad`` and return ∂L/∂x (d,)."""
    g = layers.tanh_vjp(gy, cache.y)
    layers.outer(g, cache.x, grad.W)
    if cache.mode == "frozen":
        grad.W[:] = 0.0
    return g @ p.W


def unroll(p, h, x, starts):
    """Compute the features of T steps in m sequences, x (T, m, d); nothing is carried."""
    return Cache("rtrl", x, layers.tanh(x @ p.W.T))


def unroll_vjp(p, cache, gy, grad):
    """Pull ``gy`` (T, m, 2n) back: write ∂L/∂W, return ∂L/∂x and no ∂L/∂h."""
    g = layers.tanh_vjp(gy, cache.y)
    gx, _, _ = layers.linear_vjp(g, cache.x, p.W, grad.W)
    return gx, None


def sensitivity_vjp(S, G, grad):
    """Add nothing to ``grad``: there is no past."""


def retention(p):
    """Say how much of each unit's state survives one step: nothing."""
    return np.zeros(len(p.W) // 2)
