"""Learning curves over seeds: a sweep's runs, interquartile means and bootstrap intervals."""

import csv
from typing import NamedTuple

import numpy as np

from ..files import write_csv
from . import configs, grids, runner
from .results import WINDOW, RunDirectoryError, read_episodes, read_json, read_summary

POINTS = 100  # of a curve
DRAWS = 2000  # of the bootstrap
ENOUGH = 5  # seeds for a bootstrap

# the published scale, from the least mean return to the greatest (or what was taken for it)
RANGES = {
    "popgym/RepeatFirstEasy": (-1.0, 1.0),
    "popgym/CountRecallEasy": (-1.0, 1.0),
    "popgym/AutoencodeEasy": (-1.0, 1.0),
    "popgym/HigherLowerEasy": (-1.0, 0.507),
    "popgym/ConcentrationEasy": (-1.0, 0.816),
}


def normalised(experiment, value):
    """Put a return on the published scale, from least (0) to greatest (1), where there is one."""
    low, high = RANGES.get(experiment, (0.0, 1.0))
    return (value - low) / (high - low)


def returned(experiment, share):
    """Take a number on the published scale back to a return."""
    low, high = RANGES.get(experiment, (0.0, 1.0))
    return low + share * (high - low)


def iqm(values, axis=0):
    """Compute the interquartile mean: the mean of the middle half, whatever the count.

    The number at either edge of the middle half counts in part, so three values weigh
    ¼, 1, ¼.

    Examples
    --------
    >>> float(iqm(np.array([0.0, 1.0, 8.0])))
    2.0
    """
    values = np.sort(values, axis=axis)
    count = values.shape[axis]
    edges = np.arange(count + 1) / count
    weights = np.diff(np.clip(edges, 0.25, 0.75)) * 2.0
    return np.tensordot(weights, values, (0, axis))


def interval(values, rng):
    """Compute a 95 % bootstrap interval of the interquartile mean over seeds.

    Of fewer than ``ENOUGH`` seeds it would cover the truth far less often than it says (three
    of four times with three seeds): then it is from the least to the greatest.

    Parameters
    ----------
    values : (seeds, …) ndarray
    rng : numpy.random.Generator
        Draws the seeds that each bootstrap sample is made of.

    Returns
    -------
    low, high : (…) ndarray
    """
    if len(values) < ENOUGH:
        return values.min(0), values.max(0)
    chosen = rng.integers(len(values), size=(DRAWS, len(values)))
    draws = iqm(values[chosen], axis=1)
    return np.percentile(draws, [2.5, 97.5], axis=0)


def curve(episodes, steps):
    """Compute the mean return within each of ``POINTS`` equal parts of a run of ``steps``.

    A part without an episode's end repeats the one before; NaN before the first end and
    after the run's last.

    Returns
    -------
    (POINTS,) ndarray
    """
    part = np.minimum((episodes.step - 1) * POINTS // steps, POINTS - 1)
    sums = np.bincount(part, episodes.returns, POINTS)
    counts = np.bincount(part, minlength=POINTS)
    values = np.where(counts, sums / np.maximum(counts, 1), np.nan)
    last = part[-1] if len(part) else -1
    for i in range(1, last + 1):
        if np.isnan(values[i]):
            values[i] = values[i - 1]
    return values


def last_fifth(curve):
    """Compute the mean return over the last fifth of a run, wherever that ended."""
    known = curve[~np.isnan(curve)]
    return known[-max(1, len(known) // 5) :].mean()


class Row(NamedTuple):
    """One run, thinned: a row of ``curves.csv``, small enough to commit."""

    experiment: str
    arm: str
    seed: int
    settings: str  # their fingerprint
    steps: int  # that the run is to take
    finished: bool
    speed: float  # steps a second
    final: float  # mean return of the last episodes
    curve: np.ndarray  # (POINTS,)

    @property
    def name(self):
        """The run's directory within the sweep's."""
        return grids.Arm(self.experiment, self.arm, {}).directory(self.seed)


class Line(NamedTuple):
    """The runs of one arm: the finished ones, or all as long as none is."""

    label: str
    finished: int  # runs
    unfinished: int
    steps: int
    curves: np.ndarray  # (runs, POINTS)
    finals: np.ndarray  # (runs,) mean return of the last episodes

    @property
    def count(self):
        """Say how many runs there are: ``3``, ``2 + 1 unfinished``."""
        return f"{self.finished}" + f" + {self.unfinished} unfinished" * (self.unfinished > 0)


def rows(directory):
    """List the runs of a sweep's directory: those in it, and those that ``curves.csv`` knows.

    Arms stand in the sweep's order, whichever ran first, so that each keeps its colour; where
    ``curves.csv`` is all there is, in its own.

    Returns
    -------
    rows : list of Row
    damaged : dict
        Name to what is wrong, of the runs that cannot be read.

    Raises
    ------
    RunDirectoryError
        If it holds no sweep, or two runs of one name with different settings.
    """
    index, thin = directory / grids.INDEX, directory / "curves.csv"
    if not index.exists() and not thin.exists():
        raise RunDirectoryError(f"{directory} holds no sweep: {grids.INDEX} is missing")
    found = {row.name: row for row in read_rows(thin)} if thin.exists() else {}
    about_sweep = read_json(index, "runs", "arms") if index.exists() else {"runs": {}, "arms": []}
    damaged = {}
    for name, about in about_sweep["runs"].items():
        if (directory / name / "episodes.csv").exists():
            try:
                row = run_row(directory / name, about)
            except RunDirectoryError as error:
                damaged[name] = error
                found.pop(name, None)
                continue
            if row and name in found and found[name].settings != row.settings:
                raise RunDirectoryError(f"{directory / name} and {thin} differ in their settings")
            if row:
                found[name] = row
    arms = [*map(tuple, about_sweep["arms"]), *((r.experiment, r.arm) for r in found.values())]
    place = {arm: i for i, arm in enumerate(dict.fromkeys(arms))}
    ordered = sorted(found.values(), key=lambda r: (place[r.experiment, r.arm], r.seed))
    return ordered, damaged


def run_row(path, about):
    """Make the row of one run directory, or None while no episode has ended."""
    episodes = read_episodes(path / "episodes.csv")
    if len(episodes.step) == 0:
        return None
    _, experiment = runner.read_config(path)
    finished, speed = False, float("nan")
    summary = read_summary(path, episodes)
    if summary:
        finished, speed = summary["complete"], summary["steps_per_second"] or speed
    return Row(
        about["experiment"],
        about["label"],
        about["seed"],
        configs.fingerprint(experiment),
        experiment.run.steps,
        finished,
        speed,
        float(episodes.returns[-WINDOW:].mean()),
        curve(episodes, experiment.run.steps),
    )


def known(directory):
    """Say what runs a directory holds already, if it holds a sweep.

    Returns
    -------
    settings : dict of str
        Name to fingerprint, of all runs.
    made : set of str
        Names of the finished runs that only ``curves.csv`` knows: they need not be made.
    """
    if not (directory / grids.INDEX).exists() and not (directory / "curves.csv").exists():
        return {}, set()
    found, _ = rows(directory)
    made = {r.name for r in found if r.finished and not (directory / r.name).exists()}
    return {r.name: r.settings for r in found}, made


def lines_of(found):
    """Put rows together: experiment to list of Line, in the order of the rows."""
    groups = {}
    for row in found:
        groups.setdefault(row.experiment, {}).setdefault(row.arm, []).append(row)
    return {
        experiment: [line(label, runs) for label, runs in labels.items()]
        for experiment, labels in groups.items()
    }


def line(label, runs):
    """Put the runs of one arm together.

    Raises
    ------
    RunDirectoryError
        If their settings differ.
    """
    if len({row.settings for row in runs}) > 1:
        names = ", ".join(row.name for row in runs)
        raise RunDirectoryError(
            f"these are no seeds of one arm, for their settings differ: {names}"
        )
    finished = [row for row in runs if row.finished]
    shown = sorted(finished or runs, key=lambda row: row.seed)
    return Line(
        label,
        len(finished),
        len(runs) - len(finished),
        shown[0].steps,
        np.array([row.curve for row in shown]),
        np.array([row.final for row in shown]),
    )


def write_rows(path, runs):
    """Write rows as CSV."""
    written = []
    for row in runs:
        points = " ".join(f"{value:.4g}" for value in row.curve)
        values = int(row.finished), f"{row.speed:.1f}", f"{row.final:.5g}", points
        written.append([*row[:5], *values])
    write_csv(path, Row._fields, written)


def read_rows(path):
    """Read ``curves.csv``.

    Raises
    ------
    RunDirectoryError
        If it is damaged.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                Row(
                    r["experiment"],
                    r["arm"],
                    int(r["seed"]),
                    r["settings"],
                    int(r["steps"]),
                    r["finished"] == "1",
                    float(r["speed"]),
                    float(r["final"]),
                    np.array(r["curve"].split(), dtype=float).reshape(POINTS),
                )
                for r in csv.DictReader(file)
            ]
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise RunDirectoryError(f"{path} is damaged: {error!r}") from None
