"""The box that student code runs in: what it may see, and the walls around it.

A box is a directory with a copy of the library from which the functions of an assignment are
cut out. The walls are bubblewrap's: no network, no file of the machine but its programs and
libraries (/usr), Python and NumPy, nothing that can be written but a small /tmp, no new process.
"""

import ast
import compileall
import contextlib
import json
import os
import pathlib
import shutil
import site
import sys
import tempfile

import numpy as np

from . import seccomp

PACKAGE = pathlib.Path(__file__).parents[1]
ROOMS = ("arrays", "layers", "cells", "networks", "policies", "optimizers", "agents", "settings")
OTHERS = ("extras", "swapping", "__init__")
# what checks a function of one's own; the rest of the checker holds answers
CHECKER = ("__init__", "check", "compare", "differences", "hints", "inputs", "loss", "report")
EASY_WAY = "gradcheck.differences.complex_step"  # any derivative to the last digit: never in a box
FILTER = "{seccomp}"  # where the number of the filter's pipe goes


@contextlib.contextmanager
def make_box(withheld):
    """Make the directory that the student's process sees, for as long as the context lasts.

    Parameters
    ----------
    withheld : tuple of str
        Functions to cut out of the library: ``layers.linear_vjp``, ``agents.td.TD.update``.

    Yields
    ------
    pathlib.Path
    """
    with tempfile.TemporaryDirectory(prefix="streamrl_np-box-") as name:
        box = pathlib.Path(name)
        fill_box(box, withheld)
        yield box


def fill_box(box, withheld):
    """Copy the library, without what is withheld, and link the way to NumPy."""
    target = box / PACKAGE.name
    ignore = shutil.ignore_patterns("__pycache__")
    for room in (*ROOMS, *OTHERS):
        source = PACKAGE / room
        if source.is_dir():
            shutil.copytree(source, target / room, ignore=ignore)
        else:
            target.mkdir(exist_ok=True)
            shutil.copy(source.with_suffix(".py"), target)
    (target / "gradcheck").mkdir()
    for module in CHECKER:
        shutil.copy(PACKAGE / "gradcheck" / f"{module}.py", target / "gradcheck")
    shutil.copytree(PACKAGE / "course" / "box", target / "course" / "box", ignore=ignore)
    (target / "course" / "__init__.py").write_text(QUIET_COURSE)
    for name in (*withheld, EASY_WAY):
        cut_out(target, name)
    compileall.compile_dir(box, quiet=2)
    for path in numpy_parts():
        (box / path.name).mkdir()


QUIET_COURSE = '''\
"""Inside the box there is nothing to check with: the grader looks from outside."""

from ..swapping import swap


def check(*args, **kwargs):
    """Do nothing."""
    return True
'''


def cut_out(package, name):
    """Replace the body of a function in a copy of the library."""
    parts = name.split(".")
    depth = next(
        i
        for i in range(1, len(parts))
        if (package.joinpath(*parts[:i])).with_suffix(".py").exists()
    )
    path = package.joinpath(*parts[:depth]).with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = tree.body
    for part in parts[depth:]:
        node = next(n for n in body if getattr(n, "name", None) == part)
        body = node.body
    words = f"{name} is yours to write: the library's own is not here while yours is graded"
    node.body = ast.parse(f"raise NameError({words!r})").body
    path.write_text(ast.unparse(tree), encoding="utf-8")


def numpy_parts():
    """List the directories that NumPy is made of."""
    package = pathlib.Path(np.__file__).resolve().parent
    return [p for p in (package, package.with_name("numpy.libs")) if p.is_dir()]


def command(box, limits, isolated):
    """Build the command line of the student's process.

    Returns
    -------
    list of str
    """
    python = os.path.realpath(sys.executable)
    worker = "{}/streamrl_np/course/box/worker.py"
    tail = [python, "-I", "-S", "-B"]
    given = json.dumps(limits)
    if not isolated:
        return [*tail, worker.format(box), given]
    walls = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--uid",
        "65534",
        "--gid",
        "65534",
    ]
    walls += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "box"]
    walls += [*system_directories(), *python_directory(), "--dev", "/dev"]
    walls += ["--ro-bind", str(box), "/box"]
    for path in numpy_parts():
        walls += ["--ro-bind", str(path), f"/box/{path.name}"]
    walls += ["--size", str(limits["scratch"]), "--tmpfs", "/tmp", "--chdir", "/tmp"]
    walls += ["--remount-ro", "/dev", "--remount-ro", "/"]
    if seccomp.program():
        walls += ["--seccomp", FILTER]
    return [*walls, *tail, worker.format("/box"), given]


def system_directories():
    """Show the system's programs and libraries, for reading."""
    for name in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"):
        if os.path.islink(name):
            yield from ("--symlink", os.readlink(name), name)
        elif os.path.isdir(name):
            yield from ("--ro-bind", name, name)
    yield from ("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache")
    yield from hidden("/usr")


def python_directory():
    """Show Python itself where it is not the system's, without what is installed in it."""
    base = os.path.realpath(sys.base_prefix)
    if not within(base, "/usr"):
        yield from ("--ro-bind", base, base)
        yield from hidden(base)


def hidden(top):
    """Hide the installed packages below a directory, and this library if it lives there."""
    places = {os.path.realpath(p) for p in (*site.getsitepackages(), site.getusersitepackages())}
    places |= {str(pathlib.Path(sys.base_prefix).resolve() / p) for p in BASE_PACKAGES}
    places.add(str(PACKAGE.parent.resolve()))
    for place in sorted(places):
        if place != top and within(place, top) and os.path.isdir(place):
            yield from ("--tmpfs", place, "--remount-ro", place)


VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
BASE_PACKAGES = [f"{lib}/{VERSION}/site-packages" for lib in ("lib", "lib64")]


def within(path, top):
    """Tell whether ``path`` is ``top`` or below it."""
    return os.path.commonpath([path, top]) == top
