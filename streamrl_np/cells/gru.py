"""Gated recurrent unit (GRU): a dense recurrence, and what its exact gradient costs.

    r = σ(W_r x + b_r + U_r h),  z = σ(W_z x + b_z + U_z h),  c = tanh(W_c x + b_c + r U_c h)
    h ← z h + (1 − z) c,     y = h

Every unit sees every other one, so each of the 3n(d + n + 1) parameters moves all n units:
exact RTRL carries n times as many sensitivities as there are parameters, and multiplies them
by an n × n Jacobian every step, O(n³(n + d)). It is here to be measured and to be checked
against; what one trains in a stream is TBPTT(1), which needs none of it.
"""

# n units, d inputs; the leading 3 stands for the gates r, z and the candidate c

from typing import NamedTuple

import numpy as np

from .. import layers


def layout(n, d):
    """Lay out the parameters: input weights, biases, recurrent weights."""
    return {"W": (3, n, d), "b": (3, n), "U": (3, n, n)}


def state_layout(n, d, mode="rtrl"):
    """Lay out what a step carries: the hidden state and, in mode "rtrl", its sensitivities."""
    if mode != "rtrl":
        return {"h": (n,)}
    return {"h": (n,), "S_W": (n, 3, n, d), "S_b": (n, 3, n), "S_U": (n, 3, n, n)}


def feature_count(n):
    """Count the features: the hidden state itself."""
    return n


def init(rng, n, d, config):
    """Draw W LeCun-normal, U orthogonal, and the retention z at x = h = 0 from the ring.

    As for the RTU, the retention is uniform by area in [r_min, r_max].
    """
    # differs from Farr 2026: b_z is drawn from the ring, so that it means the same for every cell
    r = np.sqrt(rng.uniform(config.r_min**2, config.r_max**2, n))  # (eq. R16)
    b = np.zeros((3, n))
    b[1] = np.log(r / (1.0 - r))  # σ(b_z) = r   (eq. C16)
    U = np.linalg.qr(rng.normal(size=(3, n, n)))[0]
    return {"W": rng.normal(size=(3, n, d)) / np.sqrt(d), "b": b, "U": U}


class Gates(NamedTuple):
    """What one step is made of; four (n,) arrays."""

    r: np.ndarray
    z: np.ndarray
    c: np.ndarray
    Uh: np.ndarray  # U_c h


def gates(p, h, x):
    """Compute the gates and the candidate."""
    a, Uh = p.W @ x + p.b, p.U @ h  # (3, n) each
    r, z = layers.sigmoid(a[:2] + Uh[:2])  # (eq. C17)
    return Gates(r, z, layers.tanh(a[2] + r * Uh[2]), Uh[2])  # (eq. C18)


def hidden(gates, h):
    """Compute the next hidden state from the last one."""
    return gates.z * h + (1.0 - gates.z) * gates.c  # (eq. C19)


def immediate_jacobian(gates, h_prev):
    """Differentiate one step, by its pre-activations.

    Returns
    -------
    J, K : (3, n) ndarray
        ∂h/∂(W x + b) and ∂h/∂(U h_{t−1}); they differ by the r in front of U_c h.
    """
    r, z, c, Uh = gates
    J_c = layers.tanh_vjp(1.0 - z, c)
    J = np.stack([layers.sigmoid_vjp(J_c * Uh, r), layers.sigmoid_vjp(h_prev - c, z), J_c])
    return J, np.stack([J[0], J[1], J_c * r])  # (eq. C20)


def state_jacobian(p, gates, K):
    """Compute ∂h_t/∂h_{t−1} = diag(z) + Σ diag(K) U, (n, n)."""
    return np.diag(gates.z) + (K[:, :, None] * p.U).sum(0)  # (eq. C21)


class Cache(NamedTuple):
    """What :func:`vjp` needs of the step just taken."""

    mode: str
    x: np.ndarray  # (d,)
    h_prev: np.ndarray  # (n,)
    J: np.ndarray  # (3, n)
    K: np.ndarray  # (3, n)
    y: np.ndarray  # (n,)


def advance(p, state, x, mode):
    """Advance ``state`` in place by one step: hidden state and, in mode "rtrl", sensitivities.

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
    h_prev = state.h.copy()
    g = gates(p, h_prev, x)
    state.h[:] = hidden(g, h_prev)
    J, K = immediate_jacobian(g, h_prev)
    if mode == "rtrl":
        advance_sensitivities(state, state_jacobian(p, g, K), J, K, x, h_prev)
    return Cache(mode, x, h_prev, J, K, state.h.copy())


def advance_sensitivities(state, jacobian, J, K, x, h_prev):
    """Advance the sensitivities in place: S ← (∂h_t/∂h_{t−1}) S + immediate Jacobian."""
    n = len(h_prev)
    for S in state.S_W, state.S_b, state.S_U:
        S[:] = (jacobian @ S.reshape(n, -1)).reshape(S.shape)  # (eq. C22)
    own = np.arange(n)  # a weight of unit k enters the step through unit k alone
    state.S_W[own, :, own] += J.T[:, :, None] * x  # (eq. C23)
    state.S_b[own, :, own] += J.T
    state.S_U[own, :, own] += K.T[:, :, None] * h_prev


def peek(p, state, x):
    """Compute the features that :func:`advance` would give, changing nothing."""
    return hidden(gates(p, state.h, x), state.h)


def vjp(p, state, cache, gy, grad):
    """Pull ``gy`` (n,) back: write ∂L/∂p to ``grad``, return ∂L/∂x (d,) of this step alone."""
    g, g_U = gy * cache.J, gy * cache.K  # ∂L/∂ of the pre-activations, (3, n)
    if cache.mode == "rtrl":
        for name in p.layout:
            grad[name][:] = np.tensordot(gy, state[f"S_{name}"], 1)  # (eq. C24)
    elif cache.mode == "tbptt1":
        layers.outer(g.ravel(), cache.x, grad.W.reshape(g.size, -1))  # (eq. C25)
        grad.b[:] = g
        layers.outer(g_U.ravel(), cache.h_prev, grad.U.reshape(g.size, -1))
    else:
        grad.flat[:] = 0.0
    return np.einsum("gn,gnd->d", g, p.W)  # (eq. C26)


def retention(p):
    """Say how much of each unit's state survives a step with x = h = 0: z, (n,)."""
    return layers.sigmoid(p.b[1])  # (eq. C16)
