"""Known mistakes: the RTU's sensitivities once more, with one thing wrong at a time.

A failing claim is compared with these; where the numbers are the same, the report says which
mistake gives them. Written out here, apart from ``cells.rtu``, so that a mistake there does
not spoil its own detection.
"""

# n units, d inputs

import numpy as np

MISTAKES = {
    "current": "the new state h_t stands where the one before, h_{t−1}, belongs",
    "gamma": "γ depends on nu_log too, and that part is forgotten",
    "turn": "sensitivities turn the wrong way: λ is conjugated, or S_B is not where G meets it",
    "conj": "G is to be conjugated where it meets S_ν and S_θ, and is not",
    "readout": "the slope of the tanh that reads the state out is forgotten",
    "shrink": "sensitivities are multiplied by |λ| for λ, they do not turn",
    "carry": "sensitivities are carried over without λ",
    "one step": "only the last step counts: this is the gradient of TBPTT(1)",
    "reset": "the sensitivities are not reset at an episode's start",
    "nu": "λ's derivative by nu_log lacks the factor ν = exp(nu_log)",
    "theta": "λ's derivative by theta_log lacks the factor θ = exp(theta_log)",
    "input": "the γ in ∂h/∂B is forgotten",
}


def rtu_sum(p, xs, gs, starts, mistake):
    """Sum the RTU's gradients of g_t · y_t over a sequence, with one mistake made.

    Parameters
    ----------
    p : Views
    xs : (T, d) ndarray
    gs : (T, 2n) ndarray
    starts : tuple of int
        Steps that an episode begins with.
    mistake : str
        A key of ``MISTAKES``.

    Returns
    -------
    Views
        Like ``p``.
    """
    total, n = p.like(), len(p.nu_log)
    nu, theta = np.exp(p.nu_log), np.exp(p.theta_log)
    lam, gamma = np.exp(-nu + 1j * theta), np.sqrt(1 - np.exp(-2 * nu))
    by_nu = -lam * (1 if mistake == "nu" else nu)
    by_theta = 1j * lam * (1 if mistake == "theta" else theta)
    gamma_by_nu = 0 if mistake == "gamma" else nu * np.exp(-2 * nu) / gamma
    carry = {"turn": lam.conj(), "shrink": np.abs(lam), "carry": 1, "one step": 0}.get(mistake, lam)
    carry = np.broadcast_to(carry, n)
    for t, (x, g) in enumerate(zip(xs, gs, strict=True)):
        if t in starts:
            h = np.zeros(n, complex)
        if t == 0 or (t in starts and mistake != "reset"):
            S_nu, S_theta, S_B = np.zeros(n), np.zeros(n), np.zeros((n, len(x)))
        h, h_prev = lam * h + gamma * (p.B @ x), h
        seen = h if mistake == "current" else h_prev
        S_nu = carry * S_nu + by_nu * seen + gamma_by_nu * (p.B @ x)
        S_theta = carry * S_theta + by_theta * seen
        S_B = carry[:, None] * S_B + np.outer(np.ones(n) if mistake == "input" else gamma, x)
        y = np.tanh(np.concatenate([h.real, h.imag]))
        g = g if mistake == "readout" else g * (1 - y * y)
        G = g[:n] + 1j * g[n:]
        G_conj = G if mistake == "conj" else G.conj()
        total.nu_log += (G_conj * S_nu).real
        total.theta_log += (G_conj * S_theta).real
        total.B += G[:, None] * S_B.conj()
    return total
