"""python -m streamrl_np course | check | grade."""

import signal
import sys
from pathlib import Path

BAD_INPUT = 2


def add_parser(subparsers):
    """Add the three commands of a course to the command line."""
    course = subparsers.add_parser(
        "course", help="write the assignments for a class", description=course_command.__doc__
    )
    course.add_argument("what", choices=("release", "solutions"))
    course.add_argument("directory", type=Path, metavar="OUT_DIR")
    add_common(course)
    course.set_defaults(command=lambda args: main(course_command, args))

    check = subparsers.add_parser(
        "check", help="check your own notebook", description=check_command.__doc__
    )
    check.add_argument("assignment", metavar="ASSIGNMENT", help="a1 … a6")
    check.add_argument("file", type=Path, metavar="FILE", help="a notebook or a Python file")
    check.add_argument("--variant", type=int, metavar="SEED", help="if the notebook does not say")
    check.add_argument("--seed", type=int, default=0, metavar="N", help="draws other inputs")
    check.set_defaults(command=lambda args: main(check_command, args))

    grade = subparsers.add_parser(
        "grade", help="grade a folder of submissions", description=grade_command.__doc__
    )
    grade.add_argument("assignment", metavar="ASSIGNMENT", help="a1 … a6")
    grade.add_argument("submissions", type=Path, metavar="SUBMISSIONS_DIR")
    grade.add_argument("--out", type=Path, metavar="FILE.csv", help="(ASSIGNMENT_grades.csv)")
    grade.add_argument("--workers", type=int, metavar="N", help="submissions at once")
    grade.add_argument("--quiet", action="store_true", help="no progress bar")
    grade.add_argument(
        "--no-isolation",
        action="store_true",
        help="run student code with limits but without walls: only where it can do no harm",
    )
    add_common(grade)
    grade.set_defaults(command=lambda args: main(grade_command, args))


def add_common(parser):
    """Add the options that choose a variant and the sources."""
    parser.add_argument("--variant", type=int, metavar="SEED", help="numbers of this class alone")
    parser.add_argument("--sources", type=Path, metavar="DIR", help="of the assignments' sources")


def main(command, args):
    """Run a command; what cannot be done is said in one sentence, with exit code 2."""
    from . import notebook, sandbox, sources

    errors = (sources.CourseError, notebook.NotebookError, sandbox.BrokenEnvironment)
    try:
        if args.variant is not None and args.variant < 0:
            raise sources.CourseError(f"variant must be at least 0, got {args.variant}")
        return command(args)
    except errors as error:
        print(f"streamrl_np: {error}", file=sys.stderr)
        return BAD_INPUT


def course_command(args):
    """Write the students' version of every assignment (release), or the instructor's."""
    from . import sources

    where = args.sources or sources.DEFAULT
    for path in sources.write_all(args.what, args.directory, args.variant, where):
        print(path)
    return 0


def check_command(args):
    """Check a notebook of yours as the grader would; exit code 1 while something is wrong."""
    from . import checking, notebook, sources

    assignment = sources.find(args.assignment)
    if not args.file.is_file():
        raise sources.CourseError(f"there is no file {args.file}")
    if args.seed < 0:
        raise sources.CourseError(f"seed must be at least 0, got {args.seed}")
    notebook.read_submission(args.file)  # says what is wrong with the file, if it is none
    name, variant = notebook.origin(args.file)
    if name not in (None, assignment.name):
        raise sources.CourseError(f"{args.file} is a notebook of {name}, not of {assignment.name}")
    variant = variant if args.variant is None else args.variant
    outcome = checking.check_file(assignment, args.file, variant, args.seed)
    print(outcome)
    return 0 if outcome else 1


def grade_command(args):
    """Grade a folder of submissions: grades.csv, and beside it a page of feedback a student."""
    from . import grade, sources

    assignment = sources.find(args.assignment)
    if args.workers is not None and args.workers < 1:
        raise sources.CourseError(f"workers must be at least 1, got {args.workers}")
    out = args.out or Path(f"{assignment.name}_grades.csv")
    # clean up, as after Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        records = grade.grade(
            assignment,
            args.submissions,
            out,
            args.variant,
            not args.no_isolation,
            args.workers,
            args.quiet,
            args.sources or sources.DEFAULT,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on where it was") from None
    graded = [record for record in records if record.status == grade.GRADED]
    print(f"self-test passed; {len(graded)} of {len(records)} graded")
    for record in records:
        if record.status != grade.GRADED:
            print(f"  {record.student}: {record.status}")
    _, ignored = grade.find_submissions(args.submissions)
    if ignored:
        print(f"no submissions: {', '.join(ignored)}")
    foreign = [record.student for record in records if record.foreign]
    if foreign:
        print(
            f"{len(foreign)} of {len(records)} say that they are of another assignment or variant"
            f" (is --variant right?): {', '.join(foreign)}"
        )
    print(f"{out}\n{out.with_name(f'{out.stem}_feedback')}")
    return 0 if len(graded) == len(records) and not foreign else 1
