"""The loss whose derivative a check takes: one number of all outputs, on one flat vector.

L = Σ Re(conj(g) (f(inputs) − y)), where y is f at the inputs as they were given: what stands
still adds nothing, and takes no digits from the rest, however large it is.
Numbers in brackets are equations in docs/derivations.md.
"""

import math

import numpy as np

from ..arrays import Views
from . import differences
from .inputs import inner, listed_outputs, real_dtype

# a function that stays the same, to the last bit, at all of these steps has slope 0
AROUND = [side * np.longdouble(differences.STEP) / 8**i for i in range(4) for side in (1, -1)]
# one that moves there, but not at these (of an entry's own size), is made of steps
NEAR = [side * np.longdouble(2) ** power for power in (-28, -22) for side in (1, -1)]
EXTREME = 3  # roughness is a standard deviation, and of many entries the worst is looked at


class Loss:
    """L on the flat vector of all inputs.

    Parameters
    ----------
    f : callable
    inputs : Inputs
    gs : list of ndarray
    dtype : dtype
        The precision of the differences.

    Attributes
    ----------
    z : (N,) ndarray
        The inputs.
    ys : list of ndarray
        The outputs there.
    value : float
        Σ Re(conj(g) y).
    size : float
        The same sum without signs, of the outputs that move with the inputs.
    rough : float
        By how much that is rounded where outputs have fewer digits than ``dtype``.
    lost : float
        How much may be lost in rounding those that do not move.
    raised : Exception or None
        What the function raised near the inputs.
    notes : tuple of str
    """

    def __init__(self, f, inputs, gs, dtype):
        self.f, self.inputs, self.gs, self.raised = f, inputs, gs, None
        self.z = inputs.flat(dtype)
        self.buffer = self.z.copy()
        self.views = Views(inputs.layout, flat=self.buffer)
        with np.errstate(all="ignore"):
            self.ys = self.outputs()
            self.value = inner(gs, self.ys)
            terms = [np.abs(g * y) for g, y in zip(gs, self.ys, strict=True)]
            moving = self.moving()
            whole = float(sum(map(np.sum, terms)))
            if any(map(np.any, moving)):
                terms = [np.where(m, term, 0) for m, term in zip(moving, terms, strict=True)]
            self.size = float(sum(map(np.sum, terms)))
            self.lost = float(np.finfo(dtype).eps) * (whole - self.size)
            rounded = [
                float(np.finfo(y.dtype).eps * np.sqrt(np.sum(term * np.longdouble(1) * term)))
                for y, term in zip(self.ys, terms, strict=True)
                if y.dtype.kind in "fc" and real_dtype(y.dtype).itemsize < self.z.itemsize
            ]
        self.rough = math.hypot(*rounded)
        words = "The function rounds what it returns; differences are less precise."
        self.notes = (words,) if rounded else ()

    def outputs(self):
        """Ask for the outputs at what the buffer holds."""
        return [np.array(y) for y in listed_outputs(self.inputs.call(self.f, self.views))]

    def moving(self):
        """Mark the outputs that a small step of all inputs at once changes, or may change."""
        v = np.random.default_rng(0).normal(size=self.z.size)
        self.buffer[:] += differences.STEP * (1 + np.abs(self.z)) * v
        try:
            return [there != y for there, y in zip(self.outputs(), self.ys, strict=True)]
        except Exception:  # a function may raise outside its domain
            return [np.ones(y.shape, bool) for y in self.ys]
        finally:
            self.buffer[:] = self.z

    def agrees(self, ys):
        """Tell whether the outputs are ``ys`` but for rounding: not if f reads bits."""
        return all(
            here.shape == y.shape
            and np.allclose(here, y, 0, 0.1 * np.max(np.abs(y), initial=0), equal_nan=True)
            for here, y in zip(self.ys, ys, strict=True)
        )

    def along(self, direction, at=slice(None)):
        """Make φ(s) = L(z + s · direction), the direction being one of the entries ``at``."""

        def phi(s):
            self.buffer[at] = self.z[at] + s * direction
            with np.errstate(all="ignore"):
                try:
                    pairs = zip(self.outputs(), self.ys, strict=True)
                    return inner(self.gs, [np.where(y == y0, 0, wide(y) - y0) for y, y0 in pairs])
                except Exception as error:  # a function may raise outside its domain
                    self.raised = error
                    return self.z.dtype.type("nan")

        return phi

    def slope(self, at, direction, good_enough, claim):
        """Differentiate along ``direction`` in the entries ``at``; returns an Estimate."""
        phi = self.along(direction, at)
        found = differences.derivative(phi, good_enough, self.size, ((0.0, self.rough),))
        if claim == 0 == found.value and all(phi(s) == 0 for s in AROUND):
            found = found._replace(uncertainty=np.zeros_like(found.uncertainty))
        self.buffer[at] = self.z[at]
        return found

    def reconsider(self, found, at, direction, claim, allowed):
        """Ask again, with other steps, where an Estimate contradicts the claim.

        The steps are in proportion to the entries' own size, and how rough the function is along
        this very line is measured; what differs from one answer to the next is uncertain, and
        all is where the function moves but stands still close by, as one made of steps does. If
        the claim is still off by more than ``allowed``, more speaks for it: the answer before,
        what large outputs lose, and, where larger steps bear it out, what roughness may hide.
        """
        phi = self.along(direction, at)
        own = np.max(np.abs(self.z[at]), initial=0) or 1
        still = all(phi(own * near) == 0 for near in NEAR)
        steps = still and not all(phi(s) == 0 for s in AROUND)
        known = ((0.0, self.rough),)
        rough = tuple((h, EXTREME * r) for h, r in differences.roughness(phi, own))
        answers, seen = [], []
        for part, noise in (0.61, known + rough), (0.37, known + rough), (0.37, known):
            step = differences.STEP * own * part
            answers.append(differences.derivative(phi, 0.0, self.size, noise, step, seen))
        self.buffer[at] = self.z[at]
        best = min(answers[:2], key=lambda answer: answer.uncertainty)
        if steps:
            return best._replace(uncertainty=np.full_like(best.uncertainty, np.inf))
        if not np.isfinite(best.uncertainty):
            return found
        doubt = max(best.uncertainty, np.ptp([answer.value for answer in answers]))
        if abs(best.value - claim) > allowed + 3 * doubt:
            doubt = max(doubt, self.lost / best.step, hidden(best, seen, rough, claim))
            if np.isfinite(found.uncertainty):
                doubt = max(doubt, abs(best.value - found.value))
        if doubt > abs(best.value) and np.isfinite(found.uncertainty):
            best = found  # the new answer says nothing but how much is in doubt
        return best._replace(uncertainty=np.asarray(doubt))


def hidden(best, seen, rough, claim):
    """Bound the slope of what stands still on the fine grids, if larger steps bear a claim out.

    What rounds in grains stands still on a grid that is finer than they are, and moves on wider
    ones: there its roughness over the width is no less than its slope.
    """
    larger = [e for e in seen if e.step > best.step]
    if not any(abs(e.value - claim) <= 3 * e.uncertainty for e in larger):
        return 0.0
    return max((r / h for h, r in rough if h >= best.step), default=0.0)


def wide(y):
    """Convert to extended precision, so that subtracting rounds nothing."""
    return y.astype(np.clongdouble if np.iscomplexobj(y) else np.longdouble)


def make_loss(f, inputs, gs, ys):
    """Build the loss in the highest precision in which ``f`` gives the outputs ``ys``.

    Some functions take no extended precision: those of np.linalg raise, others look at the
    dtype, and one that reads pairs of numbers as complex ones gets something else.
    """
    for dtype in dict.fromkeys([np.dtype(np.longdouble), np.dtype(float), inputs.dtype]):
        try:
            loss = Loss(f, inputs, gs, dtype)
            if loss.agrees(ys):
                break
        except Exception:
            if dtype == inputs.dtype:
                raise
    if dtype != np.longdouble:
        words = f"The function takes no extended precision; differences are in {dtype}."
        loss.notes = (words, *loss.notes)
    return loss
