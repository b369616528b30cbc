"""a2: TD(λ) with eligibility traces on a random walk, and the bounded step of ObGD."""

# d features, T transitions, N states

import numpy as np

from ... import cells, networks, optimizers
from ...agents import td
from .. import judge
from ..tasks import Assignment, Task

CONSTANTS = {
    "states": ("19", ("13", "15", "17", "21", "23")),
    "discount": ("0.95", ("0.8", "0.85", "0.92", "0.97")),
    "floor": ("1.0", ("0.5", "0.7", "1.5", "2.5")),
}


def solve_walk(c):
    """Solve v = r + γ P v for the random walk."""
    n, gamma = int(c["states"]), c["discount"]
    P = 0.5 * (np.eye(n, k=1) + np.eye(n, k=-1))
    r = np.zeros(n)
    r[0], r[-1] = -0.5, 0.5  # half the time the step leads out
    return np.linalg.solve(np.eye(n) - gamma * P, r)


def true_values(ask, rng, c):
    """The exact values of all states."""
    return judge.values("true_values()", ask("plain", "true_values"), solve_walk(c))


def error(reward, gamma, terminated, v, v_next):
    """Compute the TD error."""
    return reward + gamma * (not terminated) * v_next - v


def td_error(ask, rng, c):
    """An ordinary step, one that ends for good, and one that is cut off."""
    lines = []
    for terminated, truncated in (False, False), (True, False), (False, True), (True, True):
        reward, v, v_next = (float(a) for a in rng.normal(size=3))
        gamma = float(rng.uniform(0.5, 1.0))
        got = ask("plain", "td_error", reward, gamma, terminated, truncated, v, v_next)
        what = f"td_error with terminated = {terminated}, truncated = {truncated}"
        lines += judge.values(what, got, error(reward, gamma, terminated, v, v_next))
    return lines


def changed(what, got, count):
    """Unpack what a function in place left behind: (its result, its arrays)."""
    if not (isinstance(got, tuple) and len(got) == 2 and isinstance(got[1], tuple)):
        return None, (None,) * count, [f"{what} cannot be followed"]
    return got[0], got[1], []


def accumulate(ask, rng, c):
    """The trace after three gradients, in place."""
    z, decay = rng.normal(size=5), float(rng.uniform(0.3, 0.95))
    for t in range(3):
        gradient = rng.normal(size=5)
        right = decay * z + gradient
        _, arrays, lines = changed(
            "accumulate", ask("in_place", "accumulate", z, gradient, decay), 2
        )
        if not lines and np.array_equal(arrays[0], z):
            return ["accumulate leaves z as it was: change it in place, z *= … and z += …"]
        lines = lines or judge.values(f"accumulate, step {t + 1}: z", arrays[0], right, {"z": z})
        lines = lines or judge.values("accumulate: the gradient given", arrays[1], gradient)
        if lines:
            return lines
        z = right
    return []


def bounded(w, z, delta, alpha, kappa, floor):
    """Compute w after an ObGD step, and α_eff."""
    norm = float(np.abs(z).sum())
    step = alpha / max(1.0, alpha * kappa * max(abs(delta), floor) * norm)
    return w + step * delta * z, step


def obgd_step(ask, rng, c):
    """Steps where the bound bites and where it does not, errors of both signs and sizes."""
    lines = []
    for size, delta in (5.0, 3.0), (5.0, -0.1), (1e-3, 0.1), (1e-3, -3.0), (5.0, -4.0):
        w, z = rng.normal(size=6), size * rng.normal(size=6)
        delta = float(delta * rng.uniform(0.8, 1.2))
        alpha, kappa = float(rng.uniform(0.5, 1.0)), float(rng.uniform(1.5, 3.0))
        right, step = bounded(w, z, delta, alpha, kappa, c["floor"])
        reply = ask("in_place", "obgd_step", w, z, delta, alpha, kappa)
        got, arrays, lines = changed("obgd_step", reply, 2)
        where = f"obgd_step with δ = {delta:.2g}, ‖z‖₁ = {np.abs(z).sum():.2g}:"
        norm, error = np.abs(z).sum(), max(abs(delta), c["floor"])
        suspects = {
            "α is missing in the bound": alpha / max(1, kappa * error * norm),
            "κ is missing in the bound": alpha / max(1, alpha * error * norm),
            "δ counts by its size, not its sign": alpha
            / max(1, alpha * kappa * max(delta, c["floor"]) * norm),
            "the number below which |δ| does not count is missing": alpha
            / max(1, alpha * kappa * abs(delta) * norm),
            "‖z‖₁ is the sum of |zᵢ|, not √Σ zᵢ²": alpha
            / max(1, alpha * kappa * error * np.linalg.norm(z)),
            "Σ zᵢ without absolute values": alpha / max(1, alpha * kappa * error * z.sum()),
            "this is α alone: where is the bound?": alpha,
            "the bound alone: α is to be divided by it": max(1, alpha * kappa * error * norm),
        }
        if not lines:
            what = f"{where} the step size it returns"
            lines += judge.values(what, got, step, suspects=suspects)
        lines += judge.values(f"{where} w", arrays[0], right)
        lines = lines or judge.values(f"{where} z, which must stay,", arrays[1], z)
        if lines:
            return lines
    return lines


def td_lambda(ask, rng, c):
    """A stream of transitions with an end and a cut in it, a linear value function."""
    d, T = 4, 8
    xs, following, rewards = rng.normal(size=(T, d)), rng.normal(size=(T, d)), rng.normal(size=T)
    ends, cuts = np.zeros(T, bool), np.zeros(T, bool)
    ends[3], cuts[5] = True, True
    gamma, lam, alpha, kappa = 0.9, float(rng.uniform(0.5, 0.9)), 0.5, 2.0
    w, z = rng.normal(size=d), np.zeros(d)
    start = w.copy()
    for t in range(T):
        delta = error(rewards[t], gamma, ends[t], w @ xs[t], w @ following[t])
        z = gamma * lam * z + xs[t]
        w, _ = bounded(w, z, delta, alpha, kappa, c["floor"])
        if ends[t] or cuts[t]:
            z = np.zeros(d)
        if t in (0, 1, 3, 4, 5, 7):
            part = slice(0, t + 1)
            stream = (xs[part], rewards[part], following[part], ends[part], cuts[part])
            got = ask("plain", "td_lambda", start, *stream, gamma, lam, alpha, kappa)
            lines = judge.values(
                f"td_lambda after {t + 1} transitions{NOTES.get(t, '')}: w", got, w
            )
            if lines:
                return lines
    return []


NOTES = {
    0: " (the trace is the gradient alone)",
    3: " (the last one terminated)",
    4: " (the one before terminated)",
    5: " (the last one was truncated)",
    7: " (one in the middle was truncated)",
}


def agent(ask, rng, c):
    """The library's TD agent on the student's trace and step."""
    T, seed = 12, int(rng.integers(1 << 30))
    xs, rewards = rng.normal(size=(T + 1, 2)), rng.normal(size=T)
    ends = np.zeros(T, bool)
    ends[5] = True
    got = ask("td_agent", seed, xs, rewards, ends)
    v = td.TD(
        2,
        np.random.default_rng(seed),
        network=networks.Config(width=4),
        cell=cells.Config(units=3),
        dtype=np.float64,
    )

    def step(optimizer, w, z, delta):
        alpha, kappa = optimizer.step_size, optimizer.kappa
        w[:], size = bounded(w, z, delta, alpha, kappa, c["floor"])
        return size, float(np.abs(z).sum())

    from ..swapping import swap

    with swap(optimizers.ObGD, step=step):
        for t in range(T):
            v.act(xs[t])
            v.update(xs[t], 0, rewards[t], xs[t + 1], bool(ends[t]), False)
    return judge.values("a TD agent of the library on your functions: its w", got, v.v.p.flat)


SHEET = Assignment(
    "a2",
    "a2_td_lambda",
    "TD(λ), traces and the bounded step",
    (
        Task("true_values", 2, true_values),
        Task("td_error", 2, td_error),
        Task("accumulate", 1, accumulate),
        Task("obgd_step", 3, obgd_step),
        Task("td_lambda", 4, td_lambda),
        Task("agent", 2, agent),
    ),
    ("optimizers.accumulate", "optimizers.ObGD.bound", "optimizers.ObGD.step"),
    CONSTANTS,
)
