"""Entry by entry: claimed gradients beside differences, and the one rule that judges them.

An entry's error is |claimed − expected| divided by the larger of the two, where nothing
counts as smaller than a thousandth of the largest entry of its input (eq. G6).

Of an input with many entries some are sampled, and random directions look at the rest. Along
a Gaussian direction an error vector e shows as about ‖e‖/√N, so whatever is not tiny beside
the whole gradient is seen, wherever it hides: a direction misses it with a chance of about
0.93 · tolerance · ‖gradient‖/‖e‖ (eq. G8). What directions cannot see is a wrong entry that
does not count in that norm. Nor do they say where the error is: halving the input does.
Numbers in brackets are equations in docs/derivations.md.
"""

# N real numbers in an input (a complex one is two), k of them checked one by one

import dataclasses
import math

import numpy as np

from ..arrays import name_entry, real_size
from . import hints
from .report import FAIL, INCONCLUSIVE, PASS, Entry, Parameter, gather, worst_of

SMALL = 1e-3  # an entry this much smaller than the largest is held to that one's digits
KINK = 1e-6  # left and right slopes further apart than this, relative to the scale, are two


class Target:
    """One input: what is claimed, what differences say, and what an error is divided by.

    Attributes
    ----------
    at : (k,) int ndarray
        The real entries checked one by one, counted from the input's first.
    claimed, expected, uncertainty, jump, scale : (k,) ndarray
    gradient : (N,) ndarray
        The whole claim, real and imaginary parts one after the other.
    """

    def __init__(self, name, array, claim, start, entries, rng):
        self.name, self.shape, self.start, self.claim = name, array.shape, start, claim
        self.complex = np.iscomplexobj(array)
        wide = np.clongdouble if self.complex else np.longdouble
        self.gradient = np.ascontiguousarray(claim, wide).reshape(-1).view(np.longdouble)
        self.size = self.gradient.size
        sizes = np.where(np.isfinite(claim), np.abs(claim), np.inf)  # what is none comes first
        elements = choose(sizes.ravel(), entries, rng)
        pairs = 2 * elements[:, None] + np.arange(2)
        self.at = pairs.ravel() if self.complex else elements
        self.claimed = self.gradient[self.at]

    @property
    def sampled(self):
        """True when not every entry is checked one by one."""
        return self.at.size < self.size

    def peak(self):
        """Find the largest expected entry."""
        finite = self.expected[np.isfinite(self.expected)]
        return np.max(np.abs(finite), initial=0)


def choose(sizes, entries, rng):
    """Choose the elements to check: all, or as many of the largest as of the rest."""
    everything = np.arange(sizes.size)
    if sizes.size <= entries:
        return everything
    largest = np.argsort(-sizes, kind="stable")[: entries // 2]
    rest = rng.permutation(np.setdiff1d(everything, largest))[: entries - largest.size]
    return np.sort(np.concatenate([largest, rest]))


def compare(loss, examined, problem, inputs, rng, tolerance, entries, directions):
    """Compare every claimed gradient with differences.

    Returns
    -------
    tuple of Parameter
    """
    targets, start = [], 0
    for name, array, claim in zip(inputs.names, inputs.arrays, examined.claimed, strict=True):
        if claim is not None:
            targets.append(Target(name, array, claim, start, entries, rng))
        start += real_size(array)
    for target in targets:
        measure(loss, target, tolerance)
    size = max([loss.size, *(float(t.peak()) for t in targets)])
    floor = max(1e-6 * size, float(np.finfo(np.float64).tiny))
    rounding = 64 * float(np.finfo(inputs.dtype).eps) * size
    parameters = []
    for target in targets:
        found = judge(target, floor, tolerance)
        lines = look_along(loss, target, floor, tolerance, directions, rng)
        failing = gather(e.verdict for e in found) == FAIL
        located = []
        if not failing and gather(e.verdict for e in lines) == FAIL:
            located = locate(loss, target, floor, tolerance)
        verdict = gather(e.verdict for e in found + lines)
        tiny = verdict == PASS and too_small(target, floor, tolerance, rounding)
        if tiny:
            verdict, advice = INCONCLUSIVE, (tiny,)
        elif located:
            words = "the sampled entries are right; halving the input led to "
            advice = (words + located[0].name,)
        elif verdict == FAIL:
            advice = hints.find(target, problem, inputs, examined, tolerance)
        else:
            advice = doubts(target, found, loss.raised) if verdict == INCONCLUSIVE else ()
        sizes = target.shape, target.size, target.at.size, len(lines)
        worst = worst_of(found + lines + located)
        parameters.append(Parameter(target.name, *sizes, worst, verdict, advice))
    return tuple(parameters)


def too_small(target, floor, tolerance, rounding):
    """Say that a gradient is too small for any mistake in it to show; empty if it is not.

    One that is 0, as far as differences can tell, may be claimed as 0 but for rounding.
    """
    largest = max(np.max(np.abs(target.claimed), initial=0), target.peak())
    nothing = np.all(np.abs(target.expected) <= target.uncertainty)
    if (nothing and np.all(np.abs(target.claimed) <= rounding)) or largest > max(
        1e-3, 100 * tolerance
    ) * floor:
        return ""
    return (
        f"the gradient, {float(largest):.1e} at most, is too small beside the function's value:"
        " an error in it would hardly show. Check at another point, or without what adds to it."
    )


def measure(loss, target, tolerance):
    """Differentiate at every chosen entry of ``target``; what looks wrong is looked at again."""
    claims = np.abs(target.claimed[np.isfinite(target.claimed)])
    typical = max(SMALL * np.max(claims, initial=0), 1e-6 * loss.size)
    estimates, errors, one = [], {}, np.longdouble(1)
    for i, (index, claim) in enumerate(zip(target.at, target.claimed, strict=True)):
        good_enough = 0.01 * tolerance * max(np.nan_to_num(abs(claim)), typical)
        found = loss.slope(target.start + index, one, good_enough, claim)
        error = abs(claim - found.value)
        if not error <= tolerance * max(abs(claim), abs(found.value), typical):
            errors[i] = np.nan_to_num(error, nan=np.inf)
        estimates.append(found)
    for i in sorted(errors, key=errors.get, reverse=True):  # until one is wrong for certain
        at, claim = target.start + target.at[i], target.claimed[i]
        allowed = tolerance * max(abs(claim), typical)
        estimates[i] = loss.reconsider(estimates[i], at, one, claim, allowed)
        if certain(target.claimed[i], estimates[i], typical, tolerance):
            break
    for name, field in (("expected", "value"), ("uncertainty",) * 2, ("jump",) * 2):
        setattr(target, name, np.array([getattr(found, field) for found in estimates]))


def certain(claimed, found, least, tolerance):
    """Whether a claim is wrong by more than the tolerance and all doubt together."""
    size = max(abs(claimed), abs(found.value), least)
    return abs(claimed - found.value) > tolerance * size + 3 * found.uncertainty


def judge(target, floor, tolerance):
    """Judge every chosen entry; returns a list of Entry."""
    smallest = max(SMALL * target.peak(), floor)
    sizes = np.fmax(np.abs(target.claimed), np.abs(target.expected))
    target.scale = np.fmax(sizes, smallest)
    t = target
    rows = zip(t.claimed, t.expected, t.uncertainty, t.jump, t.scale, strict=True)
    names = [name_entry(t.name, t.claim, at) for at in t.at]
    return [entry(name, *row, tolerance) for name, row in zip(names, rows, strict=True)]


def entry(name, claimed, expected, uncertainty, jump, scale, tolerance):
    """Judge one number.

    It passes within the tolerance of an expected value that is known well enough, fails
    beyond what both leave open, and is inconclusive between and wherever the slopes to the
    left and to the right differ.
    """
    if not math.isfinite(claimed):
        numbers = map(float, (claimed, expected, uncertainty, math.inf))
        return Entry(name, *numbers, FAIL)
    error, doubt = abs(claimed - expected) / scale, uncertainty / scale  # (eq. G6)
    clear = doubt <= max(math.sqrt(tolerance), error / 100)  # not so with NaN
    if bent(jump, uncertainty, scale) or not clear:
        verdict = INCONCLUSIVE
    elif error <= tolerance and doubt <= tolerance:
        verdict = PASS
    else:
        verdict = FAIL if error > tolerance + 3 * doubt else INCONCLUSIVE
    numbers = map(float, (claimed, expected, uncertainty, error))
    return Entry(name, *numbers, verdict)


def bent(jump, uncertainty, scale):
    """Tell whether the slopes to the left and to the right are two."""
    return abs(jump) > KINK * scale + 10 * uncertainty


def look_along(loss, target, floor, tolerance, directions, rng):
    """Compare along random directions through the whole of a sampled input."""
    if not target.sampled or not np.isfinite(target.gradient).all():
        return []
    lines = []
    whole = np.arange(target.size)
    for i in range(directions):
        v = rng.normal(size=target.size)
        lines.append(along(loss, target, whole, v, floor, tolerance, f"along direction {i}"))
    return lines


def along(loss, target, at, v, floor, tolerance, words):
    """Compare along one direction v in the entries ``at``; returns an Entry."""
    v = (v / np.linalg.norm(v)).astype(np.longdouble)
    claimed = target.gradient[at] @ v
    norm = np.sqrt(np.sum(target.gradient[at] ** 2) / at.size)  # as a projection typically is
    typical = max(norm, floor)
    line = loss.slope(target.start + at, v, 0.01 * tolerance * typical, claimed)
    if certain(claimed, line, typical, tolerance):
        allowed = tolerance * max(abs(claimed), typical)
        line = loss.reconsider(line, target.start + at, v, claimed, allowed)
    scale = max(abs(claimed), abs(line.value), typical)
    name = f"{target.name} {words}"
    return entry(name, claimed, line.value, line.uncertainty, line.jump, scale, tolerance)


def locate(loss, target, floor, tolerance):
    """Halve the input until the worst entry is found; returns a list of one Entry."""
    at, rng = np.arange(target.size), np.random.default_rng(0)
    while at.size > 1:
        offs = []
        for half in halves(at):
            line = along(loss, target, half, rng.normal(size=half.size), floor, tolerance, "")
            offs.append(abs(line.claimed - line.expected) * math.sqrt(half.size))
        at = halves(at)[int(np.argmax(offs))]
    found = along(loss, target, at, np.ones(1), floor, tolerance, "")
    return [dataclasses.replace(found, name=name_entry(target.name, target.claim, at[0]))]


def halves(at):
    """Cut in two."""
    return np.array_split(at, 2)


def doubts(target, found, raised):
    """Say why entries are inconclusive."""
    advice = []
    unclear = [i for i, e in enumerate(found) if e.verdict == INCONCLUSIVE]
    bends = zip(target.jump, target.uncertainty, target.scale, strict=True)
    kinks = [i for i, bend in enumerate(bends) if i in unclear and bent(*bend)]
    if kinks:
        i = kinks[0]
        left = float(target.expected[i] - target.jump[i] / 2)
        right = float(target.expected[i] + target.jump[i] / 2)
        advice.append(
            f"{len(kinks)} on a kink: at {found[i].name} the slope is {left:.6g} to the"
            f" left and {right:.6g} to the right, and {found[i].claimed:.6g} is claimed;"
            " no difference can say which is meant. Check beside the kink."
        )
    elif unclear:
        worst = worst_of(dataclasses.replace(found[i], error=found[i].uncertainty) for i in unclear)
        why = "the function is rough, rounds, or has a kink or a jump nearby"
        if raised is not None and not math.isfinite(worst.uncertainty):
            why = f"near it the function raises {type(raised).__name__}: {raised}"
        advice.append(
            f"the differences at {worst.name} do not settle (±{worst.uncertainty:.1e}): {why}"
        )
    return tuple(advice)


def blind_spots(parameters, tolerance):
    """Say what sampling and directions may have missed."""
    notes = []
    for p in parameters:
        if p.directions:
            notes.append(
                f"{p.name}: {p.checked} of {p.size} entries one by one, the rest along"
                f" {p.directions} random directions, which see an error of more than about"
                f" {tolerance:.0e} of the whole gradient, but not a wrong entry smaller than that."
            )
    return tuple(notes)
