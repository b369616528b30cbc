"""a3: the recurrent trace unit: gates, immediate Jacobian, one step, and two exact gradients."""

# n units, d inputs, T steps

import re

import numpy as np

from ... import cells
from ...arrays import Views
from ...cells import rtu
from ...swapping import swap
from .. import judge
from ..box.harness import UNWRITTEN
from ..tasks import Assignment, Task

CONSTANTS = {"power": ("0.5", ("0.25", "0.75", "1.5", "0.4"))}


def gates(p, power):
    """Compute the gates with the input normaliser γ = (1 − |λ|²)^power."""
    g = LIBRARY_GATES(p)
    return g._replace(gamma=(g.gamma * g.gamma) ** power)


LIBRARY_GATES, LIBRARY_STEP = rtu.gates, rtu.immediate_jacobian


def step_derivatives(g, h_prev, Bx, power):
    """Compute J_ν and J_θ with that normaliser.

    ∂γ/∂nu_log = 2 power ν |λ|² (1 − |λ|²)^(power − 1).
    """
    nu, gamma = g.nu, g.gamma
    lam2 = np.exp(-2.0 * nu)
    linear_part, J_theta = LIBRARY_STEP(g, h_prev, np.zeros_like(Bx))
    return linear_part + 2.0 * power * nu * lam2 * gamma / (1.0 - lam2) * Bx, J_theta


def given_parts(g, power):
    """List what stands in for gates and Jacobian: the gates, and J's factors of h and of Bx."""
    one, nothing = np.ones(len(g.nu), complex), np.zeros(len(g.nu), complex)
    by_h, by_theta = step_derivatives(g, one, nothing, power)
    by_Bx, _ = step_derivatives(g, nothing, one, power)
    return tuple(g), by_h, by_Bx, by_theta


def in_library(c):
    """Give the library's RTU the normaliser of a variant."""
    power = c["power"]
    if power == 0.5:
        return swap(rtu)
    return swap(
        rtu,
        gates=lambda p: gates(p, power),
        immediate_jacobian=lambda g, h, Bx: step_derivatives(g, h, Bx, power),
    )


def make(rng):
    """Draw n, d and parameters with |λ| in the ring [0.5, 0.97]."""
    n, d = int(rng.integers(3, 6)), int(rng.integers(2, 5))
    p = Views(rtu.layout(n, d))
    for name, value in rtu.init(rng, n, d, cells.Config(units=n, r_min=0.5, r_max=0.97)).items():
        setattr(p, name, value)
    return n, d, p


def complex_normal(rng, *shape):
    """Draw complex numbers."""
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def judge_gates(ask, rng, c):
    """All four."""
    _, _, p = make(rng)
    got = ask("rtu_gates", p.nu_log, p.theta_log)
    lines = judge.several("gates", got, 4)
    with in_library(c):
        right = rtu.gates(p)
    factors = {"ν": right.nu, "θ": right.theta, "γ": right.gamma}
    nu, theta, lam, _ = right
    suspects = {
        "the sign of ν in λ: |λ| must be below 1": np.exp(nu + 1j * theta),
        "the sign of θ in λ": lam.conj(),
        "i θ without the i": np.exp(-nu + theta) + 0j,
        "the logarithms themselves, without exp": np.exp(-p.nu_log + 1j * p.theta_log),
        "exp is taken twice": np.exp(-np.exp(nu) + 1j * np.exp(theta)),
        "|λ| where |λ|² is meant": (1 - np.exp(-nu)) ** c["power"],
        "the exponent of 1 − |λ|² is missing": 1 - np.exp(-2 * nu),
        "this is nu_log: exp is missing": p.nu_log,
        "this is theta_log: exp is missing": p.theta_log,
    }
    for name, mine, theirs in zip(right._fields, right, got if not lines else (), strict=False):
        others = {
            f"this is {other}: the order is nu, theta, lam, gamma": value
            for other, value in zip(right._fields, right, strict=True)
            if other != name
        }
        lines += judge.values(f"gates: {name}", theirs, mine, factors, suspects | others)
    return lines


def immediate_jacobian(ask, rng, c):
    """Both parts against differences of one step with h held still."""
    n, _, p = make(rng)
    h_prev, Bx = complex_normal(rng, n), complex_normal(rng, n)
    with in_library(c):
        g = rtu.gates(p)
        got = ask("rtu_jacobian", tuple(g), h_prev, Bx)
        lines = judge.several("immediate_jacobian", got, 2)
        if lines:
            return lines
        J_nu, J_theta = rtu.immediate_jacobian(g, h_prev, Bx)
        known = {"ν": g.nu, "θ": g.theta, "γ": g.gamma, "λ": g.lam, "h_{t−1}": h_prev, "Bx": Bx}
        by_lam = -g.nu * g.lam * h_prev
        suspects = {
            "γ depends on ν too": by_lam,
            "λ depends on ν too": J_nu - by_lam,
            "the sign of ∂λ/∂ν": J_nu - 2 * by_lam,
            "the sign of ∂γ/∂ν": 2 * by_lam - J_nu,
            "the factor ν of ∂λ/∂nu_log is missing": J_nu - by_lam + by_lam / g.nu,
            "the factor ν of ∂γ/∂nu_log is missing": by_lam + (J_nu - by_lam) / g.nu,
            "in ∂γ/∂ν the exponent of 1 − |λ|² is missing": by_lam + (J_nu - by_lam) / c["power"],
            "in ∂γ/∂ν the 2 of exp(−2ν) is missing": (J_nu + by_lam) / 2,
            "Bx is missing beside ∂γ/∂ν": by_lam + (J_nu - by_lam) / Bx,
            "this is J_theta: the order is J_nu, J_theta": J_theta,
        }
        lines += judge.values("immediate_jacobian: J_nu", got[0], J_nu, known, suspects)
        if lines and not re.search(": these are|;", lines[0]):
            lines[0] += part_that_is_right(ask, g, h_prev, Bx, by_lam, J_nu - by_lam)
        suspects = {
            "λ, not its conjugate": 1j * g.theta * g.lam.conj() * h_prev,
            "∂λ/∂θ is i λ: i and θ are missing": g.lam * h_prev,
            "this is J_nu: the order is J_nu, J_theta": J_nu,
        }
        lines += judge.values("immediate_jacobian: J_theta", got[1], J_theta, known, suspects)
    return lines


def part_that_is_right(ask, g, h_prev, Bx, by_lam, by_gamma):
    """Say which of the two terms of J_ν is right, if one is: each alone, the other input zero."""
    nothing = np.zeros_like(h_prev)
    for words, h, x, right in (
        ("the part with h_prev is right, the part with Bx is not", h_prev, nothing, by_lam),
        ("the part with Bx is right, the part with h_prev is not", nothing, Bx, by_gamma),
    ):
        J_nu = ask("rtu_jacobian", tuple(g), h, x)[0]
        if not judge.unfit("J_nu", J_nu, right) and judge.close(J_nu, right):
            return f"; {words}"
    return ""


def advance(ask, rng, c):
    """Three steps in each mode, with the Jacobian given; the state is compared after each."""
    n, d, p = make(rng)
    for mode in cells.MODES:
        state = Views(rtu.state_layout(n, d))
        state.flat[:] = rng.normal(size=state.flat.size)  # from zeros a step may change nothing
        for t in range(3):
            x, before = rng.normal(size=d), state.copy()
            with in_library(c):
                cache = rtu.advance(p, state, x, mode)
            given = given_parts(cache.gates, c["power"])
            arguments = (p.flat, n, d, before.flat, x, mode, given)
            flat, y, h_prev = ask("rtu_advance", *arguments)
            theirs = Views(state.layout, flat=judge.flat("the state", flat, state.flat))
            where = f'advance, mode "{mode}", step {t + 1}:'
            names = ("S_nu", "S_theta", "S_B")
            if mode == "frozen" and any(np.any(theirs[k] != before[k]) for k in names):
                return [f"{where} the sensitivities must stay as they are"]
            if np.array_equal(theirs.h, before.h):
                return [f"{where} h is as it was: write into it, state.h[:] = …"]
            g, Bx = cache.gates, p.B @ x
            suspects = {
                "γ is missing before B x": g.lam * before.h + Bx,
                "λ, not its conjugate": g.lam.conj() * before.h + g.gamma * Bx,
            }
            lines = judge.values(f"{where} h", theirs.h, state.h, suspects=suspects)
            if mode != "frozen":
                late = step_derivatives(g, state.h, Bx, c["power"])
                lines += compare_sensitivities(where, theirs, state, before, cache, late)
            suspects = {"the features of the old h": rtu.features(before.h)}
            lines += judge.values(f"{where} y", y, cache.y, suspects=suspects)
            lines += judge.values(
                f"{where} h_prev in the cache",
                h_prev,
                cache.h_prev,
                suspects={"it is the new h: copy the old one before it changes": state.h},
            )
            if lines:
                return lines
    return []


def compare_sensitivities(where, theirs, state, before, cache, late):
    """Compare S_ν, S_θ and S_B after a step; ``late`` are J_ν and J_θ of the new h."""
    factors, lines = {"γ": cache.gates.gamma, "λ": cache.gates.lam}, []
    for name, J_late in zip(("S_nu", "S_theta", "S_B"), (*late, None), strict=True):
        if np.array_equal(theirs[name], before[name]):
            lines += [f"{where} {name} is as it was: write into it, state.{name}[:] = …"]
            continue
        past = (cache.gates.lam * before[name].T).T
        J = state[name] - past
        suspects = {
            "λ, not its conjugate, carries S": (cache.gates.lam.conj() * before[name].T).T + J,
            "λ, not |λ|, carries S": (np.abs(cache.gates.lam) * before[name].T).T + J,
        }
        if J.ndim == 2 and J.shape[0] == J.shape[1]:
            suspects["J of B is transposed: γ xᵀ has a row a unit"] = past + J.T
        if J_late is not None:
            suspects |= {
                "J is that of the new h: it wants the old one": past + J_late,
                "J is that of the new h, and λ S is left out": J_late,
            }
        suspects |= {
            "λ S is left out: this is J alone": state[name] - past,
            "λ S belongs to mode rtrl alone": state[name] + past,
            "S is carried without λ": state[name] - past + before[name],
            "J is left out": past,
        }
        lines += judge.values(f"{where} {name}", theirs[name], state[name], factors, suspects)
    return lines


def vjp(ask, rng, c):
    """After some steps: the gradient of each parameter, and ∂L/∂x of the last."""
    n, d, p = make(rng)
    state, grad = Views(rtu.state_layout(n, d)), p.like()
    with in_library(c):
        for x in rng.normal(size=(4, d)):
            cache = rtu.advance(p, state, x, "rtrl")
        gy = rng.normal(size=2 * n)
        gx = rtu.vjp(p, state, cache, gy, grad)
    g = tuple(cache.gates)
    arguments = (p.flat, n, d, state.flat, g, x, cache.h_prev, cache.y, gy)
    flat, their_gx = ask("rtu_vjp", *arguments)
    theirs = Views(p.layout, flat=judge.flat("grad", flat, grad.flat))
    G, lines = rtu.features_vjp(gy, cache.y), []
    G_linear = gy[:n] + 1j * gy[n:]
    for name, S in (("nu_log", state.S_nu), ("theta_log", state.S_theta)):
        known = {
            "Re(G S): G wants a conjugate": (G * S).real,
            "the imaginary part of conj(G) S, not its real part": (G.conj() * S).imag,
            "the way back through tanh is left out: rtu.features_vjp": (G_linear.conj() * S).real,
            "it is added to what was there: write with =, not +=": grad[name] + UNWRITTEN,
        }
        lines += judge.values(f"vjp: grad.{name}", theirs[name], grad[name], suspects=known)
    known = {
        "a conjugate of S_B is missing": G[:, None] * state.S_B,
        "the conjugate is on G; it belongs on S_B": G.conj()[:, None] * state.S_B,
        "both are conjugated; only S_B is to be": (G[:, None] * state.S_B).conj(),
        "the way back through tanh is left out": G_linear[:, None] * state.S_B.conj(),
        "J_B, of one step, instead of S_B": G[:, None] * state.J_B,
        "it is added to what was there: write with =, not +=": grad.B + UNWRITTEN * (1 + 1j),
    }
    lines += judge.values("vjp: grad.B", theirs.B, grad.B, {"γ": g[3]}, known)
    B, gamma = p.B, cache.gates.gamma
    suspects = {
        "γ is missing": (G.conj() @ B).real,
        "G wants a conjugate": ((gamma * G) @ B).real,
        "the way back through tanh is left out": ((gamma * G_linear.conj()) @ B).real,
    }
    if n == d:
        suspects["B is transposed"] = (B @ (gamma * G.conj())).real
    return lines + judge.values("vjp: ∂L/∂x", their_gx, gx, suspects=suspects)


def sequence(rng):
    """Draw parameters and a sequence with a gradient at every step."""
    n, d, p = make(rng)
    T = int(rng.integers(5, 8))
    return n, d, p, rng.normal(size=(T, d)), rng.normal(size=(T, 2 * n))


def exactness(route, what, slips=()):
    """Judge a gradient over a sequence: over one step, two, and all."""

    def judged(ask, rng, c):
        n, d, p, xs, gys = sequence(rng)
        for T in sorted({1, 2, len(xs)}):
            with in_library(c):
                right = gradient_over(p, xs[:T], gys[:T])
                given = given_parts(rtu.gates(p), c["power"])
            flat = ask(route, p.flat, n, d, xs[:T], gys[:T], given)
            theirs = Views(p.layout, flat=judge.flat("the gradient", flat, p.flat))
            lines = []
            with in_library(c):
                guesses = {words: backwards(p, xs[:T], gys[:T], slip) for words, slip in slips}
            for name in p.layout:
                where = f"{what} over {T} step{'s' if T > 1 else ''}: {name}"
                suspects = {words: guess[name] for words, guess in guesses.items()}
                lines += judge.values(where, theirs[name], right[name], suspects=suspects)
            if lines:
                return lines
        return []

    return judged


def gradient_over(p, xs, gys):
    """Sum the gradients of all steps, by the library's RTRL."""
    state, grad, total = Views(rtu.state_layout(*p.B.shape)), p.like(), p.like()
    for x, gy in zip(xs, gys, strict=True):
        cache = rtu.advance(p, state, x, "rtrl")
        rtu.vjp(p, state, cache, gy, grad)
        total.flat[:] += grad.flat
    return total


def backwards(p, xs, gys, slip):
    """Sum the gradients of all steps by BPTT, with one mistake of :data:`SLIPS`."""
    g, grad = rtu.gates(p), p.like()
    hs = [np.zeros(len(g.nu), complex)]
    for x in xs:
        hs.append(g.lam * hs[-1] + g.gamma * (p.B @ x))
    if slip == "added":
        grad.flat[:] = UNWRITTEN
    G, times = np.zeros_like(hs[0]), range(len(xs))
    for t in times if slip == "forwards" else reversed(times):
        carried = {"lam": g.lam, "none": 0.0}.get(slip, g.lam.conj()) * G
        G = rtu.features_vjp(gys[t], rtu.features(hs[t + 1])) + carried
        J_nu, J_theta = rtu.immediate_jacobian(g, hs[t + (slip == "new")], p.B @ xs[t])
        if slip == "last":
            grad.flat[:] = 0.0
        grad.nu_log += (G.conj() * J_nu).real
        grad.theta_log += (G.conj() * J_theta).real
        grad.B += np.outer(G if slip == "gamma" else g.gamma * G, xs[t])
    return grad


SLIPS = (
    ("λ carries G where its conjugate is wanted", "lam"),
    ("G of the later steps is not carried", "none"),
    ("J wants h of the step before, not the step's own", "new"),
    ("from the first step to the last; it goes from the last to the first", "forwards"),
    ("γ is missing", "gamma"),
    ("only one step counts: add up, grad.B += …", "last"),
    ("it is added to what was there: start from zero, grad.flat[:] = 0", "added"),
)


def network(ask, rng, c):
    """A library network on the student's RTU: output and gradient."""
    from ... import networks

    xs, g, seed = rng.normal(size=(5, 3)), rng.normal(size=2), int(rng.integers(1 << 30))
    output, flat = ask("rtu_network", seed, xs, g)
    cell = cells.Config(units=4, r_min=0.5, r_max=0.95)
    layers = networks.Config(width=5, sparsity=0.0)
    own = networks.Network(3, 2, layers, cell, np.random.default_rng(seed), np.float64)
    with in_library(c):
        for x in xs:
            right, cache = own.forward(x)
        own.vjp(cache, g)
    lines = judge.values("a network on your RTU: its output", output, right)
    theirs = Views(own.p.layout, flat=judge.flat("the gradient", flat, own.p.flat))
    for name in ("cell.nu_log", "cell.theta_log", "cell.B", "encoder.W"):
        where = f"a network on your RTU: the gradient of {name}"
        lines += judge.values(where, theirs[name], own.grad[name])
    return lines


SHEET = Assignment(
    "a3",
    "a3_rtu",
    "The recurrent trace unit and exact RTRL",
    (
        Task("gates", 2, judge_gates),
        Task("immediate_jacobian", 4, immediate_jacobian),
        Task("advance", 4, advance),
        Task("vjp", 4, vjp),
        Task("rtrl", 2, exactness("rtu_rtrl", "your RTRL gradient")),
        Task("bptt", 3, exactness("rtu_bptt", "your BPTT gradient", SLIPS)),
        Task("network", 1, network),
    ),
    (
        "cells.rtu.gates",
        "cells.rtu.hidden",
        "cells.rtu.immediate_jacobian",
        "cells.rtu.advance",
        "cells.rtu.vjp",
        "cells.rtu.unroll_vjp",
        "cells.rtu.sensitivity_vjp",
        "cells.rtu_nonlinear.vjp",
    ),
    CONSTANTS,
)
