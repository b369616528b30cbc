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


def solve_walk(c, discount=None, ends=(-0.5, 0.5), way=0.5, stays=0.0, around=0.0):
    """Solve v = r + γ P v for the random walk; the other arguments make mistakes."""
    n, gamma = int(c["states"]), c["discount"] if discount is None else discount
    P = way * (np.eye(n, k=1) + np.eye(n, k=-1))
    P[0, 0] = P[-1, -1] = stays
    P[0, -1] = P[-1, 0] = around
    r = np.zeros(n)
    r[0], r[-1] = ends  # half the time the step leads out
    return np.linalg.solve(np.eye(n) - gamma * P, r)


def true_values(ask, rng, c):
    """The exact values of all states."""
    suspects = {
        "the discount is missing": solve_walk(c, discount=1.0),
        "r is a mean: the step out is taken half of the times": solve_walk(c, ends=(-1, 1)),
        "the left end has a reward too": solve_walk(c, ends=(0, 0.5)),
        "the rewards of left and right are exchanged": solve_walk(c, ends=(0.5, -0.5)),
        "who steps out is gone: in P the ends have no way back": solve_walk(c, stays=0.5),
        "the two ends are not neighbours": solve_walk(c, around=0.5),
        "each way is taken with probability ½": solve_walk(c, way=1.0),
        "v − γ P v = r: the sign of γ P": solve_walk(c, discount=-c["discount"]),
    }
    got = ask("plain", "true_values")
    return judge.values("true_values()", got, solve_walk(c), suspects=suspects)


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
        right = error(reward, gamma, terminated, v, v_next)
        suspects = {
            "the sign": -right,
            "γ is missing": reward + (not terminated) * v_next - v,
            "`~` turns True to −2, not to False: write `not`": reward
            + gamma * ~int(terminated) * v_next
            - v,
            "only v(s′) falls away, the reward counts": -v,
        }
        lines += judge.values(what, got, right, suspects=suspects)
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
        suspects = {
            "z does not decay": z + gradient,
            "only the old z decays, the gradient comes in whole": decay * (z + gradient),
            "the decay is on the gradient; it belongs on z": z + decay * gradient,
            "the gradient comes in whole, not by 1 − decay": decay * z + (1 - decay) * gradient,
        }
        where = f"accumulate, step {t + 1}: z"
        lines = lines or judge.values(where, arrays[0], right, suspects=suspects)
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
    for size, delta in (5.0, 3.0), (5.0, -0.1), (1e-3, 0.1), (1e-3, -3.0), (5.0, -4.0), (0.0, 2.0):
        w, z = rng.normal(size=6), size * rng.normal(size=6)
        delta = float(delta * rng.uniform(0.8, 1.2))
        alpha, kappa = float(rng.uniform(0.5, 1.0)), float(rng.uniform(1.5, 3.0))
        right, step = bounded(w, z, delta, alpha, kappa, c["floor"])
        reply = ask("in_place", "obgd_step", w, z, delta, alpha, kappa)
        got, arrays, lines = changed("obgd_step", reply, 2)
        where = f"obgd_step with δ = {delta:.2g}, ‖z‖₁ = {np.abs(z).sum():.2g}:"
        norm, error = np.abs(z).sum(), max(abs(delta), c["floor"])
        suspects = {
            "this is α alone: where is the bound?": alpha,
            "α is missing in the bound": alpha / max(1, kappa * error * norm),
            "κ is missing in the bound": alpha / max(1, alpha * error * norm),
            "δ counts by its size, not its sign": alpha
            / max(1, alpha * kappa * max(delta, c["floor"]) * norm),
            "the number below which |δ| does not count is missing": alpha
            / max(1, alpha * kappa * abs(delta) * norm),
            "‖z‖₁ is the sum of |zᵢ|, not √Σ zᵢ²": alpha
            / max(1, alpha * kappa * error * np.linalg.norm(z)),
            "Σ zᵢ without absolute values": alpha / max(1, alpha * kappa * error * z.sum()),
            "the bound alone: α is to be divided by it": max(1, alpha * kappa * error * norm),
        }
        if not lines:
            what = f"{where} the step size it returns"
            lines += judge.values(what, got, step, suspects=suspects)
        if not lines and z.any() and np.array_equal(arrays[0], w):
            lines = ["obgd_step leaves w as it was: change it in place, w += …"]
        known = {
            "this is α; the step is α_eff": w + alpha * delta * z,
            "δ is missing": w + step * z,
            "δ counts with its sign": w + step * abs(delta) * z,
            "this goes down where it must go up": w - step * delta * z,
        }
        lines += judge.values(f"{where} w", arrays[0], right, suspects=known)
        lines = lines or judge.values(f"{where} z, which must stay,", arrays[1], z)
        if lines:
            return lines
    return lines


def td_lambda(ask, rng, c):
    """A stream of transitions with an end and a cut in it, a linear value function."""
    # α so small that the bound mostly does not bite: where it does, z may be of any size
    numbers, floor, T = (0.9, float(rng.uniform(0.5, 0.9)), 0.1, 2.0), c["floor"], 8
    while True:  # until each known mistake shows
        start, whole = transitions(rng, T)
        right = learn(start, whole, numbers, floor)
        guesses = [learn(start, whole, numbers, floor, slip) for slip in SLIPS.values()]
        if not any(judge.close(guess, right) for guess in guesses):
            break
    for t in (0, 1, 3, 4, 5, 6, 7):
        stream = tuple(column[: t + 1] for column in whole)
        got = ask("plain", "td_lambda", start, *stream, *numbers)
        right = learn(start, stream, numbers, floor)
        suspects = {
            words: learn(start, stream, numbers, floor, slip) for words, slip in SLIPS.items()
        }
        where = f"td_lambda after {t + 1} transition{'s' if t else ''}{NOTES.get(t, '')}: w"
        if isinstance(got, np.ndarray) and np.array_equal(got, start):
            return [
                f"{where} has not moved: is every transition used, does the trace take the gradient"
                " before the step, and do accumulate and obgd_step change their arrays in place?"
            ]
        lines = judge.values(where, got, right, suspects=suspects)
        if lines:
            return lines
    return []


def transitions(rng, T):
    """Draw w and a stream with an end and a cut in it; small numbers, so that δ is below 1.

    An error above 1 moves w as far as one of 1 with the same sign.
    """
    d = 4
    xs, following, rewards = rng.normal(size=(T, d)), rng.normal(size=(T, d)), rng.normal(size=T)
    ends, cuts = np.zeros(T, bool), np.zeros(T, bool)
    ends[3], cuts[5], ends[6], cuts[6] = True, True, True, True
    return 0.1 * rng.normal(size=d), (xs, 0.2 * rewards, following, ends, cuts)


def learn(w, stream, numbers, floor, slip=""):
    """Learn by TD(λ) from transitions, right or with one mistake of :data:`SLIPS`."""
    gamma, lam, alpha, kappa = numbers
    decay, z = {"gamma": gamma, "lam": lam}.get(slip, gamma * lam), np.zeros_like(w)
    for x, reward, following, end, cut in zip(*stream, strict=True):
        if slip == "order":  # the step along the trace of the transition before
            before = z
        gone = {"merged": end or cut, "endless": False}.get(slip, end)
        delta = error(reward, gamma, gone, w @ x, w @ following)
        new = following if slip == "next" else x
        sums = {"double": decay * z + 2 * new, "both": decay * (z + new)}
        sums |= {"mean": decay * z + (1 - decay) * new}
        z = sums.get(slip, decay * z + new)
        if slip == "early" and (end or cut):
            z = np.zeros_like(w)
        w, _ = bounded(w, before if slip == "order" else z, delta, alpha, kappa, floor)
        kept = {"never": True, "cut": not cut, "end": not end, "either": end == cut}
        if (end or cut) and not kept.get(slip, False):
            z = np.zeros_like(w)
    return w


SLIPS = {
    "the trace decays by γλ; this is γ": "gamma",
    "the trace decays by γλ; this is λ": "lam",
    "the trace takes the gradient whole, not twice": "double",
    "the gradient comes in whole; only the old trace decays": "both",
    "the gradient comes in whole, not by 1 − γλ": "mean",
    "the trace takes the gradient at s, not at s′": "next",
    "the trace takes the gradient before the step": "order",
    "the trace starts again after the step of an episode's end, not before it": "early",
    "the episode has ended: the trace starts again from zero": "never",
    "a truncation ends the episode too: the trace starts again from zero": "end",
    "a termination ends the episode too: the trace starts again from zero": "cut",
    "an episode may be terminated and truncated at once: then it has ended too": "either",
    "truncation does not make v(s′) worth nothing": "merged",
    "after termination v(s′) is worth nothing": "endless",
}


NOTES = {
    0: " (the trace is the gradient alone)",
    3: " (the last one terminated)",
    4: " (the one before terminated)",
    5: " (the last one was truncated)",
    6: " (the last one terminated and was truncated)",
    7: " (the one before terminated and was truncated)",
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

    from ...swapping import swap

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
