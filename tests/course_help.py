"""What the tests of the course share."""

import functools
import json
import subprocess

import pytest

from streamrl_np.course import notebook, sandbox, sources, walls
from streamrl_np.course.assignments import ASSIGNMENTS
from streamrl_np.course.tasks import judge_all


@functools.cache
def why_no_isolation():
    """Say why bubblewrap does not work here; empty when it does."""
    probe = ["bwrap", "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "true"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return "bubblewrap is not installed"
    return "" if done.returncode == 0 else f"bubblewrap does not work here: {done.stderr.strip()}"


def needs_isolation():
    """Skip a test where student code cannot be isolated."""
    if why_no_isolation():
        pytest.skip(why_no_isolation())


def cells_of(kind, name, variant=None):
    """Give the code cells of a release or a solution, as a grader runs them."""
    made = sources.make(kind, ASSIGNMENTS[name], variant)
    return notebook.notebook_cells(json.dumps(made))


def judge_cells(name, cells, isolated=None, variant=None, seed=11, only=None):
    """Judge cells in a process of their own; returns ({task: Result}, errors while they ran)."""
    isolated = not why_no_isolation() if isolated is None else isolated
    assignment = ASSIGNMENTS[name]
    limits = sandbox.LIMITS | assignment.limits
    with walls.make_box(assignment.withheld) as box:
        session = sandbox.Session(lambda: sandbox.Worker(box, limits, isolated), cells, limits)
        try:
            results = list(judge_all(assignment, session.ask, seed, variant, only))
        finally:
            session.close()
    return {result.task: result for result in results}, session.errors
