"""Views: named arrays, real or complex, living in one flat float vector.

The parameters of a network, their gradient and their eligibility trace are
three ``Views`` of one layout. The maths reads ``p.cell.B``; a trace, an optimizer
or a finite difference walks ``p.flat``. Both are the same memory.
"""

import difflib
import math

import numpy as np

from .settings import SettingError

COMPLEX = {np.dtype("f4"): np.dtype("c8"), np.dtype("f8"): np.dtype("c16")}
COMPLEX[np.dtype(np.longdouble)] = np.dtype(np.clongdouble)


class Complex(tuple):
    """The shape of a complex array in a layout: ``Complex((n, d))`` takes 2·n·d floats."""


def precision(dtype):
    """Return the NumPy dtype that is meant; SettingError unless it is a float's."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = dtype
    if found not in COMPLEX:
        raise SettingError(f"dtype must be float32, float64 or longdouble, got {found}")
    return found


def size(layout):
    """Count the floats that a layout takes."""
    if isinstance(layout, dict):
        return sum(size(part) for part in layout.values())
    return math.prod(layout) * (2 if isinstance(layout, Complex) else 1)


def real_size(array):
    """Count the real numbers in an array: two for each complex one."""
    return array.size * (2 if np.iscomplexobj(array) else 1)


def name_entry(name, array, index):
    """Name one real number of an array, by its place in memory: ``B[3, 7].imag``."""
    part = ""
    if np.iscomplexobj(array):
        index, part = index // 2, (".real", ".imag")[index % 2]
    where = ", ".join(map(str, np.unravel_index(index, array.shape)))
    return f"{name}[{where}]{part}" if where else f"{name}{part}"


class Views:
    """Named arrays over one flat vector.

    Parameters
    ----------
    layout : dict
        Name to shape: a tuple for a real array, ``Complex`` for a complex one,
        a dict for a group of arrays, which is a ``Views`` itself.
    dtype : dtype, optional
        ``float32`` or ``float64`` (``longdouble`` for verification).
    flat : (size(layout),) ndarray, optional
        The memory to look at; new zeros when not given.

    Attributes
    ----------
    flat : (N,) ndarray
        All numbers, in the order of the layout; a complex number is its real
        part followed by its imaginary part.

    Raises
    ------
    SettingError
        For a dtype that is not a float's.
    ValueError
        For a flat vector of another size, or an array that has the name of something that a
        ``Views`` has itself.

    Examples
    --------
    >>> p = Views({"b": (2,), "B": Complex((2, 1))})
    >>> p.B = [[1 + 2j], [3 + 4j]]
    >>> p.flat
    array([0., 0., 1., 2., 3., 4.])
    """

    def __init__(self, layout, dtype=np.float64, flat=None):
        dtype = precision(dtype if flat is None else flat.dtype)
        if flat is None:
            flat = np.zeros(size(layout), dtype)
        if flat.shape != (size(layout),):
            raise ValueError(f"flat must have shape ({size(layout)},), got {flat.shape}")
        put = self.__dict__.__setitem__
        put("layout", layout)
        put("flat", flat)
        start = 0
        for name, part in layout.items():
            if name in RESERVED:
                raise ValueError(f"an array cannot be called {name!r}: a Views has that itself")
            piece = flat[start : start + size(part)]
            start += size(part)
            if isinstance(part, dict):
                put(name, Views(part, flat=piece))
            elif isinstance(part, Complex):
                put(name, piece.view(COMPLEX[dtype]).reshape(part))
            else:
                put(name, piece.reshape(part))

    def like(self, dtype=None):
        """Make zeros in the same layout."""
        return Views(self.layout, dtype or self.flat.dtype)

    def copy(self, dtype=None):
        """Make a copy that shares no memory, in another dtype if one is given."""
        return Views(self.layout, flat=self.flat.astype(dtype or self.flat.dtype))

    def __reduce__(self):
        """Copy and pickle as one flat vector: the names of the copy look at its own memory."""
        return Views, (self.layout, self.flat.dtype, self.flat)

    def items(self):
        """List ``(name, array)`` with dotted names (``cell.B``), in the order of ``flat``."""
        for name in self.layout:
            part = self.__dict__[name]
            if isinstance(part, Views):
                yield from ((f"{name}.{inner}", array) for inner, array in part.items())
            else:
                yield name, part

    def name_of(self, index):
        """Name one entry of ``flat``: ``cell.B[3, 7].imag``; IndexError past its end."""
        for name, array in self.items():
            if index < real_size(array):
                return name_entry(name, array, index)
            index -= real_size(array)
        raise IndexError(f"index is past the end of the {self.flat.size} entries")

    def __getitem__(self, name):
        """Look a dotted name up: ``p["cell.B"]``."""
        part = self
        for piece in name.split("."):
            part = getattr(part, piece)
        return part

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        near = difflib.get_close_matches(name, self.layout, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"no array {name!r} here, only {', '.join(self.layout)}{hint}")

    def __setattr__(self, name, value):
        target = self.flat if name == "flat" else getattr(self, name)
        if isinstance(target, Views):
            raise AttributeError(f"{name!r} is a group of arrays; set its arrays one at a time")
        if target is value:  # what `p.B *= 2` ends with
            return
        value = np.asarray(value)
        if value.shape != target.shape:
            raise ValueError(f"{name} has shape {target.shape}, got {value.shape}")
        if np.iscomplexobj(value) and not np.iscomplexobj(target):
            raise ValueError(f"{name} is real, got a complex array")
        target[...] = value

    def __repr__(self):
        arrays = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in self.items())
        return f"Views({arrays})"


RESERVED = {name for name in dir(Views) if not name.startswith("_")} | {"flat", "layout"}


def flush_denormals(flat):
    """Step ``flat`` in place: numbers too small to matter become zero.

    A float below the normal range is 5 to 100 times slower to compute with, and
    a trace or a sensitivity that decays without new input gets there. Everything
    under tiny/eps (1e-31 in float32) is out of reach of any sum with a number
    of ordinary size, so setting it to zero changes no result that counts.
    """
    info = np.finfo(flat.dtype)
    for start in range(0, flat.size, 4096):  # in pieces, so that nothing large is allocated
        piece = flat[start : start + 4096]
        piece[np.abs(piece) < info.tiny / info.eps] = 0.0


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity turned up; the message names the array and the entry."""


def require_all_finite(parts):
    """Raise NonFiniteError if one of some named Views holds a NaN or an infinity."""
    for name, views in parts.items():
        require_finite(f"the {name.replace('_', ' ')}", views)


def require_finite(name, values):
    """Raise NonFiniteError if an array, a number or a Views holds a NaN or an infinity."""
    array = values.flat if isinstance(values, Views) else np.atleast_1d(values)
    flat = array.reshape(-1)
    bad = np.flatnonzero(~np.isfinite(flat))
    if bad.size:
        if flat.size == 1:
            raise NonFiniteError(f"{name} is {flat[0]}")
        where = ", ".join(map(str, np.unravel_index(bad[0], array.shape)))
        entry = values.name_of(bad[0]) if isinstance(values, Views) else f"entry {where}"
        count = f"{bad.size} of {flat.size} entries are not finite"
        raise NonFiniteError(f"{name}: {entry} is {flat[bad[0]]} ({count})")
