"""Figures of runs, and a curve for the terminal."""

import numpy as np

from ..extras import require
from ..files import atomic_write
from .results import WINDOW, moving_average

DPI = 150
BLOCKS = "▁▂▃▄▅▆▇█"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def new_figure(width=6.4, height=3.6):
    """Make a figure with one pair of axes, in colours that colour-blind readers can tell apart."""
    figure, (axes,) = new_grid(1, width=width, height=height)
    axes.set_prop_cycle(color=COLOURS)
    return figure, axes


def new_grid(count, columns=4, width=3.6, height=2.9):
    """Make a figure with ``count`` pairs of axes in rows; returns it and the list of axes."""
    matplotlib = require("matplotlib")
    matplotlib.use("Agg")
    plt = require("matplotlib.pyplot")
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, height * rows),
        layout="constrained",
        squeeze=False,
    )
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    for axes in list(grid.flat)[count:]:
        axes.set_axis_off()
    return figure, list(grid.flat)[:count]


def legend_below(figure, entries, width=1.6, title=None):
    """Name lines, name to line, below a figure, where they cover nothing.

    ``width`` is what a column takes, in inches.
    """
    columns = max(1, min(len(entries), int(figure.get_figwidth() / width)))
    options = {"loc": "outside lower center", "ncols": columns, "fontsize": 8}
    figure.legend(entries.values(), entries.keys(), title=title, title_fontsize=8, **options)


def save_figure(figure, path):
    """Write a figure as PNG, atomically, and close it."""
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=DPI))
    require("matplotlib.pyplot").close(figure)


def plain(text):
    """Keep Matplotlib from reading a text as mathematics."""
    return text.replace("$", r"\$")


def learning_curve(episodes, title, path):
    """Draw the return of every episode and its moving average against the step.

    Parameters
    ----------
    episodes : streamrl_np.experiments.results.Episodes
    title : str
    path : pathlib.Path
        The PNG file to write.
    """
    figure, axes = new_figure()
    axes.plot(episodes.step, episodes.returns, ".", ms=2, alpha=0.25, color="0.5", label="episode")
    mean = moving_average(episodes.returns)
    axes.plot(episodes.step, mean, color=COLOURS[0], label=f"mean of the last {WINDOW} episodes")
    axes.set(title=plain(title), xlabel="environment steps", ylabel="return")
    axes.legend(loc="center right")
    save_figure(figure, path)


def sparkline(values):
    """Draw values as a line of at most 60 blocks: ▁▂▄▇."""
    if len(values) == 0:
        return ""
    pieces = np.array_split(np.asarray(values), min(60, len(values)))
    heights = np.array([piece.mean() for piece in pieces])
    low, high = heights.min(), heights.max()
    levels = (heights - low) / (high - low if high > low else 1.0)
    return "".join(BLOCKS[round(level * (len(BLOCKS) - 1))] for level in levels)
