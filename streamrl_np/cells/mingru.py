"""minGRU: a gate that looks at the input alone, with exact real-time recurrent learning.

    u = σ(W_u x + b_u),     c = g(W_c x + b_c),     h ← (1 − u) h + u c,     y = h

with g(a) = a + ½ for a ≥ 0 and σ(a) below (Feng 2024). No unit sees another one's state, so
the recurrence is diagonal, as in the RTU, but real and steered by the input: one real
sensitivity a parameter is exact.
"""

# n units, d inputs

from typing import NamedTuple

import numpy as np

from .. import layers


def layout(n, d):
    """Lay out the parameters: weights and biases of the gate u and of the candidate c."""
    return {"W_u": (n, d), "b_u": (n,), "W_c": (n, d), "b_c": (n,)}


def state_layout(n, d, mode="rtrl"):
    """Lay out what a step carries: the hidden state and its sensitivities.

    ``J_W`` is scratch for the immediate Jacobian of one weight matrix.
    """
    return {
        "h": (n,),
        "S_W_u": (n, d),
        "S_b_u": (n,),
        "S_W_c": (n, d),
        "S_b_c": (n,),
        "J_W": (n, d),
    }


def feature_count(n):
    """Count the features: the hidden state itself."""
    return n


def init(rng, n, d, config):
    """Draw the parameters: weights LeCun-normal, retention 1 − u at x = 0 from the ring.

    As for the RTU, the retention is uniform by area in [r_min, r_max].
    """
    # differs from Feng 2024: b_u is drawn from the ring, so that it means the same for every cell
    r = np.sqrt(rng.uniform(config.r_min**2, config.r_max**2, n))  # (eq. R16)
    return {
        "W_u": rng.normal(size=(n, d)) / np.sqrt(d),
        "b_u": np.log((1.0 - r) / r),  # 1 − σ(b_u) = r   (eq. C2)
        "W_c": rng.normal(size=(n, d)) / np.sqrt(d),
        "b_c": np.zeros(n),
    }


def candidate(a):
    """Compute g(a) = a + ½ for a ≥ 0, σ(a) below; positive and continuous."""
    return np.where(a >= 0, a + 0.5, layers.sigmoid(a))  # (eq. C3)


def candidate_vjp(g, c):
    """Pull ``g`` back through :func:`candidate`, given its output c; the slope at 0 is 1."""
    return np.where(c >= 0.5, g, layers.sigmoid_vjp(g, c))  # (eq. C4)


class Cache(NamedTuple):
    """What :func:`vjp` needs of the step just taken."""

    x: np.ndarray  # (d,)
    J_u: np.ndarray  # (n,) ∂h/∂(W_u x + b_u)
    J_c: np.ndarray  # (n,) ∂h/∂(W_c x + b_c)
    y: np.ndarray  # (n,)


def gates(p, x):
    """Compute the gate u and the candidate c, (n,) each."""
    u = layers.sigmoid(layers.linear(x, p.W_u, p.b_u))  # (eq. C5)
    return u, candidate(layers.linear(x, p.W_c, p.b_c))


def hidden(h, u, c):
    """Compute the next hidden state from the last one."""
    return (1.0 - u) * h + u * c  # (eq. C6)


def immediate_jacobian(h_prev, u, c):
    """Differentiate one step with h_{t−1} held still, by both pre-activations, (n,) each."""
    return layers.sigmoid_vjp(c - h_prev, u), candidate_vjp(u, c)  # (eq. C7)


def advance(p, state, x, mode):
    """Advance ``state`` in place by one step: hidden state and sensitivities.

    Parameters
    ----------
    p, state : Views
        In :func:`layout` and :func:`state_layout`.
    x : (d,) ndarray
    mode : {"rtrl", "tbptt1", "frozen"}

    Returns
    -------
    Cache
    """
    u, c = gates(p, x)
    h_prev = state.h.copy()
    state.h[:] = hidden(h_prev, u, c)
    J_u, J_c = immediate_jacobian(h_prev, u, c)
    if mode != "frozen":
        carry = 1.0 - u if mode == "rtrl" else np.zeros_like(u)
        for S_W, S_b, J in (state.S_W_u, state.S_b_u, J_u), (state.S_W_c, state.S_b_c, J_c):
            layers.outer(J, x, state.J_W)
            np.multiply(S_W, carry[:, None], out=S_W)
            np.add(S_W, state.J_W, out=S_W)  # S_W ← (1 − u) S_W + J xᵀ   (eq. C8)
            S_b[:] = carry * S_b + J  # (eq. C8)
    return Cache(x, J_u, J_c, state.h.copy())


def peek(p, state, x):
    """Compute the features that :func:`advance` would give, changing nothing."""
    return hidden(state.h, *gates(p, x))


def vjp(p, state, cache, gy, grad):
    """Pull ``gy`` (n,) back: write ∂L/∂p to ``grad``, return ∂L/∂x (d,) of this step alone."""
    for name in p.layout:
        S = state[f"S_{name}"]
        np.multiply(S, gy[:, None] if S.ndim == 2 else gy, out=grad[name])  # (eq. C9)
    return (gy * cache.J_u) @ p.W_u + (gy * cache.J_c) @ p.W_c  # (eq. C10)


def retention(p):
    """Say how much of each unit's state survives a step with x = 0: 1 − u, (n,)."""
    return layers.sigmoid(-p.b_u)  # (eq. C2)
