"""a6: a recurrent cell of the student's own, judged by differences of its own forward pass."""

# n units, d inputs, T steps, F features, N parameters

import itertools
import re
import types

import numpy as np

from ... import arrays, cells, layers
from .. import judge
from ..box.harness import RING, UNWRITTEN
from ..tasks import Assignment, Task

CONSTANTS = {
    "per_unit": ("PER_UNIT = 1", ("PER_UNIT = 2", "PER_UNIT = 3", "PER_UNIT = 4")),
    "length": ("LENGTH = 8", ("LENGTH = 5", "LENGTH = 6", "LENGTH = 10", "LENGTH = 12")),
    "units": ("UNITS = 24", ("UNITS = 16", "UNITS = 20", "UNITS = 28", "UNITS = 32")),
}
STEP = 1e-3
TOLERANCE = 1e-6
SMALL = 1e-3  # a parameter's gradient counts as large as this, beside the largest
LITTLE = 1e-6  # one that is below it is none
DRAWS = 9  # at most, if differences are of no use on one
LEAST = 1e-8  # singular value of features that are not sums of each other, of the greatest
WITHHELD = ("rtu", "rtu_nonlinear", "mingru", "gru")


def lengths(rng):
    """Draw n, d and T."""
    n, d = (int(number) for number in rng.permutation([2, 3, 4])[:2])
    return n, d, int(rng.integers(6, 10))


def interface(ask, rng, c):
    """Are all functions there, do shapes agree, are two runs and all modes alike?"""
    N, D, _ = lengths(rng)
    facts = ask("cell_facts", N, D, int(rng.integers(1 << 30)))
    flat, F = facts["flat"], facts["features"]
    if flat.size < 2:
        return ["layout: a cell needs parameters"]
    each = int(c["per_unit"])
    if each * N != F:
        return [f"feature_count({N}) is {F}; with {each} a unit it must be {each * N}"]
    xs = rng.normal(size=(4 * F, D))
    runs = [ask("cell_features", flat[None], N, D, xs, mode)[0] for mode in ("rtrl", *cells.MODES)]
    if runs[0].shape != (4 * F, F):
        width = runs[0].shape[-1] if runs[0].ndim else 0
        return [f"advance: y must have feature_count(n) = {F} entries, it has {width}"]
    if not np.isfinite(runs[0]).all():
        return ["advance: the features are not finite"]
    if not np.array_equal(runs[0], runs[1]):
        return ["advance: two runs from a state of zeros differ: is something kept outside state?"]
    for mode, run in zip(cells.MODES, runs[1:], strict=True):
        if not judge.close(run, runs[0]):
            return [f'advance: in mode "{mode}" y is another one than in mode "rtrl"']
    sizes = np.linalg.svd(runs[0], compute_uv=False)
    if sizes[-1] <= LEAST * sizes[0]:
        return ["y repeats itself: some feature is always 0, or a sum of others"]
    known = {f"the library's {name}": cells.CELLS[name] for name in WITHHELD}
    known |= {"that of chapter 9": leaky(lambda h: h)}
    known |= {"that of chapter 9 with a tanh behind it": leaky(layers.tanh)}
    return [
        f"this is {words}: a cell of your own is asked for"
        for words, cell in known.items()
        if is_it(cell, flat, xs, runs[0])
    ]


def leaky(squash):
    """Make the book's cell, h ← a h + (1 − a) W x with a = σ(a_logit), y = squash(h)."""

    def advance(p, state, x, mode):
        a = layers.sigmoid(p.a_logit)
        state.h[:] = a * state.h + (1 - a) * (p.W @ x)
        return types.SimpleNamespace(y=squash(state.h.copy()))

    return types.SimpleNamespace(
        layout=lambda n, d: {"a_logit": (n,), "W": (n, d)},
        state_layout=lambda n, d, mode: {"h": (n,)},
        feature_count=lambda n: n,
        advance=advance,
    )


def is_it(cell, flat, xs, ys):
    """Tell whether a known cell has these features with the same parameters.

    The student's layout may name them in another order.
    """
    n = ys.shape[1] // cell.feature_count(1)
    layout = cell.layout(n, xs.shape[1])
    if arrays.size(layout) != flat.size or cell.feature_count(n) != ys.shape[1]:
        return False
    for order in itertools.permutations(layout.items()):
        p = arrays.Views(dict(order), flat=np.array(flat, np.float64))
        state = arrays.Views(cell.state_layout(n, xs.shape[1], "frozen"))
        with np.errstate(all="ignore"):
            if judge.close(ys, [cell.advance(p, state, x, "frozen").y for x in xs]):
                return True
    return False


def peek(ask, rng, c):
    """Is ``peek`` what ``advance`` would give, and changes nothing?"""
    N, D, T = lengths(rng)
    flat = ask("cell_facts", N, D, int(rng.integers(1 << 30)))["flat"]
    xs = rng.normal(size=(T, D))
    peeked, advanced = ask("cell_peeks", flat, N, D, xs)
    before = np.concatenate([np.zeros_like(advanced[:1]), advanced[:-1]])
    suspects = {"this is y of the step before": before}
    return judge.values("peek (beside what advance then gives)", peeked, advanced, None, suspects)


class Kink(Exception):
    """Differences with two steps disagree: a corner of an activation lies in between."""


def differences(loss, at, step=STEP):
    """Differentiate a loss, which takes many points at once, with an error of sixth order."""
    coefficients = {1: 45.0, 2: -9.0, 3: 1.0}
    rows = [at + k * s * step * e for e in np.eye(at.size) for k in coefficients for s in (1, -1)]
    losses = np.concatenate([loss(np.array(part)) for part in np.array_split(rows, 8)])
    losses = losses.reshape(at.size, 3, 2)
    weights = np.array(list(coefficients.values()))
    return (losses[:, :, 0] - losses[:, :, 1]) @ weights / (60.0 * step)


def sure(lines, loss, at, right):
    """Give lines back if differences with another step agree with these; else raise Kink."""
    if lines and near("", differences(loss, at, 0.3 * STEP), right):
        raise Kink
    return lines


def gradient(ask, rng, c):
    """RTRL over T steps, ∂L/∂x and the other modes, against differences of their forward pass."""
    for _ in range(DRAWS):
        try:
            return gradients(ask, rng)
        except Kink:
            continue
    return [
        "the gradient: differences of y tell nothing: it jumps with the parameters, or is rounded;"
        " is something computed in float32?"
    ]


def gradients(ask, rng):
    """Compare all gradients on one draw."""
    N, D, T = lengths(rng)
    facts = ask("cell_facts", N, D, int(rng.integers(1 << 30)))
    flat = facts["flat"] + 0.1 * rng.normal(size=facts["flat"].size)
    xs, gys = rng.normal(size=(T, D)), rng.normal(size=(T, facts["features"]))
    for steps in 1, 2, T:
        x, gy = xs[:steps], gys[:steps]

        def loss(flats, x=x, gy=gy):
            return np.sum(ask("cell_features", flats, N, D, x) * gy, (1, 2))

        found = ask("cell_gradients", flat, N, D, x, gy, "rtrl")
        got = np.sum([one for one, _ in found], 0)
        over = f"over {steps} step{'s' if steps > 1 else ''}"
        if steps == 2:
            turns = any(map(np.iscomplexobj, facts["arrays"].values()))
            look = "carried, and at conjugates" if turns else "carried"
            over += f" (over one it is right: look at what is {look})"
        right = differences(loss, flat)
        lines = compare(f"the gradient {over}", got, right, facts, steps)
        if lines:
            return sure(lines, loss, flat, right)
    idle = without_effect(facts["arrays"], right)
    if idle:
        return [f"y does not depend on the parameter {idle[0]}, after {T} steps either"]
    lines = of_the_input(ask, N, flat, xs, gys, found[-1][1])
    return lines or modes(ask, N, facts, flat, xs, gys)


def without_effect(drawn, right):
    """List the parameters by which the gradient over all steps is nothing beside the others."""
    least = LITTLE * max(np.max(np.abs(right)), 1e-3)
    return [name for name, part in parts_of(drawn, right) if np.max(np.abs(part)) <= least]


def of_the_input(ask, n, flat, xs, gys, got):
    """Compare ∂L/∂x of the last step."""

    def loss(inputs):
        runs = [ask("cell_features", flat[None], n, len(x), [*xs[:-1], x]) for x in inputs]
        return np.array([run[0, -1] @ gys[-1] for run in runs])

    right = differences(loss, xs[-1])
    what = "∂L/∂x, which vjp returns,"
    lines = judge.unfit(what, got, right) or near(what, np.asarray(got), right)
    return sure(lines, loss, xs[-1], right)


def modes(ask, n, facts, flat, xs, gys):
    """Compare the gradients in the two other modes, after the last step."""
    d = xs.shape[1]

    def loss(flats):
        return ask("cell_last_features", flats, flat, n, d, xs) @ gys[-1]

    got = ask("cell_gradients", flat, n, d, xs, gys, "tbptt1")[-1][0]
    what = 'mode "tbptt1", the gradient of the last step alone'
    right = differences(loss, flat)
    lines = sure(compare(what, got, right, facts, 1), loss, flat, right)
    got = ask("cell_gradients", flat, n, d, xs, gys, "frozen")[-1][0]
    if not lines and np.any(got):
        words = "the sensitivities change, or a parameter acts on y beside the state"
        return [f'mode "frozen": from zeros on the gradient must stay zero; it does not: {words}']
    return lines


def compare(what, got, right, facts, steps):
    """Compare a gradient with differences, one parameter after the other, each at its own size."""
    wrong = judge.unfit(what, got, right)
    if wrong:
        return wrong
    lines, least = [], SMALL * max(np.max(np.abs(right)), 1e-3)
    for name, theirs, mine in parts_of(facts["arrays"], got, right):
        ones = 1 + 1j if np.iscomplexobj(mine) else 1.0
        added = "it is added to what was there: write with =, not +="
        scale = max(np.max(np.abs(mine), initial=0.0), least)
        if np.max(np.abs(theirs - mine), initial=0.0) > TOLERANCE * scale:
            suspects = {added: mine + UNWRITTEN * steps * ones}
            lines += judge.values(f"{what}: {name}", theirs, mine, suspects=suspects)
    lines = [re.sub(r", right (?=[-\d])", ", differences say ", line) for line in lines]
    return lines or near(what, got, right)


def parts_of(drawn, *flats):
    """Cut flat vectors into arrays like those drawn, as Views does; (name, array, …) each."""
    start = 0
    for name, a in drawn.items():
        kind = np.complex128 if np.iscomplexobj(a) else np.float64
        end = start + np.size(a) * (2 if kind is np.complex128 else 1)
        if end > flats[0].size:
            return
        whole = (np.array(flat[start:end], np.float64) for flat in flats)
        yield name, *(part.view(kind).reshape(np.shape(a)) for part in whole)
        start = end


def near(what, got, right):
    """Say where two gradients differ by more than differences are off; nothing if they do not."""
    off = np.abs(got - right) / max(np.max(np.abs(right)), 1e-3)
    if np.max(off) <= TOLERANCE:
        return []
    at = int(np.argmax(off))
    return [f"{what} at [{at}] is {judge.beside(got[at], right[at], 'differences say')}"]


def memory(ask, rng, c):
    """Does the last output depend on the first input, and is the retention drawn as asked?"""
    N, D, T = lengths(rng)
    facts = ask("cell_facts", N, D, int(rng.integers(1 << 30)))
    flat, kept, (low, high) = facts["flat"], facts["retention"], RING
    if not np.all((low - 1e-6 <= kept) & (kept <= high + 1e-6)):
        found = ", ".join(f"{r:.3g}" for r in kept)
        return [
            f"retention after init with r_min = {low}, r_max = {high} must lie between them,"
            f" it is {found}"
        ]
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
    tuple(f"cells.{name}.{function}" for name in WITHHELD for function in ("advance", "vjp")),
    CONSTANTS,
)
