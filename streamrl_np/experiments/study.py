"""Where exact RTRL matters: grids of runs that answer it, in an order that answers soon.

A study is a list of cells (agent, method, λ, ring, task length), each to be run on several
seeds. What is known is one row a run in ``runs.csv``, small enough to commit; :func:`plan`
looks at it and says which runs to make next, so a study can be broken off at any time and
gone on with anywhere.
"""

import csv
import re
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from ..cells import rtu
from ..files import write_csv
from ..settings import SettingError, pattern
from . import configs, sweep
from .results import RunDirectoryError, hold, make_directory, read_episodes

METHODS = {
    "RTU RTRL": ("rtu", "rtrl"),
    "RTU TBPTT(1)": ("rtu", "tbptt1"),
    "RTU frozen": ("rtu", "frozen"),
    "minGRU RTRL": ("mingru", "rtrl"),
    "GRU TBPTT(1)": ("gru", "tbptt1"),
    "feedforward": ("feedforward", "rtrl"),
    "minGRU TBPTT(1)": ("mingru", "tbptt1"),  # the last, so that no other changes its colour
}
SOLVED = 0.5  # a final return above this
STOP = 0.9  # a run whose last 100 episodes reach this has nothing more to show
SEEDS, SEEDS_IF_CLOSE = 5, 10
CURVE_POINTS = 20
LONG = 128  # a length from which on runs get more steps


LENGTHS = {  # of chains, those first that tell most: what is found at one may decide others
    "rtu": (64, 16, 128, 32, 256, 8, 4, 2),  # bridges most of them
    "gru": (16, 32, 64, 128, 256, 8, 4, 2),  # gives up sooner
    "mingru": (16, 32, 64, 128, 256, 8, 4, 2),
    "feedforward": (2, 4, 8, 16, 32, 64, 128, 256),  # bridges none
}


class Cell(NamedTuple):
    """One cell of a study's grid."""

    agent: str
    method: str
    trace_decay: float
    ring: str  # "published" |λ| ∈ [0, 1], "long" |λ| ∈ [exp(−3/L), 1], "none" without memory
    length: int
    units: int = 192

    @property
    def line(self):
        """The cells that differ from this one in length alone."""
        return self._replace(length=0)


class Result(NamedTuple):
    """One run of a cell."""

    cell: Cell
    seed: int
    final_return: float
    steps: int
    seconds: float
    curve: tuple  # mean return in equal parts of the run

    @property
    def solved(self):
        """Whether the run solved its task."""
        return self.final_return > SOLVED


def memory_chain_cells():
    """List the grid of MemoryChain: how long a chain each method bridges."""
    return [
        Cell(agent, method, decay, ring, length)
        for agent in ("actor-critic", "qrc")
        for decay in (0.8, 0.95)
        for method in METHODS
        if method != "minGRU TBPTT(1)"
        for ring in rings(method)
        for length in LENGTHS[METHODS[method][0]]
    ]


def contrast_cells(*lengths, methods=("RTU RTRL", "RTU TBPTT(1)")):
    """List where the published contrast would be: the published ring, far beyond its reach."""
    return [
        Cell("actor-critic", method, 0.8, "published", length)
        for method in methods
        for length in lengths
    ]


def gated_cells(*lengths, methods=("minGRU RTRL", "GRU TBPTT(1)")):
    """List gated cells where they fail with stream AC(λ): their actor makes up its mind early."""
    return [
        Cell("actor-critic", method, 0.8, ring, length)
        for method in methods
        for ring in rings(method)
        for length in lengths
    ]


def adaptive_cells():
    """List what is tried with a step size for each parameter: gated cells, and RTUs that forget."""
    one_step = gated_cells(64, methods=["minGRU TBPTT(1)"])  # what the minGRU's exact gradient adds
    forgetful = contrast_cells(128, 64, methods=["RTU RTRL", "RTU TBPTT(1)", "RTU frozen"])
    return [*gated_cells(16, 32, 64), *one_step, *forgetful]


def storing_cells(length, units):
    """List the methods for a task in which what to store must be learned, by few units."""
    return [
        Cell("actor-critic", method, 0.8, rings(method)[-1], length, units) for method in METHODS
    ]


def rings(method):
    """List the rings to run a method with."""
    return ("none",) if method == "feedforward" else ("published", "long")


class Study(NamedTuple):
    """A grid, and what all its runs have in common."""

    cells: Callable
    preset: str
    settings: dict  # laid over the preset
    steps: int  # that a run may take
    seeds: int = SEEDS  # of a cell, if it needs no more


STUDIES = {
    "memory-chain": Study(
        memory_chain_cells, "memory-chain", {"agent.discount": 0.999}, steps=300_000
    ),
    "memory-chain-500k": Study(  # as many steps as Farr 2026 take
        partial(contrast_cells, 64), "memory-chain", {"agent.discount": 0.999}, steps=500_000
    ),
    "memory-chain-entropy": Study(  # ten times the entropy bonus
        partial(gated_cells, 16),
        "memory-chain",
        {"agent.discount": 0.999, "agent.entropy": 0.1},
        steps=300_000,
    ),
    "memory-chain-slow-actor": Study(  # an actor that moves ten times less
        partial(gated_cells, 16),
        "memory-chain",
        {"agent.discount": 0.999, "agent.kappa_policy": 20.0},
        steps=300_000,
    ),
    "memory-chain-adaptive": Study(  # a step size for each parameter
        adaptive_cells,
        "memory-chain",
        {
            "agent.discount": 0.999,
            "agent.optimizer": "adaptive_obgd",
            "agent.kappa_policy": 0.3,
            "agent.kappa_value": 0.2,
        },
        steps=300_000,
    ),
    "distractors": Study(
        partial(storing_cells, length=16, units=8),
        "memory-chain",
        {"env.distractors": 16},
        steps=200_000,
        seeds=SEEDS_IF_CLOSE,  # a contrast is here: as many for those that fail
    ),
    "distractors-32": Study(  # too far for a gate that sees one step
        partial(storing_cells, length=32, units=32),
        "memory-chain",
        {"env.distractors": 16, "agent.discount": 0.999, "cell.max_phase": 0.3},
        steps=300_000,
        seeds=SEEDS_IF_CLOSE,
    ),
    "flagged-recall": Study(
        partial(storing_cells, length=8, units=8), "flagged-recall", {}, steps=150_000
    ),
}


def most_steps(study, cell):
    """Say how long a run may take: chance after these steps counts as chance."""
    if cell.method == "feedforward":
        return 100_000  # it sees nothing at the last step that could tell one answer from the other
    return 500_000 if cell.length >= LONG else STUDIES[study].steps


def job(study, cell, seed):
    """Make the run of one seed of a cell."""
    name, mode = METHODS[cell.method]
    settings = {"agent.kappa_policy": 2.0} if cell.agent == "actor-critic" else {}
    settings |= {
        **STUDIES[study].settings,
        "env.length": cell.length,
        "agent.name": cell.agent,
        "agent.trace_decay": cell.trace_decay,
        "cell.name": name,
        "cell.mode": mode,
        "cell.units": cell.units,
        "cell.r_min": rtu.ring(cell.length) if cell.ring == "long" else 0.0,
        "run.steps": most_steps(study, cell),
        "run.stop_return": STOP,
        "run.seed": seed,
    }
    preset = STUDIES[study].preset
    experiment = configs.build(preset, {key: str(value) for key, value in settings.items()})
    return sweep.Job(job_name(cell, seed), experiment, preset)


def job_name(cell, seed):
    """Name a run: ``actor-critic_rtu-rtrl_0.8_long_L16_n192_s0``."""
    method = re.sub(r"[^a-z0-9]+", "-", cell.method.lower()).strip("-")
    parts = cell.agent, method, cell.trace_decay, cell.ring
    return "_".join(map(str, parts)) + f"_L{cell.length}_n{cell.units}_s{seed}"


def plan(cells, results, least=SEEDS):
    """List ``(cell, seed)`` of the runs still to make, the most telling first.

    Every cell gets ``least`` seeds, and 10 if some of 5 solve it and some do not. A cell
    that its neighbours decide (see :func:`implied`) gets no more than it has, unless it is
    one of those that the study's claim is about: nothing else speaks for them.
    """
    by_cell = group(results)
    wanted = []
    for cell in cells:
        if implied(cell, by_cell) is not None and not claimed(cell):
            continue
        known = {result.seed: result.solved for result in by_cell.get(cell, ())}
        close = len(known) >= SEEDS and 0 < sum(known.values()) < len(known)
        seeds = SEEDS_IF_CLOSE if close else least
        wanted += [(cell, seed) for seed in range(seeds) if seed not in known]
    place, lines = {}, {}
    for cell in cells:
        lines.setdefault(cell.line, []).append(cell)
        place[cell] = len(lines[cell.line]) - 1
    return sorted(wanted, key=lambda run: lateness(*run, place[run[0]]))


def claimed(cell):
    """Whether a cell is of the line that is claimed to be solved at every length."""
    return cell.line == Cell("actor-critic", "RTU RTRL", 0.8, "long", 0, cell.units)


def lateness(cell, seed, place):
    """Say how late a run should come: three seeds of a line's first length before its second.

    First stream AC(λ) with λ = 0.8 and QRC(λ) with λ = 0.95; the other two last, for these may
    decide them.
    """
    after = {("actor-critic", 0.8): 0, ("qrc", 0.95): 8}.get((cell.agent, cell.trace_decay), 32)
    return seed + 3 * place + after


def group(results):
    """Sort results by cell."""
    by_cell = {}
    for result in results:
        by_cell.setdefault(result.cell, []).append(result)
    return by_cell


def implied(cell, by_cell):
    """Say what the neighbours of a cell make certain, unless a run of its own says otherwise.

    Returns
    -------
    bool or None
        What its line implies; or, if the line leaves it open, what the same cell with the other
        agent and the same cell with the other λ both say; None if open.
    """
    verdict = implied_by_line(cell, by_cell)
    if verdict is None:
        agent = {"actor-critic": "qrc", "qrc": "actor-critic"}[cell.agent]
        decay = {0.8: 0.95, 0.95: 0.8}[cell.trace_decay]
        beside = cell._replace(agent=agent), cell._replace(trace_decay=decay)
        verdicts = {unanimous(by_cell.get(c, ()), implied_by_line(c, by_cell)) for c in beside}
        verdict = verdicts.pop() if len(verdicts) == 1 else None
    return None if any(run.solved != verdict for run in by_cell.get(cell, ())) else verdict


def implied_by_line(cell, by_cell):
    """Say what shorter and longer tasks make certain about a cell.

    Returns
    -------
    bool or None
        False if of the same line no run solved a shorter task on all its seeds, or two shorter
        tasks on two seeds at least, where a shorter task that got fewer steps counts if it is at
        most a quarter as long; True if every one of three runs or more solved a longer one; None
        if open.
    """
    line = {c.length: runs for c, runs in by_cell.items() if c.line == cell.line}
    shorter = [runs for length, runs in line.items() if tells(length, cell)]
    longer = [runs for length, runs in line.items() if length > cell.length]
    hopeless = [len(runs) for runs in shorter if not any(r.solved for r in runs)]
    if any(count >= SEEDS for count in hopeless) or sum(count >= 2 for count in hopeless) >= 2:
        return False
    if any(unanimous(runs) for runs in longer):
        return True
    return None


def tells(length, cell):
    """Whether failure at ``length`` tells of a longer cell: not if it had fewer steps."""
    same_steps = (length >= LONG) == (cell.length >= LONG)
    return length < cell.length and (same_steps or 4 * length <= cell.length)


def unanimous(runs, otherwise=None):
    """Say what runs agree on: True if all of three or more solved it, False if none of five did."""
    if not runs:
        return otherwise
    if len(runs) >= 3 and all(r.solved for r in runs):
        return True
    if len(runs) >= SEEDS and not any(r.solved for r in runs):
        return False
    return None


def to_do(study, out, only=""):
    """List ``(cell, seed)`` of the runs still to make, of those whose name contains ``only``.

    Raises
    ------
    SettingError
        If ``only`` is no regular expression, or fits no run of the study.
    """
    chosen, cells = pattern("only", only), STUDIES[study].cells()
    every = (job_name(cell, seed) for cell in cells for seed in range(SEEDS_IF_CLOSE))
    if not any(map(chosen.search, every)):
        raise SettingError(f"only must fit a run of {study}, and {only!r} fits none")
    wanted = plan(cells, read(out / "runs.csv"), STUDIES[study].seeds)
    return [run for run in wanted if chosen.search(job_name(*run))]


def run(study, out, runs, workers=1, minutes=None, only="", quiet=False, shrink=None):
    """Make the runs of a study that are still to make, each chosen by all that ended before it.

    Parameters
    ----------
    study : str
        A key of ``STUDIES``.
    out : pathlib.Path
        Where ``runs.csv`` is kept.
    runs : pathlib.Path
        Where the run directories go.
    workers : int
    minutes : float, optional
        Begin no run after this time.
    only : str
        A regular expression that a run's name must contain.
    quiet : bool
    shrink : dict, optional
        Settings laid over every run, for a trial.

    Returns
    -------
    dict
        Failures by name.
    """
    began = time.monotonic()
    make_directory(out)
    make_directory(runs)
    cells = {}  # of every run begun, by name: its cell and seed

    def begin(running):
        if minutes is not None and time.monotonic() - began >= 60 * minutes:
            return []
        todo = [run for run in to_do(study, out, only) if job_name(*run) not in cells]
        todo = todo[: workers - running]
        cells.update({job_name(*run): run for run in todo})
        jobs = [job(study, *run) for run in todo]
        return [j._replace(experiment=configs.replace(j.experiment, shrink or {})) for j in jobs]

    def keep(job, summary):
        episodes = read_episodes(runs / job.name / "episodes.csv")
        add(out / "runs.csv", result(*cells[job.name], summary, episodes))

    pool = lambda: sweep.local_pool(workers)  # noqa: E731
    _, failures = sweep.execute(begin(0), runs, pool, quiet, keep, begin)
    return failures


def result(cell, seed, summary, episodes):
    """Make the row of one finished run."""
    parts = np.array_split(episodes.returns, CURVE_POINTS)
    curve = tuple(round(float(part.mean()), 3) for part in parts if len(part))
    final = round(float(summary["final_return"]), 4)
    return Result(cell, seed, final, summary["steps"], summary["seconds"], curve)


COLUMNS = (*Cell._fields, *Result._fields[1:])


def read(path):
    """Read runs.csv; an absent file holds no runs.

    Raises
    ------
    RunDirectoryError
        If it is damaged.
    """
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (ValueError, csv.Error) as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from None
    if tuple(header) != COLUMNS:
        raise RunDirectoryError(f"{path} is damaged: its first line is not {','.join(COLUMNS)}")
    results = []
    for number, row in enumerate(rows, 2):
        try:
            agent, method, decay, ring, length, units, seed, final, steps, seconds, curve = row
            cell = Cell(agent, method, float(decay), ring, int(length), int(units))
            rest = int(seed), float(final), int(steps), float(seconds)
            results.append(Result(cell, *rest, tuple(map(float, curve.split()))))
        except ValueError as error:
            raise RunDirectoryError(f"{path}, line {number}, is damaged: {error}") from None
    return results


def add(path, result):
    """Add one run to runs.csv, kept in order so that two people's rows merge."""
    with hold(path.parent, wait=True):
        results = {(r.cell, r.seed): r for r in [*read(path), result]}
        rows = []
        for key in sorted(results):
            r = results[key]
            row = (*r.cell, r.seed, r.final_return, r.steps, round(r.seconds, 1))
            rows.append((*row, " ".join(map(str, r.curve))))
        write_csv(path, COLUMNS, rows)
