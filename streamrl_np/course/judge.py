"""Judge what student code gave, in words a student can act on: which entry, what ratio.

The gradient checker does the work. A value is judged as a gradient too: the right value is the
gradient of a linear function that is made of it, so that the same patterns (a sign, a factor, a
conjugate, one place off) are recognised in both.
"""

import re

import numpy as np

from ..gradcheck import Problem, check_problem
from ..gradcheck.report import FAIL, INCONCLUSIVE
from .box.student import Mistake
from .box.wire import KINDS

TOLERANCE = 1e-8


class Doubtful(RuntimeError):
    """The checker could not decide: no fault of the student, and no points either way."""


def values(what, got, expected, factors=None, suspects=None):
    """Compare an array with the right one.

    Parameters
    ----------
    what : str
        What the lines call it.
    got : object
        Whatever student code returned.
    expected : ndarray or float
    factors : dict, optional
        Words to an array that may be missing as a factor.
    suspects : dict, optional
        Words to what a known mistake gives.

    Returns
    -------
    list of str
        What is wrong, in words; empty when nothing is.
    """
    expected = np.asarray(expected)
    wrong = unfit(what, got, expected)
    if wrong:
        return wrong
    got = np.asarray(got)
    kind = np.complex128 if np.iscomplexobj(expected) else np.float64
    got, expected = got.astype(kind), expected.astype(kind)
    if close(got, expected):
        return []
    known = [words for words, array in (suspects or {}).items() if close(got, array)]
    if known:  # on some numbers two mistakes come to the same
        return [f"{what}: these are the numbers of a known mistake: {'; or: '.join(known)}"]
    if expected.size == 1:
        return [f"{what} is {beside(got.item(), expected.item(), 'right')}"]
    shape = expected.shape
    # anywhere will do, for the function is linear; but ones would look like factors
    at = np.random.default_rng(0).normal(size=shape or (1,)).astype(kind)

    def linear(w):
        return np.sum((np.conj(expected) * w.reshape(shape)).real)

    problem = Problem(
        linear, lambda w: got.reshape(w.shape), {"w": at}, "gradient", factors=factors or {}
    )
    report = check_problem(problem, tolerance=TOLERANCE, directions=1)
    found = lines_of(report, what, "right")
    return found or [f"{what} is wrong"]


def close(got, expected):
    """Tell whether two arrays are the same but for rounding."""
    size = np.max(np.abs(expected), initial=0.0)
    return np.allclose(got, expected, rtol=TOLERANCE, atol=1e-3 * TOLERANCE * size)


def unfit(what, got, expected):
    """List why an object cannot be an array like ``expected``."""
    if got is None:
        return [f"{what} is None: is a `return` missing?"]
    if isinstance(got, tuple | dict | str):
        kind = f"{len(got)} values" if isinstance(got, tuple) else f"a {type(got).__name__}"
        return [f"{what} is {kind}; one array of shape {expected.shape} is wanted"]
    got = np.asarray(got)
    if got.dtype.kind not in KINDS:
        return [f"{what} is not a number that fits an array"]
    if got.shape != expected.shape:
        turned = got.shape == expected.shape[::-1] and got.ndim > 1
        hint = ": is it transposed?" if turned else ""
        return [f"{what} has shape {got.shape}, {expected.shape} is wanted{hint}"]
    if np.iscomplexobj(got) and not np.iscomplexobj(expected):
        return [f"{what} is complex, a real array is wanted: is a real part missing?"]
    if not np.isfinite(got).all():
        return [f"{what} is not finite in {np.sum(~np.isfinite(got))} of {got.size} entries"]
    return []


def flat(what, got, expected):
    """Give a vector that came back as float64, or raise Mistake if it is not like ``expected``."""
    wrong = unfit(what, got, expected) if np.isfinite(got).all() else []
    if wrong:
        raise Mistake(wrong[0])
    return np.array(got, np.float64)


def several(what, got, count):
    """List why an object is not a tuple of ``count`` values."""
    if isinstance(got, tuple) and len(got) == count:
        return []
    given = f"{len(got)} values" if isinstance(got, tuple) else "one value"
    given = "nothing: is a `return` missing?" if got is None else given
    return [f"{what} must return {count} values, it returned {given}"]


def gradient(what, f, pull, inputs, **known):
    """Check a student's vjp against differences of ``f``; lists what is wrong.

    Parameters
    ----------
    what : str
    f : callable
        The right forward function.
    pull : callable
        The student's: ``pull(g, *inputs)``.
    inputs : tuple, dict or Views
    **known : dict
        ``factors`` and ``suspects``, as in :func:`streamrl_np.gradcheck.check`.
    """
    arrays = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)

    names = list(inputs) if isinstance(inputs, dict) else range(1, len(arrays) + 1)

    def called(i):
        """Name one result; if it is the only one, it needs no name."""
        return what if len(arrays) == 1 else f"{what}: result {i + 1}, ∂L/∂{names[i]},"

    def checked(*args, **named):
        """Refuse here what is no gradient at all."""
        claims = pull(*args, **named)
        if claims is None:
            raise Mistake(f"{what} returned nothing: is a `return` missing?")
        claims = list(claims) if isinstance(claims, tuple) else [claims]
        wrong = [] if len(claims) == len(arrays) else several(what, tuple(claims), len(arrays))
        for i, (claim, array) in enumerate(zip(claims, arrays, strict=False)):
            wrong = wrong or unfit(called(i), claim, np.asarray(array))
        if wrong:
            raise Mistake(wrong[0])
        pairs = zip(claims, arrays, strict=True)
        return tuple(np.asarray(c).astype(np.result_type(a, np.float64)) for c, a in pairs)

    problem = Problem(f, checked, inputs, **known)
    report = check_problem(problem, name=what, tolerance=TOLERANCE, entries=64, directions=1)
    return lines_of(report, what, "differences say")


def beside(got, right, words):
    """Write two numbers beside each other, with as many digits as tell them apart."""
    digits = next((d for d in (6, 9, 12) if f"{got:.{d}g}" != f"{right:.{d}g}"), 17)
    return f"{got:.{digits}g}, {words} {right:.{digits}g}"


def lines_of(report, what, reference):
    """Turn a report of the gradient checker into lines for a student."""
    lines = [f"{what}: {problem}" for problem in report.problems]
    for parameter in report.parameters:
        if parameter.verdict != FAIL:
            continue
        entry = parameter.worst
        value = parameter.name == "w"
        name = entry.name.removeprefix("w") if value else entry.name
        gap = ": ∂L/∂" if not value else "" if re.fullmatch(r"\S+|.*: \S+", what) else " at "
        # of a value, w is only where its linear function was looked at, and small errors are as
        # likely large mistakes in small parts of it
        hints = [
            h for h in parameter.hints if not value or not re.search(r"\bw\b|^nearly right", h)
        ]
        hints = "".join(f"; {hint}" for hint in hints)
        numbers = beside(entry.claimed, entry.expected, reference)
        lines.append(f"{what}{gap}{name} is {numbers}{hints}")
    if not lines and report.verdict == INCONCLUSIVE:
        raise Doubtful(str(report))
    return lines
