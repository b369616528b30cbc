"""The commands of the studies: study, cost, credit, staleness."""

import re
import sys
from pathlib import Path

from ..settings import SettingError


def add_parsers(commands):
    """Add the commands to the command line's parser."""
    study = commands.add_parser("study", help="make, go on with and draw a grid of runs")
    study.add_argument("name", metavar="NAME", help="memory-chain or flagged-recall")
    study.add_argument("--workers", type=int, default=1, metavar="N", help="processes, one a core")
    study.add_argument("--minutes", type=float, metavar="M", help="begin no run after this time")
    study.add_argument("--only", default="", metavar="REGEX", help="runs whose name contains this")
    study.add_argument("--runs", type=Path, metavar="DIR", help="run directories (runs/NAME)")
    add_out(study, "docs/results/NAME")
    study.add_argument("--list", action="store_true", help="print the runs still to make")
    study.add_argument("--draw", action="store_true", help="table and figure only")
    study.add_argument("--quiet", action="store_true", help="no progress bar")
    study.set_defaults(command=study_command)


def add_out(parser, default):
    """Add --out."""
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where results go ({default})")


def study_command(args):
    """Make the runs of a study that are still to make, and draw it."""
    from . import study

    if args.name not in study.STUDIES:
        raise SettingError(f"study must be one of {', '.join(study.STUDIES)}, got {args.name!r}")
    if args.workers < 1:
        raise SettingError(f"workers must be a whole number, at least 1, got {args.workers}")
    try:
        re.compile(args.only)
    except re.error as error:
        raise SettingError(f"only is not a regular expression: {error}") from None
    out = args.out or Path("docs/results") / args.name
    if args.list:
        todo = study.plan(study.STUDIES[args.name](), study.read(out / "runs.csv"))
        names = [study.job_name(*run) for run in todo]
        names = [name for name in names if re.search(args.only, name)]
        print(*names, f"{len(names)} runs to make", sep="\n")
        return 0
    failures = {}
    if args.draw:
        study.draw(args.name, out)
    else:
        runs = args.runs or Path("runs") / args.name
        failures = study.run(
            args.name, out, runs, args.workers, args.minutes, args.only, args.quiet
        )
    for name, failure in failures.items():
        print(f"{name} failed: {failure}", file=sys.stderr)
    print(f"results are in {out}")
    return 1 if failures else 0
