"""The inputs of a checked function: arrays under names, one flat vector, and back."""

import copy
import inspect
import itertools

import numpy as np

from ..arrays import COMPLEX, Complex, Views


class InputError(TypeError):
    """What was given to the checker is not what it can check."""


def real_dtype(dtype):
    """Name the float dtype that a dtype is made of: complex64 → float32."""
    return np.empty(0, dtype).real.dtype


class Inputs:
    """The arrays that a function takes.

    Parameters
    ----------
    inputs : ndarray, tuple, list, dict or Views
        One array, arrays in order, arrays by keyword, or a ``Views`` as the one argument.
    f : callable
        Gives arrays in order their names.

    Attributes
    ----------
    names, arrays : list
    layout : dict
        Of a ``Views`` that holds them all. There arrays are called x0, x1, …: what a function
        calls its arguments may be no name for an array.
    dtype : dtype
        The float dtype of the least precise of them.

    Raises
    ------
    InputError
        For an input that is not an array of floats or complex numbers.
    """

    def __init__(self, inputs, f):
        self.style = next((s for s in (Views, dict) if isinstance(inputs, s)), tuple)
        if self.style is Views:
            named, self.layout = dict(inputs.items()), inputs.layout
        else:
            named = inputs if self.style is dict else name_arrays(inputs, f)
            if not all(isinstance(name, str) for name in named):
                raise InputError(f"the names of inputs must be strings, got {list(named)}")
            named = {name: require_floats(name, array) for name, array in named.items()}
            self.layout = {f"x{i}": shape_of(array) for i, array in enumerate(named.values())}
        if not sum(array.size for array in named.values()):
            raise InputError("there is nothing to differentiate: no input holds a number")
        self.names, self.arrays = list(named), list(named.values())
        self.dtype = min((real_dtype(a.dtype) for a in self.arrays), key=lambda t: t.itemsize)

    def cast(self, dtype):
        """Make the same inputs in another float dtype."""
        other = copy.copy(self)
        other.dtype = np.dtype(dtype)
        complex_ = COMPLEX[other.dtype]
        other.arrays = [
            a.astype(complex_ if np.iscomplexobj(a) else other.dtype) for a in self.arrays
        ]
        return other

    def flat(self, dtype):
        """Put all inputs into one new flat vector of a float ``dtype``."""
        views = Views(self.layout, dtype)
        for (_, target), array in zip(views.items(), self.arrays, strict=True):
            target[...] = array
        return views.flat

    def native(self):
        """Copy the inputs as they were given: a ``Views``, or a list of arrays."""
        if self.style is Views:
            return Views(self.layout, flat=self.flat(self.dtype))
        return [array.copy() for array in self.arrays]

    def call(self, function, arrays, *before):
        """Call ``function`` with what comes before and the inputs, as it wants them."""
        if self.style is Views:
            return function(*before, arrays)
        if isinstance(arrays, Views):
            arrays = [array for _, array in arrays.items()]
        if self.style is dict:
            return function(*before, **dict(zip(self.names, arrays, strict=True)))
        return function(*before, *arrays)

    def changed(self, arrays):
        """Name the inputs that a call changed."""
        arrays = [a for _, a in arrays.items()] if self.style is Views else arrays
        triples = zip(self.names, arrays, self.arrays, strict=True)
        return [name for name, a, b in triples if not np.array_equal(a, b, equal_nan=True)]

    def flat_list(self, result):
        """List the arrays of an output or of gradients, whatever they came in."""
        if isinstance(result, Views | dict):
            return [array for _, array in result.items()]
        return list(result) if isinstance(result, tuple | list) else [result]

    def listed(self, gradients):
        """List gradients in the order of the inputs.

        Raises
        ------
        InputError
            If they are too many or too few.
        """
        if isinstance(gradients, Views) and set(dict(gradients.items())) == set(self.names):
            gradients = dict(gradients.items())
        if isinstance(gradients, dict):
            missing = [name for name in self.names if name not in gradients]
            if missing:
                raise InputError(f"the derivative returned nothing for {', '.join(missing)}")
            return [gradients[name] for name in self.names]
        gradients = self.flat_list(gradients)
        if len(gradients) != len(self.names):
            raise InputError(
                f"the derivative returned {len(gradients)} arrays"
                f" for {len(self.names)} inputs: {', '.join(self.names)}"
            )
        return gradients


def require_floats(name, array):
    """Convert to an array of floats or complex numbers, or raise InputError."""
    array = np.asarray(array)
    if real_dtype(array.dtype) not in COMPLEX:
        raise InputError(
            f"{name} must be an array of float32, float64 or their complex kin, got {array.dtype};"
            " bind what is not to be differentiated with a lambda"
        )
    return array


def shape_of(array):
    """Give an array's shape as a layout wants it."""
    return Complex(array.shape) if np.iscomplexobj(array) else tuple(array.shape)


def pull_back(derivative, kind, inputs):
    """Turn a derivative of any kind into a vjp."""
    if kind == "vjp":
        return derivative
    if kind == "gradient":
        return lambda g, /, *arrays, **named: derivative(*arrays, **named)

    def pull(g, /, *arrays, **named):
        """Sum g conj(J) over the outputs; of a real input the real part (eq. G7)."""
        gradients = []
        jacobians = inputs.listed(derivative(*arrays, **named))
        for name, J, array in zip(inputs.names, jacobians, inputs.arrays, strict=True):
            if J is not None:
                expected = np.shape(g) + array.shape
                if np.shape(J) != expected:
                    raise InputError(
                        f"the jacobian of {name} has shape {np.shape(J)}, not {expected}:"
                        " first the axes of the output, then those of the input"
                    )
                J = np.tensordot(g, np.conj(J), np.ndim(g))  # (eq. G7)
                J = J if np.iscomplexobj(array) else J.real
            gradients.append(J)
        return gradients

    return pull


def require_kind(derivative, kind, inputs, gs):
    """Raise InputError where a derivative takes what another kind of it would."""
    try:
        signature = inspect.signature(derivative)
    except (TypeError, ValueError):  # not every built-in has one
        return

    def takes(*before):
        try:
            inputs.call(signature.bind, inputs.native(), *before)
        except TypeError:
            return False
        return True

    if kind == "vjp" and takes() and not takes(*gs):
        raise InputError(
            "the derivative takes the inputs alone, and a vjp takes g before them: say"
            " kind='gradient' or kind='jacobian'"
        )
    if kind != "vjp" and takes(*gs) and not takes():
        raise InputError(f"the derivative takes g before the inputs, a {kind} them alone")


def name_arrays(arrays, f):
    """Give arrays the names of the arguments of ``f``."""
    arrays = arrays if isinstance(arrays, tuple | list) else (arrays,)
    try:
        names = list(inspect.signature(f).parameters)[: len(arrays)]
    except (TypeError, ValueError):  # not every built-in has a signature
        names = []
    free = (f"input{i}" for i in itertools.count(len(names)) if f"input{i}" not in names)
    names += itertools.islice(free, len(arrays) - len(names))
    return dict(zip(names, arrays, strict=True))


def listed_outputs(result):
    """List what a function returned as arrays.

    Raises
    ------
    InputError
        If it is no number and no array of numbers, nor a tuple of them.
    """
    try:
        ys = [np.asarray(r) for r in (result if isinstance(result, tuple | list) else (result,))]
    except ValueError as error:  # rows of different lengths
        raise InputError(f"what the function returns makes no arrays: {error}") from None
    for y in ys:
        if y.dtype.kind not in "biufc":
            raise InputError(
                "the function must return an array of numbers or a tuple of them, got"
                f" {type(result).__name__}: is a return missing?"
            )
    return ys


def shapes(arrays):
    """Say the shapes of arrays."""
    return ", ".join(str(a.shape) for a in arrays)


def random_like(rng, arrays):
    """Draw standard normal arrays of the shapes and dtypes of ``arrays``."""
    drawn = []
    for array in arrays:
        g = rng.normal(size=array.shape)
        if np.iscomplexobj(array):
            g = g + 1j * rng.normal(size=array.shape)
        whole = array.dtype.kind in "biu"  # nothing flows into whole numbers, but g is a float
        drawn.append(g if whole else np.asarray(g, array.dtype))
    return drawn


def inner(gs, ys):
    """Compute Σ Re(conj(g) y): the loss as a function of the outputs."""
    return sum(np.sum(np.conj(g) * y).real for g, y in zip(gs, ys, strict=True))
