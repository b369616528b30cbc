"""The commands of the studies: study, cost, credit, staleness."""

import sys
from pathlib import Path

from ..extras import require
from ..settings import SettingError, at_least


def add_parsers(commands):
    """Add the commands to the command line's parser."""
    study = commands.add_parser("study", help="make, go on with and draw a grid of runs")
    names = (
        "memory-chain, memory-chain-500k, memory-chain-entropy, memory-chain-slow-actor,"
        " memory-chain-adaptive, distractors, distractors-32 or flagged-recall"
    )
    study.add_argument("name", metavar="NAME", help=names)
    study.add_argument("--workers", type=int, metavar="N", help="processes, one a core (1)")
    study.add_argument("--minutes", type=float, metavar="M", help="begin no run after this time")
    study.add_argument("--only", default="", metavar="REGEX", help="runs whose name contains this")
    study.add_argument("--runs", type=Path, metavar="DIR", help="run directories (runs/NAME)")
    add_out(study, "docs/results/NAME")
    what = study.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="print the runs still to make")
    what.add_argument("--draw", action="store_true", help="table and figure only")
    study.add_argument("--quiet", action="store_true", help="no progress bar")
    study.set_defaults(command=study_command)

    cost = commands.add_parser("cost", help="time and memory of a step against width, per cell")
    cost.add_argument("--repeats", type=int, default=60, metavar="N", help="of each step (60)")
    add_out(cost, "results/cost")
    cost.set_defaults(command=cost_command)

    credit = commands.add_parser("credit", help="what an update owes to a step n in the past")
    credit.add_argument("--length", type=int, default=32, metavar="L", help="of the MemoryChain")
    credit.add_argument("--steps", type=int, default=100_000, metavar="N", help="of training")
    credit.add_argument("--episodes", type=int, default=10, metavar="N", help="measured")
    credit.add_argument(
        "--runs", type=Path, default=Path("runs/credit"), metavar="DIR", help="run directories"
    )
    add_out(credit, "results/credit")
    credit.set_defaults(command=credit_command)

    staleness = commands.add_parser("staleness", help="how stale sensitivities are in a stream")
    staleness.add_argument("--steps", type=int, default=40_000, metavar="N", help="of training")
    add_out(staleness, "results/staleness")
    staleness.set_defaults(command=staleness_command)


def add_out(parser, default):
    """Add --out."""
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where results go ({default})")


def study_command(args):
    """Make the runs of a study that are still to make, and draw it."""
    from . import study, study_report
    from .results import RunDirectoryError, hold

    if args.name not in study.STUDIES:
        raise SettingError(f"study must be one of {', '.join(study.STUDIES)}, got {args.name!r}")
    workers = 1 if args.workers is None else args.workers
    at_least(1, workers=workers)
    if args.minutes is not None and not args.minutes > 0:
        raise SettingError(f"minutes must be a number above 0, got {args.minutes}")
    idle = {"workers": args.workers, "minutes": args.minutes, "runs": args.runs}
    idle = [f"--{name}" for name, value in idle.items() if value is not None]
    idle += ["--only"] if args.draw and args.only else []
    if (args.list or args.draw) and idle:
        raise SettingError(f"{' and '.join(idle)} is for making runs, not for --list or --draw")
    out = args.out or Path("docs/results") / args.name
    if args.list:
        names = [study.job_name(*run) for run in study.to_do(args.name, out, args.only)]
        print(*names, f"{len(names)} runs to make", sep="\n")
        return 0
    failures = {}
    if not args.draw:
        runs = args.runs or Path("runs") / args.name
        failures = study.run(args.name, out, runs, workers, args.minutes, args.only, args.quiet)
    for name, failure in failures.items():
        print(f"{name} failed: {failure}", file=sys.stderr)
    if not (out / "runs.csv").exists():
        raise RunDirectoryError(f"{out} holds no finished runs: runs.csv is missing")
    with hold(out, wait=True):
        study_report.draw(args.name, out)
    print(f"results are in {out}")
    return 1 if failures else 0


def cost_command(args):
    """Measure what a step of each cell costs, against its width."""
    from . import cost

    at_least(5, repeats=args.repeats)
    out = ready(args.out or Path("results/cost"))
    return show(cost.report, cost.measure(args.repeats), out)


def credit_command(args):
    """Train two agents on MemoryChain and measure where their updates put credit."""
    from . import credit

    at_least(8, length=args.length)
    at_least(args.length + 1, steps=args.steps)  # an episode at least
    at_least(1, episodes=args.episodes)
    options = args.length, args.steps, args.episodes, args.runs
    out = ready(args.out or Path("results/credit"))
    studies = [credit.study(mode, *options) for mode in credit.MODES]
    return show(credit.report, studies, out)


def staleness_command(args):
    """Let agents learn KMemoryChain and measure how stale their sensitivities are."""
    from . import staleness

    at_least(10_000, steps=args.steps)
    out = ready(args.out or Path("results/staleness"))
    measured = [staleness.measure(delay, args.steps) for delay in staleness.DELAYS]
    return show(staleness.report, measured, out)


def ready(out):
    """Make the directory for results before the work that is to fill it; returns it."""
    from .results import make_directory

    require("matplotlib")
    return make_directory(out)


def show(report, measured, out):
    """Write a report and print its table."""
    report(measured, out)
    print((out / "table.md").read_text(encoding="utf-8"), end="")
    print(f"\nresults are in {out}")
    return 0
