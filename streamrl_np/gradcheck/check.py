"""One function: a hand-written derivative against differences, entry by entry.

L = Σ Re(conj(g) f(inputs)) with a random g is a real function of the inputs, and the vjp
claims its gradient. Before a number is compared, function and derivative are asked twice:
neither may change what it is given, nor answer differently the second time.
"""

import dataclasses
import numbers
import time

import numpy as np

from . import compare
from .inputs import (
    InputError,
    Inputs,
    listed_outputs,
    pull_back,
    random_like,
    require_kind,
    shapes,
)
from .loss import make_loss
from .report import Report

TOLERANCE = {np.dtype("f4"): 2e-3, np.dtype("f8"): 1e-9}
WIDE_TOLERANCE = 1e-12  # for inputs in extended precision
STREAM = 0x6772  # keeps our draws apart from those of a caller with the same seed
KINDS = ("vjp", "gradient", "jacobian")


@dataclasses.dataclass(frozen=True)
class Problem:
    """A derivative to check: what :func:`check` takes, as data."""

    f: object
    derivative: object
    inputs: object
    kind: str = "vjp"
    claim: str = ""
    suspects: dict = dataclasses.field(default_factory=dict)
    factors: dict = dataclasses.field(default_factory=dict)


def check(f, derivative, inputs, kind="vjp", *, claim="", suspects=None, factors=None, **options):
    """Check a hand-written derivative against differences.

    Parameters
    ----------
    f : callable
        Takes the inputs, returns an array (real or complex) or a tuple of arrays.
    derivative : callable
        As ``kind`` says. What it returns for a complex input holds ∂L/∂Re + i ∂L/∂Im. For one
        input an array, for several a tuple, a dict or a Views; None for an input for which
        nothing is claimed.
    inputs : ndarray, tuple, dict or Views
        Where to check. Their dtype sets the tolerance.
    kind : {"vjp", "gradient", "jacobian"}
        ``derivative(g, *inputs)`` pulls g = ∂L/∂f back (one g for each output);
        ``derivative(*inputs)`` is the gradient of a scalar f; ``derivative(*inputs)`` is
        ∂f/∂input of shape f.shape + input.shape, for a complex input in the sense of
        df = J · dinput.
    claim : str
        For what is deliberately not the gradient of everything: what it claims to be.
    suspects : dict
        Words to a derivative with a known mistake; one that fits a failing claim is named.
    factors : dict
        Words to an array that may be missing as a factor.
    **options
        As in :func:`check_problem`: name, tolerance, entries, directions, seed.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If an input is not an array of floats, the function returns no array of numbers, or
        ``kind`` or an option is none that there is.

    Examples
    --------
    >>> import numpy as np
    >>> check(np.sin, lambda g, x: g * np.cos(x), np.array([0.5, 2.0])).ok
    True
    """
    suspects, factors = suspects or {}, factors or {}
    return check_problem(Problem(f, derivative, inputs, kind, claim, suspects, factors), **options)


def check_problem(problem, name=None, tolerance=None, entries=256, directions=4, seed=0):
    """Check a :class:`Problem`.

    Parameters
    ----------
    problem : Problem
    name : str, optional
        What the report calls it.
    tolerance : float, optional
        The error that fails; when not given 1e-9 for float64, 2e-3 for float32 and
        1e-12 for extended precision.
    entries : int
        Inputs with more elements are sampled: this many, a half the largest, a half at random.
    directions : int
        Random directions for each sampled input.
    seed : int

    Returns
    -------
    Report

    Raises
    ------
    InputError
        For inputs, an output or an option that cannot be what it is.
    """
    start = time.perf_counter()
    name = name or getattr(problem.derivative, "__name__", "derivative")
    if problem.kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, got {problem.kind!r}")
    inputs = Inputs(problem.inputs, problem.f)
    for option, value, least in (
        ("entries", entries, 1),
        ("directions", directions, 0),
        ("seed", seed, 0),
    ):
        if not isinstance(value, numbers.Integral) or value < least:
            raise InputError(f"{option} must be a whole number, at least {least}, got {value!r}")
    if tolerance is None:
        tolerance = TOLERANCE.get(inputs.dtype, WIDE_TOLERANCE)
    elif not isinstance(tolerance, numbers.Real) or not tolerance > 0:
        raise InputError(f"tolerance must be a number above 0, got {tolerance!r}")
    rng = np.random.default_rng([seed, STREAM])
    examined = examine(problem, inputs, rng, tolerance)
    parameters, notes = (), tuple(examined.notes)
    if not examined.problems:
        loss = make_loss(problem.f, inputs, examined.gs, examined.ys)
        if np.isfinite(loss.value):
            parameters = compare.compare(
                loss, examined, problem, inputs, rng, tolerance, entries, directions
            )
            notes += loss.notes + compare.blind_spots(parameters, tolerance)
        else:
            examined.problems.append(f"the function gives {float(loss.value)} here")
    problems, seconds = tuple(examined.problems), time.perf_counter() - start
    return Report(name, parameters, tolerance, problems, problem.claim, notes, seconds)


@dataclasses.dataclass
class Examined:
    """What calling a function and its derivative a few times tells."""

    ys: list = None  # the outputs
    gs: list = None  # ∂L/∂output, one array an output
    pull: object = None  # the derivative as a vjp: pull(*gs, *inputs)
    claimed: list = None  # a gradient for each input, or None
    problems: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)

    def problem(self, words):
        """Note a problem, once."""
        if words not in self.problems:
            self.problems.append(words)


def examine(problem, inputs, rng, tolerance):
    """Call function and derivative at the inputs and collect what is wrong with the answers."""
    found = Examined()
    found.ys = ys = listed_outputs(ask_twice("the function", problem.f, inputs, [], found))
    found.gs = random_like(rng, ys)
    if problem.kind == "gradient":
        if sum(y.size for y in ys) != 1:
            found.problem(f"only a scalar has a gradient, the function gave {shapes(ys)}")
            return found
        if np.iscomplexobj(ys[0]):
            found.problem(
                "the function is complex, and only a real one has a gradient: take .real, or say"
                " kind='jacobian'"
            )
            return found
        found.gs = [np.ones_like(y) for y in ys]
    if problem.kind == "jacobian" and len(ys) != 1:
        found.problem(f"a jacobian is checked for one output, the function gave {shapes(ys)}")
        return found
    require_kind(problem.derivative, problem.kind, inputs, found.gs)
    found.pull = pull_back(problem.derivative, problem.kind, inputs)
    try:
        gradients = ask_twice("the derivative", found.pull, inputs, found.gs, found)
    except InputError as error:
        found.problem(str(error))
        return found
    found.claimed = read(gradients, inputs, found)
    if problem.kind == "vjp" and not found.problems:
        require_linear(inputs, tolerance, found)
    return found


def ask_twice(what, function, inputs, gs, found):
    """Call twice on fresh copies; note changed arguments and a second answer that differs."""
    answers = []
    for _ in range(2):
        arrays, given = inputs.native(), [g.copy() for g in gs]
        result = inputs.call(function, arrays, *given)
        for name in inputs.changed(arrays):
            found.problem(f"{what} changes its input {name} in place")
        if not all(np.array_equal(a, b) for a, b in zip(given, gs, strict=True)):
            found.problem(f"{what} changes the incoming gradient g in place")
        try:
            arrays = [None if a is None else np.array(a) for a in inputs.flat_list(result)]
        except ValueError as error:  # rows of different lengths
            raise InputError(f"what {what} returns makes no arrays: {error}") from None
        answers.append(arrays)
    one, other = answers
    if len(one) != len(other) or not all(map(same, one, other)):
        found.problem(
            f"{what} gives two answers to one question: it draws at random,"
            " or keeps something from one call to the next"
        )
    return result


def same(a, b):
    """Tell whether two answers are the same, NaN for NaN and None for None."""
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def read(gradients, inputs, found):
    """List the gradients that were claimed, noting each that cannot belong to its input."""
    if gradients is None:
        found.problem("the derivative returned None: is a return missing?")
        return []
    try:
        claimed = inputs.listed(gradients)
    except InputError as error:
        found.problem(str(error))
        return []
    claimed = [None if c is None else np.array(c) for c in claimed]
    for name, array, c in zip(inputs.names, inputs.arrays, claimed, strict=True):
        if c is None:
            found.notes.append(f"Nothing is claimed for {name}, so nothing was checked.")
        elif c.shape != array.shape:
            turned = "; is it transposed?" if c.shape == array.shape[::-1] else ""
            found.problem(f"the gradient of {name} has shape {c.shape}, not {array.shape}{turned}")
        elif c.dtype.kind not in "biufc":
            found.problem(f"the gradient of {name} holds what is no number: its dtype is {c.dtype}")
        elif np.iscomplexobj(c) != np.iscomplexobj(array):
            found.problem(
                f"the gradient of {name} is complex, {name} is real: is a real part missing?"
                if np.iscomplexobj(c)
                else f"the gradient of {name} is real, {name} is complex: ∂L/∂Im is missing"
            )
        elif c.dtype.itemsize < array.dtype.itemsize:
            found.notes.append(f"The gradient of {name} is {c.dtype}, {name} is {array.dtype}.")
    return claimed


def require_linear(inputs, tolerance, found):
    """Note a vjp for which −2 g does not give −2 times the gradient."""
    doubled = inputs.call(found.pull, inputs.native(), *[-2 * g for g in found.gs])
    for name, c, twice in zip(inputs.names, found.claimed, inputs.listed(doubled), strict=True):
        if c is not None and np.isfinite(c).all():
            off = np.max(np.abs(np.asarray(twice) + 2 * c), initial=0)
            if not off <= 10 * tolerance * np.max(np.abs(c), initial=0):
                found.problem(f"the vjp is not linear in g: −2 g does not scale ∂L/∂{name} by −2")
