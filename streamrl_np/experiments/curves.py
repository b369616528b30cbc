"""Learning curves over seeds: interquartile means, bootstrap intervals, a figure and a table."""

import csv
import io
from typing import NamedTuple

import numpy as np

from . import configs, grids, plots, runner
from .checkpoint import atomic_write
from .results import RunDirectoryError, read_episodes, read_json

POINTS = 100  # of a curve
DRAWS = 2000  # of the bootstrap
ENOUGH = 5  # seeds for a bootstrap
FINAL = 100  # episodes that a final return is the mean of

# least and greatest possible mean return, for the normalised scale
RANGES = {
    "popgym/RepeatFirstEasy": (-1.0, 1.0),
    "popgym/CountRecallEasy": (-1.0, 1.0),
    "popgym/AutoencodeEasy": (-1.0, 1.0),
    "popgym/HigherLowerEasy": (-1.0, 0.507),
    "popgym/ConcentrationEasy": (-1.0, 0.816),
}


class Published(NamedTuple):
    """Numbers of Farr 2026 (rev. Sept 2026), normalised for POPGym, returns for MuJoCo."""

    streaming: float
    ppo: float
    frames: str


PUBLISHED = {
    "popgym/RepeatFirstEasy": Published(0.48, 0.31, "10 M"),
    "popgym/CountRecallEasy": Published(0.23, 0.10, "10 M"),
    "popgym/ConcentrationEasy": Published(0.42, 0.78, "10 M"),
    "mujoco/Ant-P": Published(2944, 2605, "5 M"),
    "mujoco/Ant-V": Published(1437, 1936, "5 M"),
    "mujoco/HalfCheetah-P": Published(2928, 2449, "5 M"),
    "mujoco/HalfCheetah-V": Published(2146, 2742, "5 M"),
    "mujoco/Hopper-P": Published(1550, 1312, "5 M"),
    "mujoco/Hopper-V": Published(1214, 1082, "5 M"),
    "mujoco/Walker2d-P": Published(1073, 1386, "5 M"),
    "mujoco/Walker2d-V": Published(1207, 1330, "5 M"),
}


def normalised(experiment, value):
    """Put a return on the scale from least (0) to greatest (1), where the scale is known."""
    low, high = RANGES.get(experiment, (0.0, 1.0))
    return (value - low) / (high - low)


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


def interval(values, rng, level=0.95):
    """Compute a bootstrap interval of the interquartile mean over seeds.

    Of fewer than ``ENOUGH`` seeds it would cover the truth far less often than it says (three
    of four times with three seeds): then it is from the least to the greatest.

    Parameters
    ----------
    values : (seeds, …) ndarray
    rng : numpy.random.Generator
        Draws the seeds that each bootstrap sample is made of.
    level : float

    Returns
    -------
    low, high : (…) ndarray
    """
    if len(values) < ENOUGH:
        return values.min(0), values.max(0)
    chosen = rng.integers(len(values), size=(DRAWS, len(values)))
    draws = iqm(values[chosen], axis=1)
    tail = 100 * (1 - level) / 2
    return np.percentile(draws, [tail, 100 - tail], axis=0)


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
    place = {tuple(arm): i for i, arm in enumerate(about_sweep["arms"])}
    ordered = sorted(found.values(), key=lambda r: place.get((r.experiment, r.arm), len(place)))
    return ordered, damaged


def run_row(path, about):
    """Make the row of one run directory, or None while no episode has ended."""
    episodes = read_episodes(path / "episodes.csv")
    if len(episodes.step) == 0:
        return None
    _, experiment = runner.read_config(path)
    finished, speed = False, float("nan")
    if (path / "summary.json").exists():
        summary = read_json(path / "summary.json", "complete", "steps_per_second")
        finished, speed = summary["complete"], summary["steps_per_second"] or speed
    return Row(
        about["experiment"],
        about["label"],
        about["seed"],
        configs.fingerprint(experiment),
        experiment.run.steps,
        finished,
        speed,
        float(episodes.returns[-FINAL:].mean()),
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


def draw(directory):
    """Write a figure for each experiment, ``table.md`` and ``curves.csv`` into a sweep's directory.

    Returns
    -------
    written : list of pathlib.Path
    damaged : dict
        Name to what is wrong, of the runs that were left out.

    Raises
    ------
    RunDirectoryError
        If there is nothing to draw.
    """
    found, damaged = rows(directory)
    if not found:
        raise RunDirectoryError(f"{directory} holds no run in which an episode has ended")
    groups = lines_of(found)
    written = []
    for experiment, lines in groups.items():
        path = directory / f"{grids.slug(experiment)}.png"
        draw_experiment(experiment, lines, path)
        written.append(path)
    for name, text in ("table.md", table(groups)), ("curves.csv", thinned(found)):
        path = directory / name
        atomic_write(path, lambda file, text=text: file.write(text.encode()))
        written.append(path)
    return written, damaged


def draw_experiment(experiment, lines, path):
    """Draw every arm of one experiment: interquartile mean, interval, ceiling, published."""
    figure, axes = plots.new_figure(7.2, 5.2)
    rng = np.random.default_rng(0)
    colours = iter(plots.COLOURS * len(lines))
    for arm in lines:
        ceiling = arm.label == grids.MEMORYLESS
        colour = "0.45" if ceiling else next(colours)
        x = (np.arange(POINTS) + 1) * arm.steps / POINTS
        known = ~np.isnan(arm.curves).any(axis=0)
        x, curves = x[known], arm.curves[:, known]
        name = f"{arm.label} ({arm.count})"
        axes.plot(x, iqm(curves), color=colour, ls="--" if ceiling else "-", label=name)
        if len(curves) > 1:
            axes.fill_between(x, *interval(curves, rng), color=colour, alpha=0.2, lw=0)
        if ceiling and arm.finished:
            axes.axhline(iqm(arm.finals), color=colour, lw=0.8, ls=":")
    if experiment in PUBLISHED:
        draw_published(axes, experiment)
    if experiment in RANGES:
        low, high = RANGES[experiment]
        there = lambda y: (y - low) / (high - low)  # noqa: E731
        back = lambda y: low + y * (high - low)  # noqa: E731
        axes.secondary_yaxis("right", functions=(there, back)).set_ylabel("normalised")
    axes.set(title=experiment, xlabel="environment steps", ylabel="return")
    title = "interquartile mean (seeds)"
    counts = [len(arm.curves) for arm in lines]
    if max(counts) >= ENOUGH:
        title += ", band: its 95 % bootstrap interval"
    elif max(counts) > 1:
        title += ", band: from the least to the greatest"
    handles, labels = axes.get_legend_handles_labels()
    plots.legend_below(figure, dict(zip(labels, handles, strict=True)), width=3.2, title=title)
    plots.save_figure(figure, path)


def draw_published(axes, experiment):
    """Draw the published numbers as marks at the right edge."""
    low, high = RANGES.get(experiment, (0.0, 1.0))
    numbers = PUBLISHED[experiment]
    for value, marker, what in (numbers.streaming, ">", "streaming"), (numbers.ppo, "s", "PPO"):
        axes.plot(
            [1.0],
            [low + value * (high - low)],
            marker,
            color="k",
            mfc="none",
            ms=6,
            clip_on=False,
            transform=axes.get_yaxis_transform(),
            label=f"published {what}, {numbers.frames}",
        )


def table(groups):
    """Write every arm's final return as Markdown: interquartile mean and interval."""
    rng = np.random.default_rng(0)
    rows = ["| experiment | arm | seeds | steps | final return [interval] | least | normalised |"]
    rows.append("|---|---|---|---|---|---|---|")
    for experiment, lines in groups.items():
        for arm in lines:
            if not arm.finished:
                rows.append(f"| {experiment} | {arm.label} | {arm.count} | {arm.steps} | | | |")
                continue
            value = float(iqm(arm.finals))
            digits = 0 if abs(value) >= 100 else 3
            text = f"{value:.{digits}f}"
            if arm.finished > 1:
                low, high = interval(arm.finals, rng)
                text += f" [{low:.{digits}f}, {high:.{digits}f}]"
            scaled = f"{normalised(experiment, value):.2f}" if experiment in RANGES else ""
            least = f"{arm.finals.min():.{digits}f}"
            cells = experiment, arm.label, arm.count, arm.steps, text, least, scaled
            rows.append("| " + " | ".join(map(str, cells)) + " |")
        if experiment in PUBLISHED:
            streaming, ppo, frames = PUBLISHED[experiment]
            for label, value in ("streaming", streaming), ("PPO", ppo):
                numbers = ("", "", value) if experiment in RANGES else (value, "", "")
                cells = experiment, f"*published {label}*", "", frames, *numbers
                rows.append("| " + " | ".join(map(str, cells)) + " |")
    return (
        "\n".join(rows) + f"\n\nFinal return: the mean of a run's last {FINAL} episodes, then the "
        "interquartile mean over seeds, and the least of them. Interval: of "
        f"{ENOUGH} seeds or more a 95 % bootstrap interval of that mean, of fewer the least and "
        "the greatest.\n"
    )


def thinned(runs):
    """Write rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in runs:
        points = " ".join(f"{value:.4g}" for value in row.curve)
        values = int(row.finished), f"{row.speed:.1f}", f"{row.final:.5g}", points
        writer.writerow([*row[:5], *values])
    return text.getvalue()


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
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(f"{path} is damaged: {error!r}") from None
