"""Settings: dataclass fields that carry their own help, range and choices.

Every ``Config`` in the project is a frozen dataclass made of :func:`setting`
fields. :func:`check` runs once, when a ``Config`` is made, so that nothing
inside a training step has to check anything.
"""

import dataclasses
import math
import re
import types
import typing


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

    Raises
    ------
    SettingError
        Names the field, what it got and what it may be.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        if field.metadata:
            check_value(field.name, getattr(config, field.name), hints[field.name], field.metadata)


def check_value(name, value, kind, rule):
    """Raise SettingError unless ``value`` has the type ``kind`` and obeys ``rule``."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    fits = type(value) in kinds or (float in kinds and type(value) is int)
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
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    text = " or ".join(words.get(k, "none") for k in kinds)
    low, high, above = rule["low"], rule["high"], rule["above"]
    if low is not None and high is not None:
        return f"{text} in [{low}, {high}]"
    if low is not None:
        return f"{text}, at least {low}"
    if above is not None:
        return f"{text} above {above}"
    return text


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
        raise SettingError(f"{name} is not a regular expression: {error}") from None
