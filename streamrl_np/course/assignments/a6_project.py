"""a6: a recurrent cell of the student's own, judged by differences of its own forward pass."""

# n units, d inputs, T steps, F features, N parameters

import numpy as np

from .. import judge
from ..tasks import Assignment, Task

STEP = 1e-3
N, D, T = 3, 2, 6


def interface(ask, rng, c):
    """Are all functions there, do shapes agree, are two runs alike?"""
    facts = ask("cell_facts", N, D, int(rng.integers(1 << 30)))
    xs = rng.normal(size=(T, D))
    flat, F = facts["flat"], facts["features"]
    if flat.size < 2:
        return ["layout: a cell needs parameters"]
    once, again = (ask("cell_features", flat[None], N, D, xs)[0] for _ in range(2))
    if once.shape != (T, F):
        return [f"advance: y must have feature_count(n) = {F} entries, it has {once.shape[-1]}"]
    if not np.array_equal(once, again):
        return ["advance: two runs from a state of zeros differ: is something kept outside state?"]
    return [] if np.isfinite(once).all() else ["advance: the features are not finite"]


def peek(ask, rng, c):
    """Is ``peek`` what ``advance`` would give, and changes nothing?"""
    flat = ask("cell_facts", N, D, int(rng.integers(1 << 30)))["flat"]
    xs = rng.normal(size=(T, D))
    peeked, advanced = ask("cell_peeks", flat, N, D, xs)
    return judge.values("peek (beside what advance then gives)", peeked, advanced)


def differences(ask, flat, xs, gys):
    """Differentiate Σ gy · y by every parameter, with an error of the sixth order."""
    coefficients = {1: 45.0, 2: -9.0, 3: 1.0}
    rows = [
        flat + k * s * STEP * e for e in np.eye(flat.size) for k in coefficients for s in (1, -1)
    ]
    y = np.concatenate(
        [ask("cell_features", np.array(part), N, D, xs) for part in np.array_split(rows, 8)]
    )
    losses = np.sum(y * gys, (1, 2)).reshape(flat.size, 3, 2)
    weights = np.array(list(coefficients.values()))
    return (losses[:, :, 0] - losses[:, :, 1]) @ weights / (60.0 * STEP)


def gradient(ask, rng, c):
    """RTRL over T steps against differences of the student's own forward pass."""
    facts = ask("cell_facts", N, D, int(rng.integers(1 << 30)))
    flat = facts["flat"] + 0.1 * rng.normal(size=facts["flat"].size)
    xs = rng.normal(size=(T, D))
    lines = []
    for steps in 1, 2, T:
        gys = rng.normal(size=(steps, facts["features"]))
        right = differences(ask, flat, xs[:steps], gys)
        got = ask("cell_gradient", flat, N, D, xs[:steps], gys)
        wrong = judge.unfit("the gradient", got, right)
        if wrong:
            return wrong
        scale = max(np.max(np.abs(right)), 1e-3)
        off = np.abs(got - right) / scale
        if np.max(off) > 1e-6:
            worst = int(np.argmax(off))
            name = ask("cell_name", N, D, worst)
            over = f"over {steps} step{'s' if steps > 1 else ''}"
            lines.append(
                f"the gradient {over}: {name} is {got[worst]:.6g},"
                f" differences say {right[worst]:.6g}"
            )
            return lines
    return lines


def memory(ask, rng, c):
    """Does the last output depend on the first input?"""
    flat = ask("cell_facts", N, D, int(rng.integers(1 << 30)))["flat"]
    xs = rng.normal(size=(T, D))
    other = xs.copy()
    other[0] += 1.0
    last = [ask("cell_features", flat[None], N, D, x)[0, -1] for x in (xs, other)]
    if np.max(np.abs(last[0] - last[1])) < 1e-6:
        return [f"the output of step {T} does not depend on the input of step 1: no memory"]
    return []


SHEET = Assignment(
    "a6",
    "a6_project",
    "A cell of your own",
    (
        Task("interface", 2, interface),
        Task("peek", 1, peek, needs=("interface",)),
        Task("gradient", 6, gradient, needs=("interface",)),
        Task("memory", 1, memory, needs=("interface",)),
        Task("derivation", 4, None),
        Task("comparison", 6, None),
    ),
    tuple(
        f"cells.{name}.{function}"
        for name in ("rtu", "rtu_nonlinear", "mingru", "gru")
        for function in ("advance", "vjp")
    ),
)
