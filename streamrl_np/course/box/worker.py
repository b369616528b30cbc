"""The student's process: it runs their cells and answers calls, and knows no answers.

Started as ``python -I -S worker.py LIMITS`` with a directory that holds numpy and a copy of
the library from which the functions of the assignment are cut out. Whoever takes it over gains
nothing: the other side only compares the numbers that come back.
"""

import ast
import json
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve()


def main():
    """Answer requests until the other side hangs up."""
    limits = json.loads(sys.argv[1])
    limit_resources(limits)
    requests, replies = private_streams()
    numpy = os.environ.get("STREAMRL_NP_NUMPY")
    sys.path[:0] = [str(HERE.parents[3]), *([numpy] if numpy else ())]
    import numpy as np

    from streamrl_np.course.box import harness, student, wire

    np.seterr(all="ignore")
    one = student.Student({"__name__": "__main__"})
    wire.write(replies, "ready")
    while True:
        try:
            request = wire.read(requests)
        except EOFError:
            return
        try:
            if request["do"] == "run":
                reply = run_cell(one, request["cell"], request["source"], limits, student)
            else:
                reply = harness.answer(one, request["ask"], request["with"], limits["call_seconds"])
            frame = wire.encode(reply)
        except student.Mistake as mistake:
            frame = wire.encode({"mistake": str(mistake)[:500]})
        except wire.WireError as error:
            frame = wire.encode(
                {"mistake": f"the result holds {error}; arrays of numbers can be checked"}
            )
        except BaseException as error:
            frame = wire.encode({"mistake": student.describe(error)[:500]})
        replies.write(frame)
        replies.flush()


def limit_resources(limits):
    """Set limits that no code of this process can lift again."""
    try:
        import resource
    except ImportError:  # not on this system
        return
    wanted = {
        "RLIMIT_AS": limits["memory"],
        "RLIMIT_CPU": limits["cpu_seconds"],
        "RLIMIT_FSIZE": limits["file"],
        "RLIMIT_NPROC": limits["processes"],
        "RLIMIT_NOFILE": 64,
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        try:
            hard = resource.getrlimit(getattr(resource, name))[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(getattr(resource, name), (value, value))
        except (ValueError, OSError, AttributeError):  # a limit that this system does not know
            continue


def private_streams():
    """Keep the two pipes for ourselves; what student code prints or reads is nothing."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    return requests, replies


def run_cell(one, cell, source, limits, student):
    """Run a cell statement by statement, so that one that fails does not take others along."""
    name = f"{student.WRITTEN}{cell}"
    try:
        tree = ast.parse(source, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        at = f", line {line}" if line else ""
        return {"errors": [f"{name}{at}: {type(error).__name__}: {getattr(error, 'msg', error)}"]}
    errors = []
    with student.seconds(limits["cell_seconds"], name):
        for statement in tree.body:
            try:
                code = compile(ast.Module([statement], []), name, "exec")
                exec(code, one.namespace)
            except MemoryError:  # what is held is held: better to start again without this cell
                return {"full": True}
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                if not is_test(statement):
                    words = student.describe(error)
                    if isinstance(error, ModuleNotFoundError):
                        words += ": while grading there are only NumPy and streamrl_np"
                    at = "" if f"({name}, " in words else f", line {statement.lineno}"
                    errors.append(f"{name}{at}: {words}")
    return {"errors": errors[:3]}


def is_test(statement):
    """Tell an ``assert``: what fails in it says nothing that the grader does not say better."""
    return isinstance(statement, ast.Assert)


if __name__ == "__main__":
    main()
