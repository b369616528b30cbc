"""Figures and table of a sweep: every arm over its seeds, beside what is published."""

from functools import partial
from typing import NamedTuple

import numpy as np

from ..files import write_text
from . import grids, plots
from .curves import (
    ENOUGH,
    POINTS,
    RANGES,
    interval,
    iqm,
    last_fifth,
    lines_of,
    normalised,
    returned,
    rows,
    write_rows,
)
from .results import WINDOW, RunDirectoryError


class Published(NamedTuple):
    """Numbers of Farr 2026 (rev. Sept 2026), normalised for POPGym, returns for MuJoCo."""

    streaming: float  # on POPGym the best of their streaming methods
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
        words = [
            f"{directory} holds no run in which an episode has ended",
            *map(str, damaged.values()),
        ]
        raise RunDirectoryError("; ".join(words))
    groups = lines_of(found)
    write_text(directory / "table.md", table(groups))
    write_rows(directory / "curves.csv", found)
    written = []
    for experiment, lines in groups.items():
        path = directory / f"{grids.slug(experiment)}.png"
        title = plots.plain(f"{experiment} ({directory.resolve().name})")
        draw_experiment(title, experiment, lines, path)
        written.append(path)
    return [*written, directory / "table.md", directory / "curves.csv"], damaged


def draw_experiment(title, experiment, lines, path):
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
        scale = partial(normalised, experiment), partial(returned, experiment)
        axes.secondary_yaxis("right", functions=scale).set_ylabel("normalised")
    axes.set(title=title, xlabel="environment steps", ylabel="return")
    words = "interquartile mean (seeds)"
    counts = [len(arm.curves) for arm in lines]
    few = any(1 < count < ENOUGH for count in counts)
    if max(counts) >= ENOUGH:
        words += ", band: its 95 % bootstrap interval"
        words += f", of fewer than {ENOUGH} least to greatest" * few
    elif few:
        words += ", band: from the least to the greatest"
    handles, labels = axes.get_legend_handles_labels()
    plots.legend_below(figure, dict(zip(labels, handles, strict=True)), width=3.2, title=words)
    plots.save_figure(figure, path)


def draw_published(axes, experiment):
    """Draw the published numbers as marks at the right edge."""
    numbers = PUBLISHED[experiment]
    streaming = streaming_words(experiment)
    for value, marker, what in (numbers.streaming, ">", streaming), (numbers.ppo, "s", "PPO"):
        axes.plot(
            [1.0],
            [returned(experiment, value)],
            marker,
            color="k",
            mfc="none",
            ms=6,
            clip_on=False,
            transform=axes.get_yaxis_transform(),
            label=f"published, {what}, {numbers.frames}",
        )


def streaming_words(experiment):
    """Say what the published streaming number is of."""
    return "best streaming" if experiment in RANGES else "streaming"


def table(groups):
    """Write every arm's final return as Markdown: interquartile mean and interval."""
    rng = np.random.default_rng(0)
    written = [
        "| experiment | arm | seeds | steps | final return [interval] | last fifth [interval] "
        "| normalised |"
    ]
    written.append("|---|---|---|---|---|---|---|")
    for experiment, lines in groups.items():
        for arm in lines:
            if not arm.finished:
                written.append(f"| {experiment} | {arm.label} | {arm.count} | {arm.steps} | | | |")
                continue
            value = float(iqm(arm.finals))
            digits = 0 if abs(value) >= 100 else 3
            final = over_seeds(arm.finals, digits, rng)
            late = over_seeds(np.array([last_fifth(c) for c in arm.curves]), digits, rng)
            scaled = f"{normalised(experiment, value):.2f}" if experiment in RANGES else ""
            cells = experiment, arm.label, arm.count, arm.steps, final, late, scaled
            written.append("| " + " | ".join(map(str, cells)) + " |")
        if experiment in PUBLISHED:
            streaming, ppo, frames = PUBLISHED[experiment]
            for label, value in (streaming_words(experiment), streaming), ("PPO", ppo):
                numbers = ("", "", value) if experiment in RANGES else (value, "", "")
                cells = experiment, f"*published, {label}*", "", frames, *numbers
                written.append("| " + " | ".join(map(str, cells)) + " |")
    return (
        "\n".join(written)
        + f"\n\nFinal return: the mean of a run's last {WINDOW} episodes, then the "
        "interquartile mean over seeds. Last fifth: the same of the mean over the last fifth of a "
        f"run's steps, which swings less. Interval: of {ENOUGH} seeds or more a 95 % bootstrap "
        "interval of that mean, of fewer the least and the greatest.\n"
    )


def over_seeds(values, digits, rng):
    """Write the interquartile mean of one number a seed, with its interval."""
    text = f"{iqm(values):.{digits}f}"
    if len(values) > 1:
        low, high = interval(values, rng)
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return text
