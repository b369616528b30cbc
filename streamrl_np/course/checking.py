"""Check one's own work: from inside a notebook, or a file of it from the command line."""

import sys

from ..settings import at_least
from . import notebook, sandbox, sources, walls
from .box import harness, wire
from .box.student import Mistake, Student
from .tasks import SEED, judge_all


class Outcome:
    """What a check found: prints as words, and is true when all is right."""

    def __init__(self, assignment, results, errors=()):
        self.assignment, self.results, self.errors = assignment, list(results), list(errors)

    def __bool__(self):
        return bool(self.results) and all(result.right for result in self.results)

    @property
    def points(self):
        """Sum the points."""
        return sum(result.points for result in self.results)

    def __str__(self):
        lines = [f"while your cells ran: {error}" for error in self.errors]
        for result in self.results:
            mark = "right" if result.right else "not yet"
            points = f"({result.points} of {result.of})"
            if result.noted:
                mark, points = "noted", f"({result.of} if right, which is said after handing in)"
            lines.append(f"{result.task}: {mark} {points}")
            lines += [f"    {line}" for line in result.lines]
        if len(self.results) > 1:
            of = sum(result.of for result in self.results)
            open_ = sum(result.of for result in self.results if result.noted)
            later = f", {open_} more are judged after handing in" if open_ else ""
            lines.append(f"{self.points} of {of} points{later}")
        return "\n".join(lines)

    __repr__ = __str__

    def _ipython_display_(self):
        """Show nothing more at the end of a cell: the words are printed already."""


def check(name, *tasks, variant=None, seed=SEED, namespace=None):
    """Check what a notebook has defined so far.

    Parameters
    ----------
    name : str
        The assignment: ``"a1"``.
    *tasks : str
        Only these tasks; all when none is named.
    variant : int, optional
        Of the class, as in the notebook's own cells.
    seed : int
        Draws other inputs.
    namespace : dict, optional
        Where the functions are; the caller's globals.

    Returns
    -------
    Outcome
        True when everything checked is right; its words are printed.
    """
    assignment = sources.find(name)
    at_least(0, seed=seed, variant=0 if variant is None else variant)
    known = [task.name for task in assignment.tasks if task.judge]
    for task in tasks:
        if task not in known:
            raise sources.CourseError(f"task must be one of {', '.join(known)}, got {task!r}")
    student = Student(sys._getframe(1).f_globals if namespace is None else namespace)
    limit = sandbox.LIMITS["call_seconds"]

    def ask(harness_name, *arguments):
        try:
            reply = harness.answer(student, harness_name, wire.through(arguments), limit)
            return wire.through(reply)
        except wire.WireError as error:
            raise Mistake(f"the result holds {error}; only numbers and arrays are wanted") from None

    outcome = Outcome(assignment, judge_all(assignment, ask, seed, variant, tasks or None, True))
    print(outcome)
    return outcome


def check_file(assignment, path, variant=None, seed=SEED):
    """Check a notebook file as the grader would, in a process of its own.

    Returns
    -------
    Outcome
    """
    cells = notebook.read_submission(path)
    limits = sandbox.LIMITS | assignment.limits
    with walls.make_box(assignment.withheld) as box:
        session = sandbox.Session(
            lambda: sandbox.Worker(box, limits, isolated=False), cells, limits
        )
        try:
            results = list(judge_all(assignment, session.ask, seed, variant, None, True))
        finally:
            session.close()
    return Outcome(assignment, results, session.errors)
