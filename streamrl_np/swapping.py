"""Swap functions of the library for a student's, for as long as a context lasts."""

import contextlib


@contextlib.contextmanager
def swap(owner, **replacements):
    """Put other objects in the place of some of a module's or a class's.

    The library calls through modules, so all of it then runs on them.

    Parameters
    ----------
    owner : module or class
    **replacements : object
        By the name they take.

    Raises
    ------
    AttributeError
        If ``owner`` has no such name: a swap replaces, it never adds.

    Examples
    --------
    >>> from streamrl_np import layers
    >>> with swap(layers, leaky_relu=lambda x: x):
    ...     layers.leaky_relu(-1.0)
    -1.0
    """
    own = {}
    for name in replacements:
        if name not in vars(owner):
            raise AttributeError(f"{owner.__name__} has no {name} to swap")
        own[name] = vars(owner)[name]
    for name, new in replacements.items():
        setattr(owner, name, new)
    try:
        yield
    finally:
        for name, old in own.items():
            setattr(owner, name, old)
