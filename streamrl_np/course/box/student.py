"""A student's namespace: their functions, and what goes wrong in them, in a line."""

import contextlib
import copy
import inspect
import signal
import threading
import traceback

import numpy as np

from ...arrays import Views

WRITTEN = "cell "  # file name of compiled cells: their lines are named in messages


class Mistake(Exception):
    """Something a student did; the message is a line for them."""


class TimeUp(BaseException):
    """The soft limit of time: not an Exception, so that ``except Exception`` lets it through."""


class Student:
    """The functions of one student.

    Parameters
    ----------
    namespace : dict
        What their cells have defined.
    """

    def __init__(self, namespace):
        self.namespace = namespace

    def function(self, name):
        """Find a function, or raise Mistake."""
        function = self.namespace.get(name)
        if function is None:
            raise Mistake(f"there is no {name}: was its cell deleted, renamed, or never run?")
        if not callable(function):
            raise Mistake(f"{name} is a {type(function).__name__}, not a function")
        return function

    def call(self, name, *args):
        """Call one of their functions; whatever it raises becomes a Mistake."""
        function = self.function(name)
        try:
            return function(*args)
        except Mistake:
            raise
        except Exception as error:
            raise Mistake(describe(error, name) + shapes(function, args, error)) from error

    def pure(self, name, *args):
        """Call a function that may not change what it is given."""
        given = copy.deepcopy(args)
        result = self.call(name, *args)
        names = argument_names(self.function(name), len(args))
        for word, before, after in zip(names, given, args, strict=True):
            if not unchanged(before, after):
                raise Mistake(f"{name} changes its argument {word} in place: make a new array")
        return result

    @contextlib.contextmanager
    def standing_in(self, **functions):
        """Put functions of ours in the place of theirs, so that one mistake costs once."""
        own = {name: self.namespace[name] for name in functions if name in self.namespace}
        self.namespace.update(functions)
        try:
            yield
        finally:
            for name in functions:
                del self.namespace[name]
            self.namespace.update(own)


def unchanged(before, after):
    """Tell whether arrays, and tuples of them, hold what they held."""
    if isinstance(before, tuple):
        return all(map(unchanged, before, after))
    same = not isinstance(before, np.ndarray)
    return same or np.array_equal(before, after, equal_nan=before.dtype.kind in "fc")


def argument_names(function, count):
    """Name the arguments of a function as its author did; by number where that is not known."""
    with contextlib.suppress(Exception):
        names = list(inspect.signature(function).parameters)
        if len(names) == count:
            return names
    return [str(i + 1) for i in range(count)]


def shapes(function, args, error):
    """Say which shapes a function was given, if that may be why it stopped."""
    arrays = []
    for word, a in zip(argument_names(function, len(args)), args, strict=True):
        if isinstance(a, Views):
            arrays += [f"{word}.{name} {part.shape}" for name, part in a.items()]
        elif isinstance(a, np.ndarray) and a.ndim:
            arrays.append(f"{word} {a.shape}")
    if not arrays or not isinstance(error, ValueError | IndexError | TypeError):
        return ""
    return f"; called with {', '.join(arrays[:9])}"


def describe(error, name=""):
    """Say in one line what was raised and where in their code."""
    kind, words = type(error).__name__, " ".join(str(error).split())[:300]
    if isinstance(error, NotImplementedError):
        return f"{name} is not written yet" if name else "not written yet"
    places = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("cell ")
    ]
    where = f" ({places[-1].filename}, line {places[-1].lineno})" if places else ""
    subject = f"{name} stops with " if name else ""
    return f"{subject}{kind}: {words}{where}" if words else f"{subject}{kind}{where}"


@contextlib.contextmanager
def seconds(limit, what):
    """Stop what takes longer than ``limit`` seconds, where the system can."""
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def ring(*_):
        raise TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    except TimeUp:
        raise Mistake(
            f"{what} takes longer than {limit:g} s: is there a loop without end?"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
