"""Recurrent trace unit with the activation inside the recurrence, exact RTRL.

    a = λ h + γ B x,     h ← tanh(Re a) + i tanh(Im a),     y = [Re h; Im h]

Gates, initialisation and immediate Jacobian are the linear RTU's (Elelimy 2024, the second
variant). What is gone is complex linearity: tanh stretches the two parts by different
factors, so ∂h/∂Im B is no longer i ∂h/∂Re B and B needs two complex sensitivities.
"""

# n units, d inputs

from typing import NamedTuple

import numpy as np

from .. import layers
from ..arrays import Complex
from . import rtu

layout = rtu.layout
feature_count = rtu.feature_count
init = rtu.init
retention = rtu.retention  # |λ|, which tanh can only lessen


def state_layout(n, d, mode="rtrl"):
    """Lay out what a step carries: hidden state and sensitivities, Re B and Im B apart.

    ``J_B`` is scratch: :func:`advance` and :func:`vjp` both write to it.
    """
    return {
        "h": Complex((n,)),
        "S_nu": Complex((n,)),
        "S_theta": Complex((n,)),
        "S_B_re": Complex((n, d)),
        "S_B_im": Complex((n, d)),
        "J_B": (n, d),
    }


def activate(a):
    """Compute tanh of the real and of the imaginary part, (n,) complex → (n,) complex."""
    return layers.tanh(a.real) + 1j * layers.tanh(a.imag)  # (eq. C11)


def stretch(s, h):
    """Step a change ``s`` of the pre-activation in place into the change of h: part by part.

    Parameters
    ----------
    s : (n,) or (n, d) complex ndarray
    h : (n,) complex ndarray
        What :func:`activate` gave.
    """
    h = h.reshape(h.shape + (1,) * (s.ndim - h.ndim))
    s.real *= 1.0 - h.real * h.real
    s.imag *= 1.0 - h.imag * h.imag  # (eq. C12)


class Cache(NamedTuple):
    """What :func:`vjp` needs of the step just taken."""

    gates: rtu.Gates
    y: np.ndarray  # (2n,)


def hidden(gates, h, Bx):
    """Compute the next hidden state from the last one."""
    return activate(rtu.hidden(gates, h, Bx))


def features(h):
    """Read the features out of a hidden state: (n,) complex → (2n,) real."""
    return np.concatenate([h.real, h.imag])


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
    g = rtu.gates(p)
    Bx = p.B @ x
    h_prev = state.h.copy()
    h = state.h
    h[:] = hidden(g, h_prev, Bx)
    if mode != "frozen":
        carry = g.lam if mode == "rtrl" else np.zeros_like(g.lam)
        J_nu, J_theta = rtu.immediate_jacobian(g, h_prev, Bx)
        layers.outer(g.gamma, x, state.J_B)
        for S in state.S_B_re, state.S_B_im:
            np.multiply(S, carry[:, None], out=S)
        state.S_B_re.real += state.J_B  # ∂a/∂Re B = γ xᵀ
        state.S_B_im.imag += state.J_B  # ∂a/∂Im B = i γ xᵀ
        state.S_nu[:] = carry * state.S_nu + J_nu
        state.S_theta[:] = carry * state.S_theta + J_theta
        for S in state.S_nu, state.S_theta, state.S_B_re, state.S_B_im:
            stretch(S, h)  # S ← f′ ∘ (λ S + J)   (eq. C13)
    return Cache(g, features(h))


def peek(p, state, x):
    """Compute the features that :func:`advance` would give, changing nothing."""
    return features(hidden(rtu.gates(p), state.h, p.B @ x))


def vjp(p, state, cache, gy, grad):
    """Pull ``gy`` (2n,) back: write ∂L/∂p to ``grad``, return ∂L/∂x (d,) of this step alone.

    Of the state, ``J_B`` serves as scratch.
    """
    n = len(state.h)
    G = gy[:n] + 1j * gy[n:]
    G_conj = G.conj()
    grad.nu_log[:] = (G_conj * state.S_nu).real
    grad.theta_log[:] = (G_conj * state.S_theta).real
    for part, S in (grad.B.real, state.S_B_re), (grad.B.imag, state.S_B_im):
        np.multiply(S.real, G.real[:, None], out=part)
        np.multiply(S.imag, G.imag[:, None], out=state.J_B)
        part += state.J_B  # Re(conj(G) S)   (eq. C14)
    stretch(G, state.h)
    return ((cache.gates.gamma * G.conj()) @ p.B).real  # (eq. C15)
