"""Check hand-written gradients: ours, then yours.

    >>> import numpy as np
    >>> from streamrl_np import gradcheck
    >>> report = gradcheck.check(np.sin, lambda g, x: g * np.cos(x), np.array([0.5, 2.0]))
    >>> report.verdict
    'pass'

``check`` compares one function's derivative with differences and says where it is wrong and
what the mistake looks like; ``registry`` lists every derivative of this package;
``python -m streamrl_np gradcheck`` checks them all. The page docs/check-your-own.md shows how
to check a function of yours.

Read in this order: ``differences``, ``inputs`` and ``report``; ``check``, ``loss`` and
``compare`` (one function), ``hints``; ``twins``, ``suspects`` and ``sequence`` (a recurrent
cell in four ways), ``large``; ``recurrent`` (what cells and networks claim); ``reference``,
``plain_ppo`` and ``behaviour`` (agents beside plain ones); ``registry`` and ``catalogue``
(what is checked), ``command``, ``figures``.
"""

from .check import Problem, check, check_problem
from .inputs import InputError
from .report import Entry, Parameter, Report

__all__ = ["Entry", "InputError", "Parameter", "Problem", "Report", "check", "check_problem"]
