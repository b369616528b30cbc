"""Recurrent trace unit (RTU), linear recurrence, with exact real-time recurrent learning.

Each of n units is one complex number that turns and shrinks by λ every step and
takes in a mix of the d inputs:

    h ← λ h + γ B x,     y = tanh([Re h; Im h]),     λ = exp(−ν + iθ),  γ = √(1 − |λ|²).

Because the recurrence is diagonal, the sensitivity of h to *every* past use of a
parameter is one complex number a parameter, carried forward beside h (Elelimy 2024).
Numbers in brackets are equations in docs/derivations.md.
"""

# n units, d inputs

from typing import NamedTuple

import numpy as np

from .. import layers
from ..arrays import COMPLEX, Complex
from ..settings import SettingError


def layout(n, d):
    """Lay out the parameters: decay, phase and input weights."""
    return {"nu_log": (n,), "theta_log": (n,), "B": Complex((n, d))}


def state_layout(n, d, mode="rtrl"):
    """Lay out what a step carries: the hidden state and its sensitivities.

    ``J_B`` is the immediate Jacobian ∂h/∂B of the last step alone; it is real, for γ and x are.
    Nothing but the step itself reads it.
    """
    return {
        "h": Complex((n,)),
        "S_nu": Complex((n,)),
        "S_theta": Complex((n,)),
        # differs from Elelimy 2024: one complex array for four, as ∂h/∂Im B = i ∂h/∂Re B
        "S_B": Complex((n, d)),
        "J_B": (n, d),
    }


def feature_count(n):
    """Count the features: the real and the imaginary part of every unit."""
    return 2 * n


def init(rng, n, d, config):
    """Draw the parameters.

    |λ| lies in the ring [r_min, r_max], uniform by area; the phase is uniform in
    (0, max_phase) (Orvieto 2023, section 3); B is LeCun-normal in each part (Elelimy 2024).

    Parameters
    ----------
    rng : numpy.random.Generator
    n, d : int
    config : streamrl_np.cells.Config

    Returns
    -------
    dict of ndarray
    """
    u = rng.uniform(config.r_min**2, config.r_max**2, n)  # |λ|²   (eq. R16)
    theta = config.max_phase * (1.0 - rng.uniform(size=n))  # 1 − u keeps 0 out: its log is −∞
    return {
        "nu_log": np.log(-0.5 * np.log(u)),
        "theta_log": np.log(theta),
        "B": (rng.normal(size=(n, d)) + 1j * rng.normal(size=(n, d))) / np.sqrt(d),
    }


def ring(memory):
    """Choose ``r_min`` for a task that must hold something for ``memory`` steps.

    Of what a unit took in, even the one that forgets fastest should still hold a twentieth:
    r_min^memory = exp(−3).

    Raises
    ------
    SettingError
        If ``memory`` is not above 0.

    Examples
    --------
    >>> round(ring(64), 3)
    0.954
    """
    if not memory > 0:
        raise SettingError(f"memory must be a number of steps above 0, got {memory!r}")
    # differs from Farr 2026: r_min = 0 there
    return float(np.exp(-3.0 / memory))  # (eq. R17)


class Gates(NamedTuple):
    """What the recurrence is made of; four (n,) arrays."""

    nu: np.ndarray
    theta: np.ndarray
    lam: np.ndarray  # complex
    gamma: np.ndarray


def gates(p):
    """Compute ν, θ, λ and γ from their unconstrained parameters."""
    nu, theta = np.exp(p.nu_log), np.exp(p.theta_log)  # (eq. R1)
    lam = np.exp(-nu) * unit_circle(theta)  # λ = exp(−ν + iθ)   (eq. R2)
    gamma = np.sqrt(-np.expm1(-2.0 * nu))  # γ = √(1 − |λ|²), exact near |λ| = 1   (eq. R3)
    return Gates(nu, theta, lam, gamma)


def unit_circle(theta):
    """Compute exp(iθ) from cosine and sine, which NumPy does faster than a complex exp."""
    z = np.empty(theta.shape, COMPLEX[theta.dtype])
    z.real, z.imag = np.cos(theta), np.sin(theta)
    return z


def hidden(gates, h, Bx):
    """Compute the next hidden state from the last one."""
    return gates.lam * h + gates.gamma * Bx  # h_t = λ h_{t−1} + γ B x_t   (eq. R4)


def features(h):
    """Read the features out of a hidden state: (n,) complex → (2n,) real."""
    return layers.tanh(np.concatenate([h.real, h.imag], axis=-1))  # (eq. R5)


def features_vjp(gy, y):
    """Pull ∂L/∂y back to G = ∂L/∂Re h + i ∂L/∂Im h: (2n,) real → (n,) complex."""
    g = layers.tanh_vjp(gy, y)
    n = y.shape[-1] // 2
    return g[..., :n] + 1j * g[..., n:]  # (eq. R12)


def immediate_jacobian(gates, h_prev, Bx):
    """Differentiate one step with h_{t−1} held still.

    Returns
    -------
    J_nu, J_theta : (n,) complex ndarray
        ∂h_t/∂nu_log and ∂h_t/∂theta_log. The third, ∂h_t/∂B = γ xᵀ, is an outer product.
    """
    nu, theta, lam, gamma = gates
    dlam_dnu_log = -nu * lam  # (eq. R6)
    # differs from Elelimy 2024: a published code leaves θ, the derivative of exp(theta_log), out
    dlam_dtheta_log = 1j * theta * lam  # (eq. R7)
    dgamma_dnu_log = nu * (1.0 - gamma * gamma) / gamma  # ν |λ|² / γ   (eq. R8)
    return dlam_dnu_log * h_prev + dgamma_dnu_log * Bx, dlam_dtheta_log * h_prev


class Cache(NamedTuple):
    """What :func:`vjp` needs of the step just taken."""

    gates: Gates
    x: np.ndarray  # (d,)
    h_prev: np.ndarray  # (n,) complex
    y: np.ndarray  # (2n,)


def advance(p, state, x, mode):
    """Advance ``state`` in place by one step: hidden state and sensitivities.

    Parameters
    ----------
    p : Views
        Parameters in :func:`layout`.
    state : Views
        In :func:`state_layout`.
    x : (d,) ndarray
    mode : {"rtrl", "tbptt1", "frozen"}
        Carry the sensitivities (exact), start them anew every step, or leave them zero.

    Returns
    -------
    Cache
        Its ``y`` (2n,) are the features.
    """
    g = gates(p)
    Bx = p.B @ x
    h_prev = state.h.copy()
    state.h[:] = hidden(g, h_prev, Bx)
    if mode != "frozen":
        carry = g.lam if mode == "rtrl" else np.zeros_like(g.lam)  # (eq. R15)
        J_nu, J_theta = immediate_jacobian(g, h_prev, Bx)
        layers.outer(g.gamma, x, state.J_B)
        state.S_nu[:] = carry * state.S_nu + J_nu  # (eq. R9)
        state.S_theta[:] = carry * state.S_theta + J_theta  # (eq. R10)
        np.multiply(state.S_B, carry[:, None], out=state.S_B)
        np.add(state.S_B, state.J_B, out=state.S_B)  # S_B ← λ S_B + γ xᵀ   (eq. R11)
    return Cache(g, x, h_prev, features(state.h))


def peek(p, state, x):
    """Compute the features that :func:`advance` would give, changing nothing."""
    return features(hidden(gates(p), state.h, p.B @ x))


def vjp(p, state, cache, gy, grad):
    """Pull ``gy`` back through the step just taken.

    Parameters
    ----------
    p, state : Views
        As :func:`advance` left them.
    cache : Cache
        What :func:`advance` returned.
    gy : (2n,) ndarray
        ∂L/∂y.
    grad : Views
        Receives ∂L/∂p, through the whole past in mode "rtrl". A complex entry holds
        ∂L/∂Re + i ∂L/∂Im.

    Returns
    -------
    (d,) ndarray
        ∂L/∂x of this step alone.
    """
    G = features_vjp(gy, cache.y)
    G_conj = G.conj()
    grad.nu_log[:] = (G_conj * state.S_nu).real  # (eq. R13)
    grad.theta_log[:] = (G_conj * state.S_theta).real  # (eq. R13)
    np.conjugate(state.S_B, out=grad.B)
    np.multiply(grad.B, G[:, None], out=grad.B)  # G conj(S_B)   (eq. R13)
    return ((cache.gates.gamma * G_conj) @ p.B).real  # (eq. R14)


class Unrolled(NamedTuple):
    """What :func:`unroll_vjp` needs of a segment of T steps in m sequences."""

    gates: Gates
    x: np.ndarray  # (T, m, d)
    Bx: np.ndarray  # (T, m, n) complex
    h_prev: np.ndarray  # (T, m, n) complex, zero where an episode starts
    starts: np.ndarray  # (T, m) bool
    y: np.ndarray  # (T, m, 2n)


def unroll(p, h, x, starts):
    """Take T steps in m sequences side by side, keeping what backpropagation through time needs.

    Parameters
    ----------
    p : Views
    h : (m, n) complex ndarray
        Hidden states before the first step.
    x : (T, m, d) ndarray
    starts : (T, m) bool ndarray
        Where an episode starts: there h begins from zero.

    Returns
    -------
    Unrolled
        Its ``y`` (T, m, 2n) are the features.
    """
    g = gates(p)
    Bx = x @ p.B.T
    h_prev, h_next = np.empty_like(Bx), np.empty_like(Bx)
    for t in range(len(x)):
        h_prev[t] = np.where(starts[t][:, None], 0, h)
        h = h_next[t] = hidden(g, h_prev[t], Bx[t])
    return Unrolled(g, x, Bx, h_prev, starts, features(h_next))


def unroll_vjp(p, cache, gy, grad):
    """Pull ``gy`` back through :func:`unroll` (BPTT).

    Parameters
    ----------
    p : Views
    cache : Unrolled
    gy : (T, m, 2n) ndarray
    grad : Views
        Receives ∂L/∂p, summed over steps and sequences; the past before the segment is
        what :func:`sensitivity_vjp` adds.

    Returns
    -------
    gx : (T, m, d) ndarray
    G : (m, n) complex ndarray
        ∂L/∂h before the first step.
    """
    gates, x, Bx, h_prev, starts, y = cache
    G = features_vjp(gy, y)
    back = np.where(starts[..., None], 0, gates.lam.conj())  # ∂h_t/∂h_{t−1}, conjugate
    for t in reversed(range(1, len(G))):
        G[t - 1] += back[t] * G[t]  # (eq. B1)
    J_nu, J_theta = immediate_jacobian(gates, h_prev, Bx)
    G_conj = G.conj()
    grad.nu_log[:] = (G_conj * J_nu).real.sum((0, 1))  # (eq. B2)
    grad.theta_log[:] = (G_conj * J_theta).real.sum((0, 1))
    n, d = p.B.shape
    grad.B[:] = (gates.gamma * G).reshape(-1, n).T @ x.reshape(-1, d)  # Σ γ G xᵀ   (eq. B2)
    return ((gates.gamma * G_conj) @ p.B).real, back[0] * G[0]  # (eq. R14), (eq. B1)


def sensitivity_vjp(S, G, grad):
    """Add to ``grad`` what the parameters owe through the m states that segments began from.

    Parameters
    ----------
    S : dict of ndarray
        The sensitivities of those states: ``S_nu``, ``S_theta`` (m, n), ``S_B`` (m, n, d).
    G : (m, n) complex ndarray
        ∂L/∂h of those states.
    grad : Views
    """
    G_conj = G.conj()
    grad.nu_log += (G_conj * S["S_nu"]).real.sum(0)  # (eq. B3)
    grad.theta_log += (G_conj * S["S_theta"]).real.sum(0)
    # Σ_m G conj(S_B) as n small real products: rows Re G and Im G, columns Re S and Im S
    G_parts = np.stack([G.real.T, G.imag.T], axis=1)  # (n, 2, m)
    S_parts = S["S_B"].view(grad.nu_log.dtype).transpose(1, 0, 2)  # (n, m, 2d)
    products = G_parts @ S_parts  # (n, 2, 2d)
    grad.B.real += products[:, 0, ::2] + products[:, 1, 1::2]
    grad.B.imag += products[:, 1, ::2] - products[:, 0, 1::2]


def retention(p):
    """Say how much of each unit's state survives one step: |λ|, (n,)."""
    return np.exp(-np.exp(p.nu_log))
