"""A recurrent cell over a sequence with resets inside, differentiated in four independent ways.

1. The library's sensitivities, carried forward (RTRL).
2. Backpropagation through time, with the twin's own vjp.
3. Differences of the library's forward function, in extended precision.
4. Complex steps through the twin's forward function.

Each gives ∂ℓ_t/∂p for every step t, where ℓ_t = g_t · y_t. Where one of them departs from the
other three, the report names it, the parameter and the first step.
"""

# n units, d inputs, T steps, N real parameters

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from ..arrays import Views, real_size
from ..cells import CELLS
from . import differences, twins
from .compare import SMALL
from .report import FAIL, PASS, Divergence, Entry, Parameter, Report, relative_error, worst_of

EXACT = 1e-12  # RTRL, BPTT and complex steps differ by rounding alone
DIFFERENCES = 1e-9
WORDS = {
    "rtrl": "the sensitivities (RTRL)",
    "bptt": "backpropagation through time",
    "differences": "differences",
    "complex_step": "complex steps",
}


@dataclasses.dataclass
class Sequence:
    """One cell with its parameters, and T steps.

    Attributes
    ----------
    name : str
        The cell's.
    n : int
        Units.
    p : Views
    xs : (T, d) ndarray
    gs : (T, features) ndarray
        g_t = ∂ℓ_t/∂y_t.
    starts : tuple of int
        Steps that an episode begins with, 0 among them.
    mode : {"rtrl", "tbptt1"}
        What is claimed: the whole past, or one step with the state before it held still.
    """

    name: str
    n: int
    p: Views
    xs: np.ndarray
    gs: np.ndarray
    starts: tuple
    mode: str = "rtrl"

    def state(self, mode, dtype=np.float64):
        """Make a zero state of the library's cell."""
        return Views(CELLS[self.name].state_layout(self.n, self.xs.shape[1], mode), dtype)

    def twin(self):
        """Find the cell's twin; returns (twin, its zero state)."""
        twin = twins.twin(self.name)
        return twin, np.zeros(twin.parts * self.n)


class Ways(NamedTuple):
    """∂ℓ_t/∂p in four ways, (T, N) each."""

    rtrl: np.ndarray
    bptt: np.ndarray
    differences: np.ndarray
    complex_step: np.ndarray


def by_rtrl(s):
    """Differentiate by the library's sensitivities."""
    return np.array([row.copy() for row in gradients_by_rtrl(s, s.p.like())])


def gradients_by_rtrl(s, grad):
    """Walk through the sequence; yields ``grad.flat``, overwritten with ∂ℓ_t/∂p at each step."""
    cell, state = CELLS[s.name], s.state(s.mode)
    for t, (x, g) in enumerate(zip(s.xs, s.gs, strict=True)):
        if t in s.starts:
            state.flat[:] = 0
        cell.vjp(s.p, state, cell.advance(s.p, state, x, s.mode), g, grad)
        yield grad.flat


def twin_states(s, p):
    """Run the twin; returns the state before each step."""
    twin, zero = s.twin()
    h, before = zero, []
    for t, x in enumerate(s.xs):
        h = zero if t in s.starts else h
        before.append(h)
        h, _ = twin.step(p, h, x)
    return before


def by_bptt(s):
    """Differentiate by walking back from each step to its episode's start."""
    p, rows = twins.split(s.p), []
    before = twin_states(s, p)
    for t, g in enumerate(s.gs):
        only_last = np.zeros_like(s.gs)
        only_last[t] = g
        rows.append(walk_back(s, p, before, t, only_last))
    return np.array(rows)


def sum_by_bptt(s):
    """Differentiate Σ ℓ_t through the whole past, (N,), by one walk back through each episode."""
    p, ends = twins.split(s.p), [*(start - 1 for start in s.starts if start), len(s.xs) - 1]
    before = twin_states(s, p)
    return sum(walk_back(s, p, before, end, s.gs) for end in ends)


def walk_back(s, p, before, end, gs):
    """Pull ``gs`` (T, features) back from step ``end``: ∂(Σ gs_t · y_t)/∂p, (N,).

    To the start of that step's episode; in mode "tbptt1" through the one step.
    """
    twin, zero = s.twin()
    total = {name: np.zeros_like(array) for name, array in p.items()}
    gh = zero
    for t in range(end, -1, -1):
        grads, gh = twin.vjp(p, before[t], s.xs[t], gh, gs[t])  # (eq. G9)
        for name, array in grads.items():
            total[name] += array
        if t in s.starts or s.mode == "tbptt1":
            break
    return twins.join(total, s.p).flat


def by_differences(s):
    """Differentiate the library's forward function, entry by entry."""
    cell, wide = CELLS[s.name], s.p.copy(np.longdouble)
    z, xs = wide.flat.copy(), s.xs.astype(np.longdouble)
    still, before = s.state("frozen", np.longdouble), []
    for t, x in enumerate(xs):
        if t in s.starts:
            still.flat[:] = 0
        before.append(still.copy())
        cell.advance(wide, still, x, "frozen")

    def losses():
        """Compute every ℓ_t with the parameters as they are in ``wide``."""
        found, state = [], s.state("frozen", np.longdouble)
        for t, (x, g) in enumerate(zip(xs, s.gs, strict=True)):
            if t in s.starts:
                state.flat[:] = 0
            if s.mode == "tbptt1":
                found.append(g @ cell.peek(wide, before[t], x))
            else:
                found.append(g @ cell.advance(wide, state, x, "frozen").y)
        return np.array(found)

    columns, size = [], np.abs(s.gs).sum(1)  # features are no larger than about 1
    for i in range(z.size):

        def phi(step, i=i):
            wide.flat[i] = z[i] + step
            return losses()

        columns.append(differences.derivative(phi, 0.01 * DIFFERENCES * SMALL, size).value)
        wide.flat[i] = z[i]
    return np.array(columns, float).T


def loss_along(s, v):
    """Make φ(step) = Σ ℓ_t with all parameters moved by ``step`` · v, in extended precision."""
    wide, cell = s.p.copy(np.longdouble), CELLS[s.name]
    still, xs = wide.flat.copy(), s.xs.astype(np.longdouble)

    def phi(step):
        wide.flat[:] = still + step * v
        state, total = s.state("frozen", np.longdouble), np.longdouble(0)
        for t, (x, g) in enumerate(zip(xs, s.gs, strict=True)):
            if t in s.starts:
                state.flat[:] = 0
            total += g @ cell.advance(wide, state, x, "frozen").y
        return total

    return phi


def by_complex_step(s):
    """Differentiate the twin's forward function, entry by entry."""
    twin, zero = s.twin()
    p = twins.split(s.p)
    before = twin_states(s, p)
    p = {name: array.astype(complex) for name, array in p.items()}

    def losses(p):
        """Compute every ℓ_t."""
        h, found = zero, []
        for t, (x, g) in enumerate(zip(s.xs, s.gs, strict=True)):
            h = zero if t in s.starts else h
            h, y = twin.step(p, before[t] if s.mode == "tbptt1" else h, x)
            found.append(g @ y)
        return np.array(found)

    return twins.complex_slopes(losses, p, twins.entries(s.p)).T


def check_sequence(s):
    """Differentiate a Sequence in four ways and compare them all.

    Returns
    -------
    Report
        Its ``divergence`` names the way that departs from the others, where and when.
    """
    ways = Ways(by_rtrl(s), by_bptt(s), by_differences(s), by_complex_step(s))
    return compare_ways(ways, s, f"{s.name}, four ways")


def compare_ways(ways, s, name):
    """Compare four gradients of a sequence; returns a Report."""
    scale = scales(ways.complex_step, s.p)
    off = {}  # errors of each pair of ways, (T, N)
    for a, b in itertools.combinations(Ways._fields, 2):
        off[a, b] = relative_error(getattr(ways, a), getattr(ways, b), scale)
    problems, divergence = (), None
    apart = {pair for pair, error in off.items() if not np.all(error <= tolerance(pair))}
    if apart:
        divergence = find_divergence(apart, ways, off, s)
        problems = (divergence.words,)
    parameters = tuple(judge(name, at, ways, off, s) for name, at in columns(s.p))
    return Report(name, parameters, EXACT, problems, divergence=divergence)


def tolerance(pair):
    """Choose how far two ways may be apart."""
    return DIFFERENCES if "differences" in pair else EXACT


def columns(p):
    """List the parameters with the columns of a (T, N) array that are theirs."""
    start = 0
    for name, array in p.items():
        yield name, slice(start, start + real_size(array))
        start += real_size(array)


def scales(expected, p):
    """Compute the least that an error is divided by: a part of each parameter's largest entry."""
    scale = np.zeros_like(expected)
    for _, at in columns(p):
        scale[:, at] = SMALL * largest(expected[:, at])
    return np.maximum(scale, 1e-6 * max(largest(expected), 1e-6))


def largest(array):
    """Find the largest finite size in an array; 0 if there is none."""
    return np.max(np.abs(array), initial=0, where=np.isfinite(array))


def judge(name, at, ways, off, s):
    """Judge one parameter: the library's sensitivities against the other three ways."""
    worst = []
    for pair in (("rtrl", other) for other in Ways._fields[1:]):
        error = off[pair][:, at]
        t, i = np.unravel_index(np.argmax(error), error.shape)
        claimed, expected = ways.rtrl[t, at][i], getattr(ways, pair[1])[t, at][i]
        verdict = PASS if error[t, i] <= tolerance(pair) else FAIL
        where = f"{s.p.name_of(at.start + int(i))}, step {t}"
        numbers = map(float, (claimed, expected, 0.0, error[t, i]))
        worst.append(Entry(where, *numbers, verdict))
    bptt, differences_, complex_step = worst  # if all agree, the closer comparisons say more
    entry = worst_of([bptt, complex_step] if differences_.verdict == PASS else worst)
    shape, size = s.p[name].shape, at.stop - at.start
    return Parameter(name, shape, size, size * len(s.xs), 0, entry, entry.verdict)


def find_divergence(apart, ways, off, s):
    """Name the way that stands alone, and the first step and entry where it does."""
    alone = [w for w in Ways._fields if all(w in pair for pair in apart)]
    exact = {pair for pair in apart if "differences" not in pair}
    if len(alone) == 1 and (len(apart) == 3 or apart == exact):  # too little for differences
        odd = alone[0]
        others = [w for w in Ways._fields if w != odd]
        words = f"the odd one out: {WORDS[odd]}; the other three ways agree"
        others = others if len(apart) == 3 else [w for w in others if w != "differences"]
    elif len(apart) == 4 and not {("rtrl", "differences"), ("bptt", "complex_step")} & apart:
        odd, others = "rtrl", ["complex_step"]
        words = "the library and its twin are different functions, each with its own gradient"
    else:
        odd, others = "rtrl", [w for w in Ways._fields[1:] if ("rtrl", w) in apart] or ["bptt"]
        words = f"no three ways agree; {WORDS[odd]} differ from {WORDS[others[0]]}"
    pairs = [tuple(sorted((odd, w), key=Ways._fields.index)) for w in others]
    error = np.max([off[pair] / tolerance(pair) for pair in pairs], 0)
    t = int(np.argmax((error > 1).any(1)))
    i = int(np.argmax(error[t]))
    entry, claimed = s.p.name_of(i), float(getattr(ways, odd)[t, i])
    expected = float(getattr(ways, others[0])[t, i])
    words += f". First at step {t}, in {entry}: {claimed:.9g}, expected {expected:.9g}"
    if odd == "rtrl":
        words += f"; {reading(t, s)}"
    return Divergence(odd, entry, t, claimed, expected, words)


def reading(t, s):
    """Say what the step at which sensitivities first go wrong tells."""
    if t == 0:
        return "already an episode's first step is wrong: the immediate derivative, or the readout"
    if t in s.starts:
        return "it begins with a new episode: something of the last one is carried into it"
    if t == 1:
        return "the second step is the first wrong one: look at what involves the step before"
    return "the steps before are right"
