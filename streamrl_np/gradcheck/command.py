"""python -m streamrl_np gradcheck: check every derivative of the package, or one of yours."""

import fnmatch
import functools
import importlib.util
import json
import sys
import time
from pathlib import Path

from ..extras import require
from ..files import write_text
from ..settings import SettingError


def add_parser(subparsers):
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "gradcheck", help="check every hand-written derivative", description=main.__doc__
    )
    parser.add_argument("--only", metavar="NAME", help="checks whose name holds NAME (* and ? too)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="draws the inputs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the reports as data")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the figures")
    parser.add_argument(
        "--module",
        metavar="FILE.py:FUNCTION",
        help="check a function of yours in place of the one of that name (cells.rtu.vjp if"
        " several have it)",
    )
    parser.set_defaults(command=main)
    return parser


def main(args):
    """Check every hand-written derivative of the package and print one table.

    The exit code is 0 only when every check passes, 1 when one does not, 2 for bad input.
    """
    from . import registry

    if args.seed < 0:
        raise SettingError(f"seed must be a whole number, at least 0, got {args.seed}")
    if args.json is not None and (args.json.is_dir() or not args.json.absolute().parent.is_dir()):
        raise SettingError(f"cannot write {args.json}: there is no such directory, or it is one")
    if args.plots is not None and args.plots.is_file():
        raise SettingError(f"cannot write to {args.plots}: it is a file, not a directory")
    if args.plots is not None:
        require("matplotlib")  # now, and not when all checks have run
    chosen = choose(registry.checks(), args.only)
    if args.module is None:
        reports = print_table(chosen, args.seed)
    else:
        name, function = load(args.module, registry)
        covering = {n: c for n, c in chosen.items() if name in c.covers}
        if args.only is None and covering:
            chosen = covering
        print(f"{args.module} in place of {name}")
        calls = []

        @functools.wraps(function)
        def noted(*arguments, **named):
            calls.append(name)
            return function(*arguments, **named)

        with registry.swapped(name, noted):
            reports = print_table(chosen, args.seed)
        if not calls:
            raise SettingError(f"none of these checks calls {name}: nothing is known about yours")
    for report in reports:
        if not report.ok:
            print(f"\n{report}")
    good = sum(report.ok for report in reports)
    numbers = sum(report.checked for report in reports)
    seconds = sum(report.seconds for report in reports)
    print(f"\n{good} of {len(reports)} checks pass: {numbers} numbers in {seconds:.1f} s")
    if args.json is not None:
        write_json(args.json, reports)
    if args.plots is not None:
        from . import figures

        for path in figures.draw_all(args.plots, args.seed):
            print(path)
    return 0 if good == len(reports) else 1


def choose(checks, only):
    """Choose the checks whose name holds ``only``, or matches it as a pattern."""
    if only is None:
        return checks
    chosen = {n: c for n, c in checks.items() if only in n or fnmatch.fnmatch(n, only)}
    if not chosen:
        raise SettingError(f"--only {only} fits no check; there are: {', '.join(checks)}")
    return chosen


def print_table(checks, seed):
    """Run the checks, printing a line for each as it is done; returns the reports."""
    from .large import SINGLE

    width = max(map(len, checks))
    rest = f"numbers  worst error  {'where':<30} float32  {'verdict':<12} seconds"
    print(f"{'what':<{width}}  {rest}")
    reports = []
    for check in checks.values():
        report = check.run(seed)
        worst, single = report.worst, report.single
        error, where = (f"{worst.error:.1e}", worst.name) if worst else ("", "")
        verdict = report.verdict + (" *" if report.claim else "")
        print(
            f"{check.name:<{width}}  {report.checked:7d}  {error:>11}  {where:<30}"
            f" {f'{single.error:.0e}' if single else '':>7}  {verdict:<12} {report.seconds:7.2f}",
            flush=True,
        )
        reports.append(report)
    claims = dict.fromkeys(report.claim for report in reports if report.claim)
    if claims:
        print("\n* declared: what is claimed is not the gradient through everything, but")
        print("\n".join(f"    {claim}" for claim in claims))
    print(f"\nfloat32: how far float32 is from float64, of the largest entry; {SINGLE:g} fails")
    return reports


def load(spec, registry):
    """Load FILE.py:FUNCTION; returns (name of the built-in, function)."""
    file, colon, wanted = spec.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise SettingError(f"--module takes FILE.py:FUNCTION, got {spec!r}")
    if not Path(file).is_file():
        raise SettingError(f"there is no file {file}")
    name = builtin(wanted, registry)
    module_spec = importlib.util.spec_from_file_location("theirs", file)
    module = importlib.util.module_from_spec(module_spec)
    sys.modules["theirs"] = module  # where dataclasses look for it
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SettingError(f"{file} stops with {type(error).__name__}: {error}") from error
    function = getattr(module, wanted.rpartition(".")[2], None)
    if not callable(function):
        raise SettingError(f"{file} has no function {wanted.rpartition('.')[2]}")
    return name, function


def builtin(wanted, registry):
    """Find the one function of the package that a name like ``linear_vjp`` means."""
    checked = [n for n in registry.functions() if not n.startswith("gradcheck.")]
    found = [n for n in checked if f".{n}".endswith(f".{wanted}")]
    if not found:
        raise SettingError(f"the package has no function {wanted}")
    if len(found) > 1:
        raise SettingError(
            f"{wanted} may be any of {', '.join(found)}; say which: FILE.py:{found[0]}"
        )
    return found[0]


def write_json(path, reports):
    """Write the reports as data."""
    data = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "reports": [r.to_dict() for r in reports]}
    try:
        write_text(path, json.dumps(data, indent=1))
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from error
