"""The registry: every derivative of the package and the check that covers it.

A function is a derivative by its name: ``vjp``, ``…_vjp``, ``gradient``, ``…_gradient``,
``jacobian`` or ``…_jacobian``. A test walks the source of the package and fails on one that
no check covers. Cells in ``cells.CELLS`` and networks with them are covered by themselves;
anything else takes one entry in :mod:`catalogue`.
"""

import ast
import contextlib
import dataclasses
import functools
import importlib
import pathlib
import re
import time
import zlib

import numpy as np

from ..swapping import swap
from . import large
from .check import check_problem
from .report import Report

PACKAGE = __package__.split(".")[0]
ROOT = pathlib.Path(__file__).parents[1]
DERIVATIVE = re.compile(r"(.*_)?(vjp|gradient|jacobian)")


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the command's table.

    Attributes
    ----------
    name : str
    covers : tuple of str
        The derivatives that it stands for: ``layers.tanh_vjp``, ``networks.Network.vjp``.
    problem : callable or None
        ``problem(rng)`` makes a :class:`~streamrl_np.gradcheck.Problem` in float64.
    run_ : callable or None
        ``run_(rng)`` returns a Report, for what is not one problem.
    options : dict
        For :func:`~streamrl_np.gradcheck.check_problem`.
    """

    name: str
    covers: tuple = ()
    problem: object = None
    run_: object = None
    options: dict = dataclasses.field(default_factory=dict)

    def rng(self, seed):
        """Make the generator that draws this check's inputs: its own, whatever else runs."""
        return np.random.default_rng([seed, zlib.crc32(self.name.encode())])

    def run(self, seed=0):
        """Run the check; an exception that it meets is a failure too.

        Returns
        -------
        Report
        """
        start = time.perf_counter()
        try:
            if self.problem is None:
                report = self.run_(self.rng(seed))
            else:
                problem = self.problem(self.rng(seed))
                report = check_problem(problem, seed=seed, **self.options)
                if not report.problems:
                    single = large.single_precision(problem, self.rng(seed))
                    report = dataclasses.replace(report, single=single)
        except Exception as error:
            words = f"it stopped with {type(error).__name__}: {error}"
            report = Report(self.name, (), 0.0, (words,))
        return dataclasses.replace(report, name=self.name, seconds=time.perf_counter() - start)


def checks():
    """List every check of the package by name, in reading order."""
    from . import catalogue

    return {check.name: check for check in catalogue.everything()}


@functools.cache
def functions():
    """Walk the package's source.

    The course is left out: it names its tasks after the derivatives that students write, has
    none of its own, and no check uses it.

    Returns
    -------
    tuple of str
        Every function and method: ``module.function``, ``module.Class.method``, without the
        package's name.
    """
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if not module.startswith("course."):
            found += named_functions(ast.parse(path.read_text(encoding="utf-8")), f"{module}.")
    return tuple(found)


def named_functions(tree, prefix):
    """List the functions and methods of a module's syntax tree."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from named_functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield prefix + node.name


def derivatives():
    """List the functions that are derivatives by name."""
    return [name for name in functions() if DERIVATIVE.fullmatch(name.rpartition(".")[2])]


def derivatives_of(module):
    """List the derivatives of one module: ``cells.rtu``."""
    return tuple(name for name in derivatives() if name.startswith(f"{module}."))


def uncovered():
    """List the derivatives that no check covers."""
    covered = {name for check in checks().values() for name in check.covers}
    return [name for name in derivatives() if name not in covered]


def resolve(name):
    """Find what a name like ``networks.Network.vjp`` means.

    Returns
    -------
    owner : module or class
    attribute : str

    Raises
    ------
    LookupError
        If the package has nothing of that name.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            owner = importlib.import_module(".".join([PACKAGE, *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:-1]:
            owner = getattr(owner, part, None)
        if hasattr(owner, parts[-1]):
            return owner, parts[-1]
    raise LookupError(f"no module of {PACKAGE} holds {name}")


@contextlib.contextmanager
def swapped(name, function):
    """Put ``function`` in the place of the package's ``name`` while the context lasts."""
    owner, attribute = resolve(name)
    with swap(owner, **{attribute: function}):
        yield
