"""Hints: patterns in a wrong gradient that tell what was forgotten.

A pattern is named only where it fits every entry that was checked, to six digits.
"""

import numpy as np

from .inputs import pull_back

LIKE = 1e-6  # how well a pattern must fit, relative to the largest entry


def find(target, problem, inputs, examined, tolerance):
    """List at most two hints for a failing input, the most telling first.

    Parameters
    ----------
    target : streamrl_np.gradcheck.compare.Target
    problem : streamrl_np.gradcheck.check.Problem
    inputs : streamrl_np.gradcheck.inputs.Inputs
    examined : streamrl_np.gradcheck.check.Examined
    tolerance : float

    Returns
    -------
    tuple of str
    """
    claimed, expected = elements(target, target.claimed), elements(target, target.expected)
    if not np.isfinite(target.gradient).all():
        everything = elements(target, target.gradient)
        count = int((~np.isfinite(everything)).sum())
        return (f"{count} of {everything.size} entries of the claim are not finite",)
    if not np.isfinite(target.expected).all():
        return ()
    if like(claimed, expected):  # so close that every pattern of the gradient fits
        return tuple([*places(target, tolerance), *digits(target, tolerance)])[:2]
    found = [
        *suspects(target, problem, inputs, examined, claimed),
        *whole(claimed, expected),
        *turned(target, claimed, expected),
        *factors(target, problem, inputs, claimed, expected),
        *terms(target, problem, inputs, claimed, expected),
        *shifted(target, claimed, expected),
        *places(target, tolerance),
        *digits(target, tolerance),
    ]
    return tuple(dict.fromkeys(found))[:2]


def elements(target, real):
    """Join the real and imaginary entries of a complex input again."""
    return np.ascontiguousarray(real).view(np.clongdouble) if target.complex else real


def like(a, b):
    """Tell whether two arrays are the same but for rounding."""
    size = max(np.max(np.abs(a), initial=0), np.max(np.abs(b), initial=0))
    return 0 < size < np.inf and np.max(np.abs(a - b), initial=0) <= LIKE * size


def suspects(target, problem, inputs, examined, claimed):
    """Name the known mistakes that give the very numbers claimed."""
    for words, derivative in problem.suspects.items():
        pull = pull_back(derivative, problem.kind, inputs)
        try:
            gradients = inputs.call(pull, inputs.native(), *examined.gs)
            guess = dict(zip(inputs.names, inputs.listed(gradients), strict=True))[target.name]
            fits = guess is not None and like(claimed, pick(target, guess))
        except Exception as error:  # a suspect must not cost the report
            yield f"the suspect {words!r} stops with {type(error).__name__}: {error}"
            continue
        if fits:
            yield f"these are the numbers of a known mistake: {words}"


def pick(target, array):
    """Take the checked elements out of an array of the input's shape."""
    at = target.at[::2] // 2 if target.complex else target.at
    return np.asarray(array).ravel()[at]


def whole(claimed, expected):
    """Patterns that hold for the gradient as a whole."""
    if not claimed.any():
        yield "the claim is zero everywhere: was it ever written?"
        return
    if like(claimed, -expected):
        yield "the sign is flipped"
    elif np.iscomplexobj(claimed):
        yield from complex_patterns(claimed, expected)


def complex_patterns(claimed, expected):
    """Patterns of complex gradients."""
    if like(claimed, expected.conj()):
        yield "a conjugate is missing (or one too many): the imaginary parts have the wrong sign"
    elif like(claimed, -expected.conj()):
        yield "a conjugate is missing, and the sign is flipped"
    elif like(claimed, expected.real):
        yield "the imaginary part, ∂L/∂Im, is missing"
    elif like(claimed, 1j * expected) or like(claimed, -1j * expected):
        yield "a factor i is missing (or one too many): real and imaginary parts are exchanged"
    elif like(claimed, 1j * expected.conj()) or like(claimed, -1j * expected.conj()):
        yield "real and imaginary parts are exchanged"


def turned(target, claimed, expected):
    """The gradient of a square matrix, transposed."""
    square = len(target.shape) == 2 and target.shape[0] == target.shape[1] > 1
    if square and not target.sampled and like(claimed, transposed(target, expected)):
        yield "it is transposed"


def transposed(target, vector):
    """Lay a square matrix out by columns."""
    return vector.reshape(target.shape).T.ravel()


def factors(target, problem, inputs, claimed, expected):
    """A factor that is missing or one too many: a number, or an array known here."""
    mask = np.abs(expected) > 0.01 * np.max(np.abs(expected), initial=0)
    if not mask.any() or not claimed.any():
        return
    ratios = claimed[mask] / expected[mask]
    ratio = np.median(ratios.real)
    if like(claimed, ratio * expected) and abs(ratio - 1) > 10 * LIKE:
        guess = number(ratio, inputs)
        named = (
            () if guess or expected.size > 1 else known(target, problem, inputs, claimed, expected)
        )
        words = f"a constant factor: claimed = {float(ratio):.7g} × expected{guess}"
        if abs(ratio + 1) > LIKE:
            yield next(iter(named), words)  # of a single number any factor is a constant
        return
    yield from known(target, problem, inputs, claimed, expected)


def known(target, problem, inputs, claimed, expected):
    """A factor that is missing or one too many: an array known here."""
    for words, array in candidates(problem, inputs):
        for factor in spread(array, target):
            with np.errstate(all="ignore"):
                if like(claimed * factor, expected):
                    yield f"a factor {words} is missing"
                    return
                if like(claimed * factor, -expected):
                    yield f"a factor {words} is missing, and the sign is flipped"
                    return
                if like(claimed, expected * factor):
                    yield f"a factor {words} too many"
                    return


def terms(target, problem, inputs, claimed, expected):
    """A term that is missing, proportional to an array known here."""
    missing = expected - claimed
    largest = np.max(np.abs(missing), initial=0)
    if claimed.size < 3 or largest <= LIKE * np.max(np.abs(expected), initial=0):
        return
    for words, array in candidates(problem, inputs):
        for term in spread(array, target):
            size = np.vdot(term, term).real
            if size > 0 and np.isfinite(size):
                ratio = np.vdot(term, missing) / size
                if like(ratio * term, missing):
                    yield f"a term is missing: {complex_words(ratio)} × {words}"
                    return


def number(ratio, inputs):
    """Say what a constant ratio may stand for."""
    lengths = {n for array in inputs.arrays for n in array.shape if n > 1}
    for n in sorted(lengths):
        for value, words in ((1.0 / n, f"1/{n}: a mean for a sum"), (n, f"{n}: a sum for a mean")):
            if abs(ratio - value) < LIKE * value:
                return f" = {words}? {n} is the length of an axis"
    for value, words in ((2, "2"), (0.5, "1/2: is the 2 of a square missing?")):
        if abs(ratio - value) < LIKE:
            return f" = {words}"
    return ""


def candidates(problem, inputs):
    """Name arrays that are often factors: the inputs and simple functions of them."""
    yield from problem.factors.items()
    for name, array in zip(inputs.names, inputs.arrays, strict=True):
        if np.iscomplexobj(array):
            with np.errstate(all="ignore"):
                turned_back = array.conj() / array
            yield from ((name, array), (f"conj({name})", array.conj()))
            yield f"conj({name})/{name} (for {name} belongs conjugated)", turned_back
            continue
        with np.errstate(all="ignore"):
            yield from ((name, array), (f"exp({name})", np.exp(array)), (f"{name}²", array**2))
            yield from ((f"exp(−{name})", np.exp(-array)), (f"(1 − {name}²)", 1 - array**2))


def spread(array, target):
    """Broadcast a factor to the checked entries: along the first or along the last axis."""
    array = np.asarray(array)
    seen = []
    columns = array.reshape(array.shape + (1,) * max(len(target.shape) - array.ndim, 0))
    for shaped in (columns, array):
        if (array.size > 1 or target.size == 1) and not any(shaped is s for s in seen):
            try:
                yield pick(target, np.broadcast_to(shaped, target.shape))
            except ValueError:
                continue
            seen.append(shaped)


def shifted(target, claimed, expected):
    """The right numbers one place off, or with a constant added."""
    if claimed.size > 2 and not target.sampled:
        a, b = claimed.reshape(target.shape), expected.reshape(target.shape)
        for axis, length in enumerate(target.shape):
            for by in (1, -1):
                if length > 1 and like(np.roll(a, by, axis), b):
                    yield f"every entry stands one place off along axis {axis}"
                    return
        if like(a[::-1], b):
            yield "the order along axis 0 is reversed"
    difference = claimed - expected
    if claimed.size > 2 and like(difference, np.full_like(difference, difference.mean())):
        yield f"a constant is added: claimed = expected + {complex_words(difference.mean())}"


def complex_words(value):
    """Write a real or complex number with six digits."""
    return f"{complex(value):.6g}" if np.iscomplexobj(value) else f"{float(value):.6g}"


def places(target, tolerance):
    """Errors that sit in some of the entries only."""
    wrong = np.abs(target.claimed - target.expected) > tolerance * target.scale
    if target.complex and wrong[::2].any() != wrong[1::2].any():
        part = "real" if wrong[::2].any() else "imaginary"
        yield f"only the {part} parts are wrong"
    at = np.unique(target.at[wrong] // 2) if target.complex else target.at[wrong]
    if 0 < wrong.sum() < wrong.size and target.shape:
        rows = np.unravel_index(at, target.shape)
        for axis, places_ in enumerate(map(np.unique, rows)):
            if target.shape[axis] > 1 and len(places_) == 1 and len(at) > 1:
                yield f"only entries with index {places_[0]} along axis {axis} are wrong"
                return
        yield f"{int(wrong.sum())} of {wrong.size} entries are wrong, the others right"


def digits(target, tolerance):
    """Errors that are small beside the entries that they are in."""
    error = np.abs(target.claimed - target.expected)
    wrong = error > tolerance * target.scale
    sizes = np.fmax(np.abs(target.claimed), np.abs(target.expected))
    worst = float(np.max(error[wrong] / sizes[wrong], initial=0))  # beside its own entry
    if 1e-8 < worst < 3e-6:
        yield "right to about seven digits: is something computed in float32?"
    elif 0 < worst <= 1e-2:
        yield (
            f"nearly right, to {worst:.0e}: a small constant (an ε) in the wrong place or a"
            " forgotten small term does this"
        )
