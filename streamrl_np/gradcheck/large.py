"""Full size, and single precision: what the small checks in float64 do not show.

At the published size (192 units, 64 features) entries are too many to move one by one. The
sensitivities' gradient is compared with backpropagation through time over 200 steps with two
resets, entry by entry, and with differences along random directions.
"""

# n units, d inputs, T steps

import numpy as np

from ..arrays import name_entry
from . import differences, sequence
from .check import examine
from .compare import SMALL
from .inputs import Inputs
from .report import FAIL, PASS, Entry, Parameter, Report, relative_error, worst_of
from .sequence import DIFFERENCES, EXACT

NOTE = (
    "Every entry beside backpropagation through time (to 1e-12), and all parameters together"
    " beside differences along a random direction (to 1e-9)."
)
SINGLE = 1e-3  # float32 may be this far from float64, of the largest entry: 10⁴ roundings


def full_size_run(make_cell, name, n=192, d=64, steps=200, starts=(0, 67, 131)):
    """Make a function that checks one cell at full size."""

    def run(rng):
        cell, p = make_cell(name, "rtrl", rng, n, d)
        xs = rng.normal(size=(steps, d))
        gs = rng.normal(size=(steps, cell.feature_count(n)))
        s = sequence.Sequence(name, n, p, xs, gs, starts)
        claimed = p.like()
        claimed.flat[:] = sum_by_rtrl(s)
        bptt = p.like()
        bptt.flat[:] = sequence.sum_by_bptt(s)
        parameters = [judge(key, array, bptt[key]) for key, array in claimed.items()]
        parameters.append(look_along(s, claimed.flat, rng))
        return Report("", tuple(parameters), EXACT, notes=(NOTE,))

    return run


def sum_by_rtrl(s):
    """Sum the library's gradients over the steps, keeping only the sum."""
    total, row = np.zeros_like(s.p.flat), s.p.like()
    for gradient in sequence.gradients_by_rtrl(s, row):
        total += gradient
    return total


def judge(name, claimed, expected):
    """Judge one parameter: its entries beside BPTT's."""
    a, b = real(claimed), real(expected)
    error = relative_error(a, b, SMALL * np.max(np.abs(b)))
    i = int(np.argmax(error))
    verdict = PASS if error[i] <= EXACT else FAIL
    numbers = float(a[i]), float(b[i]), 0.0, float(error[i])
    worst = Entry(name_entry(name, claimed, i), *numbers, verdict)
    return Parameter(name, claimed.shape, a.size, a.size, 0, worst, verdict)


def real(array):
    """Lay an array out as real numbers, in float64."""
    wide = np.complex128 if np.iscomplexobj(array) else np.float64
    return np.ascontiguousarray(array, wide).reshape(-1).view(np.float64)


def look_along(s, gradient, rng):
    """Compare the claim with differences along one random direction through all parameters."""
    v = rng.normal(size=gradient.size)
    v /= np.linalg.norm(v)
    claimed, typical = float(gradient @ v), np.linalg.norm(gradient) / np.sqrt(v.size)
    good_enough = 0.01 * DIFFERENCES * typical
    line = differences.derivative(sequence.loss_along(s, v), good_enough, np.abs(s.gs).sum())
    expected, uncertainty = float(line.value), float(line.uncertainty)
    error = abs(claimed - expected) / max(abs(claimed), typical)
    verdict = PASS if error <= DIFFERENCES else FAIL
    worst = Entry("along a direction", claimed, expected, uncertainty, error, verdict)
    return Parameter("all together", (v.size,), v.size, 0, 1, worst, verdict)


def single_precision(problem, rng):
    """Compare a derivative in float32 with itself in float64, at the same float32 numbers.

    Returns
    -------
    Entry
        The worst of all parameters; ``error`` is relative to the parameter's largest entry.
    """
    low = Inputs(problem.inputs, problem.f).cast(np.float32)
    high = low.cast(np.float64)
    examined = examine(problem, low, rng, 1.0)
    gs = [g.astype(np.result_type(g, np.float64)) for g in examined.gs]
    rough, fine = (
        inputs.listed(inputs.call(examined.pull, inputs.native(), *g))
        for inputs, g in ((low, examined.gs), (high, gs))
    )
    peak = max((np.max(np.abs(f), initial=0) for f in fine if f is not None), default=0.0)
    found = []
    for name, a, b in zip(low.names, rough, fine, strict=True):
        if b is None:
            continue
        wide = np.asarray(b)
        a, b = real(a), real(b)
        scale = max(np.max(np.abs(wide), initial=0), SMALL * peak, np.finfo(float).tiny)
        i = int(np.argmax(np.abs(a - b)))
        error = float(abs(a[i] - b[i]) / scale)
        verdict = PASS if error <= SINGLE else FAIL
        where = f"{name_entry(name, wide, i)} in float32"
        found.append(Entry(where, float(a[i]), float(b[i]), 0.0, error, verdict))
    return worst_of(found)
