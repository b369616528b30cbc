"""Differences: the derivative of a function along a line, with an error bar of its own.

A central difference with step s is off by c₂s² + c₄s⁴ + …; from four steps, each half the
one before, Richardson's extrapolation removes the first three terms. In extended precision
that leaves 12 to 16 digits. How far the best extrapolation is from the two that it was
made of is the error bar; where it is too wide the steps shrink and all is done again.
Numbers in brackets are equations in docs/derivations.md.
"""

# K levels: steps s, s/2, …, s/2^(K−1)

import itertools
import math
from typing import NamedTuple

import numpy as np

STEP = 1518500249 * 2.0**-37  # no power of two: at those a wave may come back to where it was
LEVELS = 4
ROUNDS = 12
SHRINK = 2.0**-3  # from one round to the next
WIDTHS = 2.0 ** np.arange(-52, -9, 6)  # of the grids on which roughness is measured


class Estimate(NamedTuple):
    """A derivative along a line; arrays when the function is one of arrays."""

    value: np.ndarray
    uncertainty: np.ndarray  # how far it may be off
    jump: np.ndarray  # slope to the right minus slope to the left; 0 if it may be none
    step: np.ndarray  # the smallest that it was made of


def extrapolate(table, powers):
    """Remove the leading error terms from values taken at steps s, s/2, s/4, ….

    Parameters
    ----------
    table : list of ndarray
        One value a step.
    powers : list of int
        The powers of s in the error, smallest first.

    Returns
    -------
    value, uncertainty : ndarray
        The entry of the tableau that its two parents confirm best.
    """
    best, uncertainty = table[-1], np.full(np.shape(table[-1]), np.inf, np.longdouble)
    for power in powers[: len(table) - 1]:
        factor = np.longdouble(2) ** power
        finer = []
        for coarse, fine in itertools.pairwise(table):
            value = fine + (fine - coarse) / (factor - 1)  # (eq. G2)
            off = np.maximum(np.abs(value - fine), np.abs(value - coarse))
            better = off < uncertainty
            best = np.where(better, value, best)
            uncertainty = np.where(better, off, uncertainty)  # (eq. G3)
            finer.append(value)
        table = finer
    return best, uncertainty


def along(phi, at_zero, noise, step=STEP, eps=0.0):
    """Differentiate ``phi`` at 0 with one set of steps.

    Parameters
    ----------
    phi : callable
        Takes a longdouble, returns a real number or array.
    at_zero : ndarray
        phi(0).
    noise : float or ndarray
        By how much rounding may have changed a value of phi.
    step : float
        The largest step.
    eps : float
        The precision of phi's values, which rounds those at ±s too.

    Returns
    -------
    Estimate
    """
    slopes, bends, largest = [], [], 0
    for level in range(LEVELS):
        s = np.longdouble(step) / 2**level
        right, left = phi(s), phi(-s)
        largest = np.maximum(largest, np.maximum(np.abs(right), np.abs(left)))
        slopes.append((right - left) / (2 * s))  # (eq. G1)
        bends.append((right - 2 * at_zero + left) / s)  # → 0 with s, but for a kink  (eq. G4)
    value, uncertainty = extrapolate(slopes, [2, 4, 6])
    jump, off = extrapolate(bends, [1, 2, 3])
    jump = np.where(np.abs(jump) > 10 * off, jump, 0)
    noise = np.maximum(noise, eps * largest)
    bend = np.abs(bends[-1])
    torn = (bend > 1.1 * np.abs(bends[0])) & (bend * s > 10 * noise)  # a jump, a cusp: → ∞
    uncertainty = np.maximum(uncertainty, np.where(torn, bend, 0))
    uncertainty = np.maximum(uncertainty, noise / s)  # (eq. G3)
    return Estimate(value, uncertainty, jump, np.full(np.shape(value), s))


def roughness(phi, own=1.0):
    """Estimate how far the values of ``phi`` near 0 are off a smooth curve, grid by grid.

    The tenth differences of a smooth function on a grid of width h go with h¹⁰; what is left of
    them is rounding (Moré & Wild 2011). On a fine grid a function that rounds on its way may stand
    still, or one term of it; on a wide one a narrow function is not smooth. So each grid has an
    answer of its own.

    Parameters
    ----------
    phi : callable
        Takes a longdouble, returns a real number.
    own : float
        The widths are in proportion to it.

    Returns
    -------
    tuple of (float, float)
        Width of a grid, and the standard deviation there.
    """
    found = []
    with np.errstate(all="ignore"):
        for h in WIDTHS * own:
            values = np.array([phi(np.longdouble(i * h)) for i in range(17)])
            if not np.isfinite(values).all():
                break
            tenth = np.diff(values, 10)  # of a noise of 1: about √184756
            found.append((h, float(np.sqrt(np.mean(tenth**2) / math.comb(20, 10)))))
    return tuple(found)


def derivative(phi, good_enough=0.0, size=None, rough=(), step=STEP, seen=None):
    """Differentiate ``phi`` at 0, with smaller steps where the first are too large.

    Parameters
    ----------
    phi : callable
        Takes a longdouble, returns a real number or array.
    good_enough : float or ndarray
        Stop shrinking the steps once every uncertainty is at most this.
    size : float or ndarray, optional
        The size of the terms that phi sums up, for the rounding error; |phi(0)| if not given.
    rough : tuple of (float, float)
        What is known of the :func:`roughness` of phi; no grid wider than the steps counts.
    step : float
        The largest step of the first round.
    seen : list, optional
        Takes the Estimate of every round.

    Returns
    -------
    Estimate
        Of all rounds, entry by entry, the one with the smallest uncertainty that no later round,
        with smaller steps, refutes. It is infinite where no step gave finite numbers.
    """
    with np.errstate(all="ignore"):
        at_zero = phi(np.longdouble(0))
        eps = np.finfo(np.result_type(at_zero, np.float32)).eps
        rounding = eps * (np.abs(at_zero) if size is None else size)
        best = None
        for _ in range(ROUNDS):
            noise = np.maximum(rounding, max((r for h, r in rough if h <= step), default=0.0))
            new = along(phi, at_zero, noise, step, eps)
            broken = ~(np.isfinite(new.value) & np.isfinite(new.uncertainty))
            new = new._replace(uncertainty=np.where(broken, np.inf, new.uncertainty))
            if seen is not None:
                seen.append(new)
            if best is None:
                best = new
            else:
                apart = np.abs(new.value - best.value)
                refuted = apart > 10 * (new.uncertainty + best.uncertainty)  # it agreed by chance
                better = refuted | (new.uncertainty < best.uncertainty)
                pairs = zip(new, best, strict=True)
                best = Estimate(*(np.where(better, fresh, old) for fresh, old in pairs))
            step *= SHRINK
            settled = best.uncertainty <= np.maximum(good_enough, 2**LEVELS * noise / step)
            if np.all(settled):  # or no smaller step can do better
                break
        return best


def complex_step(phi, step=1e-40):
    """Differentiate ``phi`` at 0 by one complex step: no subtraction, no rounding error.

    ``phi`` must be written in real arithmetic of functions that take complex numbers too:
    φ(is) = φ(0) + is φ′(0) − …, so Im φ(is)/s is the derivative to the last digit (eq. G5).
    """
    return np.imag(phi(1j * step)) / step  # (eq. G5)
