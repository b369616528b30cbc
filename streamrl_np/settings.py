"""Settings: dataclass fields that carry their own help, range and choices.

Every ``Config`` in the project is a frozen dataclass made of :func:`setting`
fields. :func:`check` runs once, when a ``Config`` is made, so that nothing
inside a training step has to check anything.
"""

import contextlib
import dataclasses
import math
import numbers
import re
import types
import typing

import numpy as np


class SettingError(ValueError):
    """A setting has a wrong type or a value out of its range."""


def setting(default, help, *, low=None, high=None, above=None, choices=None):
    """Declare one field of a ``Config``.

    Parameters
    ----------
    default : object
        The value when none is given.
    help : str
        One line, shown by ``python -m streamrl_np list``.
    low, high : float, optional
        Closed bounds.
    above : float, optional
        Open lower bound.
    choices : sequence, optional
        The only values allowed.
    """
    metadata = dict(help=help, low=low, high=high, above=above, choices=choices)
    return dataclasses.field(default=default, metadata=metadata)


def check(config):
    """Check every field of a ``Config`` against its declaration.

    NumPy's numbers are taken too, and become Python's; a whole number for a field of numbers
    becomes a float.

    Raises
    ------
    SettingError
        Names the field, what it got and what it may be.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        if field.metadata:
            value, kind = getattr(config, field.name), hints[field.name]
            value = plain(value, kind)
            check_value(field.name, value, kind, field.metadata)
            object.__setattr__(config, field.name, value)


def plain(value, kind):
    """Convert a number to Python's own, of type ``kind`` if it can be; leave anything else."""
    kinds = kinds_of(kind)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if float in kinds and isinstance(value, numbers.Real):
        with contextlib.suppress(OverflowError):
            return float(value)
    return int(value) if isinstance(value, numbers.Integral) else value


def kinds_of(kind):
    """List the types that a field may have."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def check_value(name, value, kind, rule):
    """Raise SettingError unless ``value`` has the type ``kind`` and obeys ``rule``."""
    fits = type(value) in kinds_of(kind)
    if not fits or (type(value) is float and not math.isfinite(value)):
        raise SettingError(f"{name} must be {describe(kind, rule)}, got {value!r}")
    if value is None:
        return
    ok = rule["choices"] is None or value in rule["choices"]
    ok = ok and (rule["low"] is None or value >= rule["low"])
    ok = ok and (rule["high"] is None or value <= rule["high"])
    ok = ok and (rule["above"] is None or value > rule["above"])
    if not ok:
        raise SettingError(f"{name} must be {describe(kind, rule)}, got {value!r}")


def describe(kind, rule):
    """Say in words what a setting may be: ``a number in [0, 1]``."""
    if rule["choices"] is not None:
        return "one of " + ", ".join(map(str, rule["choices"]))
    text = kind_in_words(kind)
    low, high, above = rule["low"], rule["high"], rule["above"]
    if low is not None and high is not None:
        return f"{text} in [{low}, {high}]"
    if low is not None:
        return f"{text}, at least {low}"
    if above is not None:
        return f"{text} above {above}"
    return text


def kind_in_words(kind):
    """Say what a value of a type is: ``a whole number or none``."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return " or ".join(words.get(k, "none") for k in kinds_of(kind))


def at_least(least, **values):
    """Raise SettingError for an argument that is no whole number, or a smaller one."""
    for name, value in values.items():
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < least:
            raise SettingError(f"{name} must be a whole number, at least {least}, got {value!r}")


def given(kind, **value):
    """Return the one argument, or ``kind()`` for None; SettingError if it is of another kind."""
    return kind() if None in value.values() else instance(kind, **value)


def instance(kind, **value):
    """Return the one argument; SettingError if it is of another kind."""
    ((name, found),) = value.items()
    if not isinstance(found, kind):
        wanted, got = (f"{k.__module__}.{k.__name__}" for k in (kind, type(found)))
        raise SettingError(f"{name} must be a {wanted}, got a {got.removeprefix('builtins.')}")
    return found


def pattern(name, text):
    """Compile a regular expression that was given as the argument ``name``.

    Raises
    ------
    SettingError
        If it is none.
    """
    try:
        return re.compile(text)
    except re.error as error:
        raise SettingError(f"{name} must be a regular expression, got {text!r}: {error}") from None
