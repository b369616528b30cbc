"""The command line: python -m streamrl_np COMMAND, from a first run to grading a class."""

import argparse
import contextlib
import itertools
import os
import sys
from pathlib import Path

from .course import command as course
from .experiments import commands as studies
from .extras import MissingPackage
from .gradcheck import command as gradcheck
from .settings import SettingError, at_least, describe

BAD_INPUT = 2
INTERRUPTED = 130


def main(arguments=None):
    """Run the command line; returns the exit code (2 for bad input, 1 for a run that failed)."""
    from .arrays import NonFiniteError
    from .experiments.checkpoint import CheckpointError
    from .experiments.results import RunDirectoryError

    for stream in sys.stdout, sys.stderr:  # λ and ∂ where there are no such letters
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    args = make_parser().parse_args(arguments)
    try:
        return args.command(args)
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SettingError, MissingPackage, CheckpointError, RunDirectoryError, OSError) as error:
        print(f"streamrl_np: {error}", file=sys.stderr)
        return BAD_INPUT
    except NonFiniteError as error:
        print(f"streamrl_np: stopped: {error}", file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f"streamrl_np: not enough memory: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as stop:
        print(": ".join(["streamrl_np", "interrupted", *map(str, stop.args)]), file=sys.stderr)
        return INTERRUPTED


def make_parser():
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m streamrl_np", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True)

    run = commands.add_parser("run", help="run an experiment", description=run_command.__doc__)
    run.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="a name that `list` shows")
    run.add_argument("--seed", type=int, metavar="N", help="short for --set run.seed=N")
    run.add_argument("--steps", type=int, metavar="N", help="short for --set run.steps=N")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="a new or empty directory (runs/EXPERIMENT-seedN)"
    )
    run.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    run.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", help="see `list`")
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.set_defaults(command=run_command)

    listing = commands.add_parser("list", help="show the experiments and their settings")
    listing.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help="only this one")
    listing.add_argument(
        "--set", nargs="+", action="extend", metavar="KEY=VALUE", help="lie over it"
    )
    listing.set_defaults(command=list_command)

    show = commands.add_parser("show", help="print a run's summary and draw its curve")
    show.add_argument("directory", type=Path, metavar="RUN_DIR")
    show.set_defaults(command=show_command)

    gradcheck.add_parser(commands)
    course.add_parser(commands)

    sweep = commands.add_parser("sweep", help="run many experiments over many seeds")
    names = "popgym, mujoco, mujoco-rest, ppo, ring-16, ring-64, search:popgym/TASK"
    names = f"{names}, search-ppo:EXPERIMENT, or an experiment's name"
    sweep.add_argument("name", nargs="?", metavar="NAME", help=names)
    sweep.add_argument("--seeds", default="0-9", metavar="0-9", help="which seeds (0-9)")
    sweep.add_argument("--workers", type=int, metavar="N", help="processes (one a core)")
    sweep.add_argument(
        "--out", type=Path, metavar="DIR", help="the sweep's directory (sweeps/NAME)"
    )
    sweep.add_argument("--dask", metavar="ADDRESS", help="use a running Dask scheduler instead")
    sweep.add_argument("--only", default="", metavar="REGEX", help="arms whose name contains this")
    sweep.add_argument("--steps", type=int, metavar="N", help="short for --set run.steps=N")
    sweep.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", help="for all")
    sweep.add_argument("--quiet", action="store_true", help="no progress bar")
    sweep.set_defaults(command=sweep_command)

    watch = commands.add_parser("watch", help="let a trained agent play, and look at its memory")
    watch.add_argument("directory", type=Path, metavar="RUN_DIR")
    watch.add_argument("--episodes", type=int, metavar="N", help="of text (1)")
    watch.add_argument("--steps", type=int, default=400, metavar="N", help="longest play (400)")
    watch.add_argument("--seed", type=int, default=0, metavar="N", help="of what is played")
    watch.add_argument("--out", type=Path, metavar="FILE", help="the GIF (RUN_DIR/watch.gif)")
    watch.add_argument("--delay", type=float, metavar="S", help="of text, seconds a step (0.2)")
    watch.set_defaults(command=watch_command)

    plot = commands.add_parser("plot", help="draw a sweep's learning curves and table")
    plot.add_argument("directory", type=Path, metavar="DIR")
    plot.set_defaults(command=plot_command)

    bench = commands.add_parser("bench", help="measure one agent step at the paper's size")
    bench.add_argument("--experiment", metavar="NAME", help="measure it, environment included")
    bench.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", help="see `list`")
    bench.add_argument("--repeats", type=int, metavar="N", help="steps (2000)")
    bench.add_argument("--dtype", choices=("float32", "float64"), help="(float32)")
    bench.add_argument("--long", type=int, metavar="STEPS", help="time and memory of a long run")
    bench.set_defaults(command=bench_command)

    studies.add_parsers(commands)
    return parser


def run_command(args):
    """Run an experiment, or go on with one; the run directory is printed at the end."""
    from .experiments import runner
    from .experiments.results import hold, make_directory

    if args.resume is None:
        run = new_run(args)  # before any directory is made
        directory = make_directory(args.out) if args.out else fresh_directory(run)
        runner.require_empty(directory)
        with hold(directory):
            run.begin(directory)
            summary = runner.execute(run, args.quiet)
    else:
        directory = args.resume
        with hold(directory):
            summary = runner.execute(resumed_run(args), args.quiet)
    print_summary(summary)
    print(f"{'run directory':>16}  {directory}")
    if not summary["complete"]:
        print(f"interrupted; go on with: python -m streamrl_np run --resume {directory}")
        return INTERRUPTED
    return 0


def new_run(args):
    """Make the run that the arguments describe."""
    from .experiments import configs, runner

    settings = settings_of(args)
    if args.experiment is None:
        raise SettingError(f"name an experiment: {', '.join(configs.kinds())}")
    configs.require_name(args.experiment, settings)
    return runner.Run(configs.build(args.experiment, settings), args.experiment)


def resumed_run(args):
    """Open the run that the arguments name."""
    from .experiments import runner

    if args.seed is not None or args.out is not None or args.set:
        raise SettingError("a resumed run keeps its settings: only --steps may be given")
    return runner.resume(args.resume, args.steps, args.experiment)


def settings_of(args):
    """Collect --set, --seed and --steps into one dict of text."""
    settings = {}
    for item in args.set or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise SettingError(
                f"--set takes KEY=VALUE, got {item!r} (what is run stands before --set)"
            )
        settings[key] = value
    if getattr(args, "seed", None) is not None:
        settings["run.seed"] = str(args.seed)
    if getattr(args, "steps", None) is not None:
        settings["run.steps"] = str(args.steps)
    return settings


def fresh_directory(run):
    """Make a directory for a run, below runs/, that was not there yet."""
    from .experiments.grids import slug
    from .experiments.results import make_directory

    name = f"{slug(run.name)}-seed{run.experiment.run.seed}"
    runs = make_directory("runs")
    for count in itertools.count(1):
        directory = runs / (f"{name}-{count}" if count > 1 else name)
        with contextlib.suppress(FileExistsError):
            directory.mkdir()  # so that it is nobody else's
            return directory


def print_summary(summary):
    """Print a run's summary, a line a number."""
    for key, value in summary.items():
        text = f"{value:.4g}" if key == "final_return" and isinstance(value, float) else value
        print(f"{key.replace('_', ' '):>16}  {text}")


def list_command(args):
    """Show the experiments and their settings."""
    from .experiments import configs

    if args.experiment is None:
        for name in configs.PRESETS:
            print(f"{name:<28} {configs.summary(name)}")
        print(f"{'popgym/TASK':<28} any other POPGym task")
        print(f"{'gym:ID':<28} {configs.summary('gym:ID')}")
        print(
            "\n`list EXPERIMENT` shows an experiment's own settings, with `--set agent.name=ppo`"
            "\nthose of another agent; of the first experiment they are:\n"
        )
    name = args.experiment or next(iter(configs.PRESETS))
    if name not in configs.PRESETS:  # any other task or environment: is there one?
        configs.build(name).make_env().close()
    print(f"{name}: {configs.summary(name)}\n")
    for key, section, field in configs.keys(configs.build(name, settings_of(args))):
        kind = type(section).__annotations__[field.name]
        value = getattr(section, field.name)
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        allowed = describe(kind, field.metadata)
        print(f"  {key:<28} {shown:<13} {field.metadata['help']} ({allowed})")
    return 0


def show_command(args):
    """Print a run's summary and draw its curve."""
    from .experiments import plots
    from .experiments.results import moving_average, read_episodes, read_json

    config = read_json(args.directory / "config.json", "experiment", "seed")
    episodes = read_episodes(args.directory / "episodes.csv")
    title = f"{config['experiment']}, seed {config['seed']}"
    print(title)
    if (args.directory / "summary.json").exists():
        print_summary(read_json(args.directory / "summary.json"))
    else:
        done = episodes.step[-1] if len(episodes.step) else 0
        print(f"unfinished: {len(episodes.step)} episodes in {done} steps")
    mean = moving_average(episodes.returns)
    if len(mean):
        print(f"{'return':>16}  {plots.sparkline(mean)}  {mean.min():.3g} to {mean.max():.3g}")
    try:
        plots.learning_curve(episodes, title, args.directory / "curve.png")
        print(f"{'curve':>16}  {args.directory / 'curve.png'}")
    except (OSError, MissingPackage) as error:  # of another user's run, say
        print(f"{'curve':>16}  not drawn: {error}")
    return 0


def sweep_command(args):
    """Run a sweep, or what is left of it; failures are named at the end."""
    import functools

    from .experiments import curves, grids, sweep
    from .experiments.results import RunDirectoryError

    settings = settings_of(args)
    if args.name is None:
        raise SettingError("name a sweep: `sweep --help` lists them")
    if args.workers is not None:
        at_least(1, workers=args.workers)
    if args.dask and args.workers is not None:
        raise SettingError("--dask has workers of its own: --workers is for this machine's")
    if args.dask:
        pool = functools.partial(sweep.dask_pool, args.dask)
    else:
        pool = functools.partial(sweep.local_pool, args.workers or os.cpu_count())
    directory = (args.out or Path("sweeps") / grids.slug(args.name)).absolute()
    seeds = grids.parse_seeds(args.seeds)
    if "run.seed" in settings:
        raise SettingError("run.seed is what --seeds sets, got it in --set")
    known, made = curves.known(directory)
    summaries, failures = grids.run(
        args.name, directory, seeds, pool, settings, args.only, args.quiet, known, made
    )
    print(f"{len(summaries)} of {len(summaries) + len(failures)} runs finished")
    asked = [arm.directory(seed) for arm in grids.choose(args.name, args.only) for seed in seeds]
    asked = made.intersection(asked)
    if asked:
        print(f"{len(asked)} finished runs were known from {directory / 'curves.csv'}")
    for name, problem in failures.items():
        print(f"failed: {name}: {problem}", file=sys.stderr)
    if summaries or made:
        try:
            draw_sweep(directory)
        except RunDirectoryError as problem:  # the runs themselves are made
            print(f"not drawn: {problem}", file=sys.stderr)
    return 1 if failures else 0


def watch_command(args):
    """Let a trained agent play: a GIF for MuJoCo, text for anything else."""
    from .experiments import watch

    episodes = 1 if args.episodes is None else args.episodes
    delay = 0.2 if args.delay is None else args.delay
    at_least(1, episodes=episodes, steps=args.steps)
    if not 0 <= delay <= 60:
        raise SettingError(f"delay must be a number of seconds in [0, 60], got {delay}")
    player = watch.Player(args.directory, args.seed)
    if not player.drawn:
        if args.out is not None:
            raise SettingError("this run is shown as text: --out is for the GIF of a MuJoCo run")
        watch.tell(player, episodes, args.steps, delay)
        return 0
    if args.episodes is not None or args.delay is not None:
        raise SettingError("this run becomes a GIF: --episodes and --delay are for text")
    path = args.out or args.directory / "watch.gif"
    total = watch.film(player, path, args.steps)
    print(f"{'return':>16}  {total:.4g}")
    print(f"{'gif':>16}  {path}")
    return 0


def plot_command(args):
    """Draw a sweep's learning curves and write its table."""
    table = draw_sweep(args.directory)
    print(f"\n{table.read_text(encoding='utf-8')}")
    return 0


def draw_sweep(directory):
    """Draw a sweep, print what was written and what was left out; returns the table's path."""
    from .experiments import curves_report
    from .experiments.results import hold

    with hold(directory, wait=True):
        written, damaged = curves_report.draw(directory)
    print(*written, sep="\n")
    for name, problem in damaged.items():
        print(f"left out: {name}: {problem}", file=sys.stderr)
    return directory / "table.md"


def bench_command(args):
    """Measure one agent step at the paper's size (RTU 192, features 64, two networks)."""
    import numpy as np

    from .experiments import bench

    if args.long is not None:
        if args.experiment or args.set or args.dtype or args.repeats is not None:
            raise SettingError("--long is for a step at the paper's size, as it is")
        at_least(100, long=args.long)
        for step, microseconds, megabytes in bench.endurance(args.long):
            print(f"{step:>10} steps: {microseconds:6.1f} µs a step, {megabytes:6.1f} MB in use")
        return 0
    repeats = 2000 if args.repeats is None else args.repeats
    at_least(10, repeats=repeats)
    if args.experiment:
        return bench_experiment(args, repeats)
    if args.set:
        raise SettingError("--set is for a step of an experiment: name one with --experiment")
    dtype = np.dtype(args.dtype or "float32")
    result = bench.measure(dtype=dtype, repeats=repeats)
    print(f"one agent step, RTU 192, features 64, two networks, 2 actions, {dtype}")
    for name, meaning in bench.MEANINGS.items():
        unit = "" if name == "floor_ratio" else " µs"
        print(f"{name.replace('_', ' '):>12} {result[name]:9.2f}{unit:3}  {meaning}")
    for name, sizes, make in bench.growths(dtype):
        exponent, times = bench.growth(sizes, make, min(repeats, 300))
        listed = ", ".join(f"{size}: {t:.0f} µs" for size, t in times.items())
        print(f"growth with {name}: time ∝ {name}^{exponent:.2f}  ({listed})")
    return 0


def bench_experiment(args, repeats):
    """Measure a step of an experiment, environment included."""
    from .experiments import bench, configs

    settings = settings_of(args) | ({"run.dtype": args.dtype} if args.dtype else {})
    configs.require_name(args.experiment, settings)
    experiment = configs.build(args.experiment, settings)
    result = bench.measure_experiment(experiment, repeats)
    print(f"{args.experiment}, {result['steps']} steps, {experiment.run.dtype}")
    for name in ("environment", "normalisation", "agent", "whole"):
        print(f"{name:>16} {result[name]:9.2f} µs a step")
    print(f"{'steps per second':>16} {result['steps_per_second']:9.1f}")
    print(f"{'agent ratio':>16} {result['agent_ratio']:9.2f}  whole step / agent's part of it")
    return 0
