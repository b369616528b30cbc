"""What a step of exact learning costs: time and memory of each cell against its width.

Only the cell is measured (advance, then vjp, in float32, with as many inputs as units), for
the rest of a network is the same whatever cell is in it.
"""

# n units = n inputs

import math
import time
from typing import NamedTuple

import numpy as np

from .. import cells
from ..arrays import Views, size
from ..files import write_csv, write_text
from . import plots
from .bench import median_microseconds

WIDTHS = (32, 64, 128, 256, 384, 512, 768, 1024)
DENSE_WIDTHS = (16, 24, 32, 48, 64, 96, 128)
MEASURED = {
    "feedforward": ("feedforward", WIDTHS),
    "RTU, RTRL": ("rtu", WIDTHS),
    "minGRU, RTRL": ("mingru", WIDTHS),
    "GRU, dense RTRL": ("gru", DENSE_WIDTHS),
}
FITTED = 5  # the widest ones; at width 128 the fixed cost of a call is half of a linear cell's time
STYLES = "-", "-", "--", ":"  # the second and the third lie one on the other


class Cost(NamedTuple):
    """One step of one cell at one width."""

    cell: str
    width: int
    parameters: int
    microseconds: float
    kilobytes: float  # parameters, gradient, state, sensitivities, and scratch that is kept


def make_step(name, n):
    """Return a function that takes one step of a cell, and the numbers that it carries."""
    rng, dtype = np.random.default_rng(0), np.float32
    cell = cells.CELLS[name]
    p = Views(cell.layout(n, n), dtype)
    for key, value in cell.init(rng, n, n, cells.Config(name=name, units=n)).items():
        setattr(p, key, value)
    grad, state = p.like(), Views(cell.state_layout(n, n, "rtrl"), dtype)
    x = rng.normal(size=n).astype(dtype)
    gy = rng.normal(size=cell.feature_count(n)).astype(dtype)

    def step():
        cache = cell.advance(p, state, x, "rtrl")
        cell.vjp(p, state, cache, gy, grad)

    return step, 2 * size(p.layout) + size(state.layout)


def measure(repeats=30, measured=None):
    """Measure every cell at every width, in turn, in one run.

    Returns
    -------
    list of Cost
    """
    steps, carried = {}, {}
    for label, (name, widths) in (measured or MEASURED).items():
        for n in widths:
            steps[label, n], carried[label, n] = make_step(name, n)
    times = median_microseconds(steps, repeats, warm=True, clock=time.process_time)
    return [
        Cost(
            label,
            n,
            size(cells.CELLS[(measured or MEASURED)[label][0]].layout(n, n)),
            times[label, n],
            carried[label, n] * 4 / 1000,
        )
        for label, n in steps
    ]


def exponent(x, y):
    """Fit the power b of y ∝ xᵇ to the last ``FITTED`` points."""
    slope, _ = np.polyfit(np.log(x[-FITTED:]), np.log(y[-FITTED:]), 1)
    return float(slope)


def exponents(costs):
    """Fit how time and memory grow.

    Returns
    -------
    dict
        Cell to (time over width, time over parameters, memory over width, memory over
        parameters).
    """
    fits = {}
    for label in dict.fromkeys(cost.cell for cost in costs):
        rows = [cost for cost in costs if cost.cell == label]
        n, count = [r.width for r in rows], [r.parameters for r in rows]
        time, memory = [r.microseconds for r in rows], [r.kilobytes for r in rows]
        fits[label] = tuple(exponent(x, y) for y in (time, memory) for x in (n, count))
    return fits


def report(costs, out):
    """Write cost.csv, table.md and cost.png to ``out``."""
    rows = [(*cost[:3], *(round(value, 2) for value in cost[3:])) for cost in costs]
    write_csv(out / "cost.csv", Cost._fields, rows)
    fits = exponents(costs)
    write_text(out / "table.md", table(costs, fits))
    draw(costs, fits, out / "cost.png")


def table(costs, fits):
    """Write the exponents and the costs at the greatest common width as Markdown."""
    common = max(set.intersection(*({c.width for c in costs if c.cell == k} for k in fits)))
    rows = [
        "| cell | time ∝ width^ | time ∝ parameters^ | memory ∝ width^ | memory ∝ parameters^ "
        f"| µs at width {common} | kB carried at width {common} |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for label, fit in fits.items():
        (row,) = (c for c in costs if c.cell == label and c.width == common)
        numbers = " | ".join(f"{value:.2f}" for value in fit)
        rows.append(f"| {label} | {numbers} | {row.microseconds:.0f} | {row.kilobytes:.0f} |")
    return "\n".join(rows) + (
        "\n\nOne step of one cell (advance and vjp), float32, as many inputs as units; median "
        f"processor time; exponents fitted to the {FITTED} widest. Carried: parameters, gradient, "
        "state, sensitivities and scratch arrays.\n"
    )


def draw(costs, fits, path):
    """Draw time and memory against width, on logarithmic axes."""
    figure, grid = plots.new_grid(2, width=4.6, height=3.8)
    for axes, field, unit in zip(
        grid, ("microseconds", "kilobytes"), ("time of a step, µs", "memory, kB"), strict=True
    ):
        for label, colour, style in zip(fits, plots.COLOURS, STYLES, strict=False):
            rows = [cost for cost in costs if cost.cell == label]
            fit = fits[label][0 if field == "microseconds" else 2]
            axes.loglog(
                [r.width for r in rows],
                [getattr(r, field) for r in rows],
                "o",
                ls=style,
                ms=3,
                color=colour,
                label=f"{label}: width^{fit:.1f}",
            )
        widths = sorted({cost.width for cost in costs})
        widths = [n for n in widths if math.log2(n).is_integer()]
        axes.set_xticks(widths, widths)
        axes.minorticks_off()
        axes.set(xlabel="width n (units = inputs)", ylabel=unit)
        axes.legend(fontsize=7)
    plots.save_figure(figure, path)
