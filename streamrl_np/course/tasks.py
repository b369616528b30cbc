"""Tasks of an assignment: what is asked, what it is worth, how it is judged."""

import dataclasses
import zlib

import numpy as np

from .box.student import Mistake

SEED = 0  # of the checks that students see; the grader draws its own


@dataclasses.dataclass(frozen=True)
class Task:
    """One thing to write.

    Attributes
    ----------
    name : str
        Column of grades.csv, and name of the cell that tests it.
    points : int
    judge : callable or None
        ``judge(ask, rng, constants)`` returns lines on what is wrong, none if nothing is.
        ``ask(harness, *arrays)`` asks the student's code. None: a person gives the points.
    needs : tuple of str
        Other tasks without which this one counts nothing.
    shown : callable, optional
        What judges in a student's own check, where ``judge`` would give the answer away.
    """

    name: str
    points: int
    judge: object
    needs: tuple = ()
    shown: object = None


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A sheet of tasks.

    Attributes
    ----------
    name : str
        ``a1``.
    folder : str
        Below notebooks/assignments, and the notebook's name.
    title : str
    tasks : tuple of Task
    withheld : tuple of str
        What the library must not hold while student code runs: ``layers.linear_vjp``.
    constants : dict
        Name to (text in the notebook, other texts that a variant may put in its place); a text
        ends with its number: ``0.01``, ``UNITS = 24``.
    limits : dict
        Other limits than those of the sandbox: ``total_seconds``.
    letters : str
        Letters of a table that stand for answers; a variant moves them on.
    """

    name: str
    folder: str
    title: str
    tasks: tuple
    withheld: tuple
    constants: dict = dataclasses.field(default_factory=dict)
    limits: dict = dataclasses.field(default_factory=dict)
    letters: str = ""

    @property
    def points(self):
        """Sum the points that the machine gives."""
        return sum(task.points for task in self.tasks if task.judge)

    def texts(self, variant):
        """Choose the text of each constant: the default's, or that of the variant ``variant``."""
        chosen = {name: text for name, (text, _) in self.constants.items()}
        if variant is not None:
            for name, (_, others) in sorted(self.constants.items()):
                rng = np.random.default_rng([variant, zlib.crc32(f"{self.name} {name}".encode())])
                chosen[name] = others[rng.integers(len(others))]
        return chosen

    def moved(self, variant):
        """Map each letter of the default's table to that of the variant's: none stays."""
        if variant is None or not self.letters:
            return dict(zip(self.letters, self.letters, strict=True))
        rng = np.random.default_rng([variant, zlib.crc32(f"{self.name} letters".encode())])
        by = int(rng.integers(1, len(self.letters)))
        return dict(zip(self.letters, self.letters[by:] + self.letters[:by], strict=True))

    def numbers(self, variant):
        """Give the value of each constant, and what the letters have become."""
        numbers = {name: float(text.split()[-1]) for name, text in self.texts(variant).items()}
        return numbers | {"letters": self.moved(variant)}


@dataclasses.dataclass(frozen=True)
class Result:
    """What a task came to."""

    task: str
    points: int
    of: int
    lines: tuple = ()
    noted: bool = False  # all is there that can be looked at before it is handed in

    @property
    def right(self):
        """Whether the points are had."""
        return not self.lines


def judge_task(assignment, task, ask, seed, variant=None, shown=False):
    """Judge one task on fresh inputs.

    Parameters
    ----------
    assignment : Assignment
    task : Task
    ask : callable
        ``ask(harness, *arrays)``; raises Mistake.
    seed : int
        Draws the inputs.
    variant : int, optional
    shown : bool
        Judge as students see it before they hand in.

    Returns
    -------
    Result
    """
    rng = np.random.default_rng([seed, zlib.crc32(task.name.encode())])
    try:
        noted = bool(shown and task.shown)
        judge = task.shown if noted else task.judge
        lines = judge(ask, rng, assignment.numbers(variant))
    except Mistake as mistake:
        lines = [str(mistake)]
    points = 0 if lines or noted else task.points
    return Result(task.name, points, task.points, tuple(lines[:4]), noted and not lines)


def judge_all(assignment, ask, seed, variant=None, only=None, shown=False):
    """Judge every task that a machine can judge, or those named in ``only``.

    ``shown`` judges as students see it before they hand in.

    Yields
    ------
    Result
    """
    wrong = set()
    for task in assignment.tasks:
        if task.judge is None or (only is not None and task.name not in only):
            continue
        missing = [name for name in task.needs if name in wrong]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            line = f"this is looked at once {' and '.join(missing)} {verb} right"
            result = Result(task.name, 0, task.points, (line,))
        else:
            result = judge_task(assignment, task, ask, seed, variant, shown)
        if not result.right:
            wrong.add(task.name)
        yield result
