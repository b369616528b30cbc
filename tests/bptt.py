"""Backpropagation through time for the RTU, written apart from the library's sensitivities.

The reference for RTRL: it stores the whole sequence and walks it backwards with its own
formulas for one step.
"""

import numpy as np


def rtu_sequence(p, xs, resets):
    """Run the recurrence; returns the hidden states before and after each step."""
    nu, theta = np.exp(p.nu_log), np.exp(p.theta_log)
    lam = np.exp(-nu + 1j * theta)
    gamma = np.sqrt(1 - np.abs(lam) ** 2)
    h = np.zeros(len(nu), lam.dtype)
    before, after = [], []
    for x, reset in zip(xs, resets, strict=True):
        h = np.zeros_like(h) if reset else h
        before.append(h)
        h = lam * h + gamma * (p.B @ x)
        after.append(h)
    return before, after


def rtu_loss(p, xs, resets, gys):
    """Compute Σ_t gy_t · y_t."""
    _, after = rtu_sequence(p, xs, resets)
    ys = [np.tanh(np.concatenate([h.real, h.imag])) for h in after]
    return sum(gy @ y for gy, y in zip(gys, ys, strict=True))


def rtu_bptt(p, xs, resets, gys):
    """Differentiate :func:`rtu_loss` by BPTT; returns a Views like p."""
    nu, theta = np.exp(p.nu_log), np.exp(p.theta_log)
    lam = np.exp(-nu + 1j * theta)
    gamma = np.sqrt(1 - np.abs(lam) ** 2)
    before, after = rtu_sequence(p, xs, resets)
    n = len(nu)
    grad = p.like()
    g_lam, g_gamma = np.zeros(n, lam.dtype), np.zeros(n)
    G = np.zeros(n, lam.dtype)
    for t in reversed(range(len(xs))):
        y = np.tanh(np.concatenate([after[t].real, after[t].imag]))
        g = gys[t] * (1 - y * y)
        G = G + g[:n] + 1j * g[n:]
        g_lam += G * before[t].conj()
        g_gamma += (G * (p.B @ xs[t]).conj()).real
        grad.B += np.outer(G * gamma, xs[t])
        G = np.zeros_like(G) if resets[t] else lam.conj() * G
    # λ = exp(−ν + iθ): dλ = λ(−dν + i dθ);  γ = √(1 − exp(−2ν))
    g_log_lam = g_lam * lam.conj()
    g_nu = -g_log_lam.real + g_gamma * np.exp(-2 * nu) / gamma
    grad.nu_log = g_nu * nu
    grad.theta_log = g_log_lam.imag * theta
    return grad
