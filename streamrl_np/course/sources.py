"""The sources of the assignments: where they are, and what is released from them."""

import pathlib

from . import notebook
from .assignments import ASSIGNMENTS

DEFAULT = pathlib.Path(__file__).parents[2] / "notebooks" / "assignments"


class CourseError(ValueError):
    """What was asked for cannot be done; the message says why, in a line."""


def find(name):
    """Find an assignment by its name (``a1``) or its folder's (``a1_layers``)."""
    for sheet in ASSIGNMENTS.values():
        if name in (sheet.name, sheet.folder):
            return sheet
    raise CourseError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, got {name!r}")


def path_of(assignment, sources=DEFAULT):
    """Find the source notebook of an assignment."""
    path = sources / assignment.folder / f"{assignment.folder}.ipynb"
    if not path.is_file():
        raise CourseError(
            f"there is no {path}: the assignments' sources are in a clone of the repository;"
            " run the command there, or name their directory with --sources"
        )
    return path


def make(kind, assignment, variant, sources=DEFAULT):
    """Make the ``release`` or the ``solutions`` of one assignment.

    Returns
    -------
    dict
        The notebook.
    """
    path = path_of(assignment, sources)
    try:
        source = notebook.parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CourseError(f"{path}: {error}") from None
    change = {"release": notebook.release, "solutions": notebook.instructor}[kind]
    return change(source, assignment, variant)


def write_all(kind, directory, variant, sources=DEFAULT):
    """Write the ``release`` or the ``solutions`` of all assignments, a folder each.

    Yields
    ------
    pathlib.Path

    Raises
    ------
    CourseError
        If one of them is there already.
    """
    names = [assignment.folder for assignment in ASSIGNMENTS.values()]
    paths = [directory / name / f"{name}.ipynb" for name in names]
    for path in filter(pathlib.Path.exists, paths):
        raise CourseError(f"{path} is there already; name a new directory")
    for path, assignment in zip(paths, ASSIGNMENTS.values(), strict=True):
        notebook.write(path, make(kind, assignment, variant, sources))
        yield path
