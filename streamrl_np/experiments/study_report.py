"""Table and figure of a study: what share of the seeds solved each cell, and every run.

They are drawn from ``runs.csv`` alone.
"""

import numpy as np

from ..files import write_text
from . import plots
from .study import METHODS, SEEDS, SOLVED, STOP, STUDIES, group, implied, read


def wilson(solved, count):
    """Compute the 95 % Wilson score interval of a rate: (low, high)."""
    z, rate = 1.959964, solved / count
    centre = rate + z * z / (2 * count)
    half = z * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    low, high = (centre - half) / scale, (centre + half) / scale  # (eq. S1)
    return max(0.0, float(low)), min(1.0, float(high))


def draw(name, out):
    """Write table.md and solve-rate.png of what ``runs.csv`` in ``out`` holds."""
    cells = STUDIES[name].cells()
    by_cell = group(read(out / "runs.csv"))
    write_text(out / "table.md", table(cells, by_cell))
    figure(name, cells, by_cell, out / "solve-rate.png")


def lines_of(cells):
    """List the lines of a grid in its own order."""
    return list(dict.fromkeys(cell.line for cell in cells))


def table(cells, by_cell):
    """Write the solve rate of every cell, with its interval, as Markdown."""
    lengths = sorted({cell.length for cell in cells})
    head = ["setting", "method", *(f"L = {length}" for length in lengths)]
    rows = [head, ["---"] * len(head)]
    for line in lines_of(cells):
        entries = [entry(line._replace(length=length), by_cell) for length in lengths]
        ring = f"{line.ring} ring" if line.ring != "none" else "no ring"
        setting = f"{line.agent}, λ = {line.trace_decay}<br>{ring}, {line.units} units"
        if any(entries):
            rows.append([setting, line.method, *entries])
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    text += (
        f"\n\nRuns solved (final return above {SOLVED}) of runs made; below it the 95 % Wilson "
        "interval of the rate, and the mean final return."
    )
    if "*" in text:
        text += (
            " *all* and *none*: no run made, for the neighbours decide it (three runs or more "
            f"solved a longer chain, every one; or no run solved a shorter one on {SEEDS} seeds, "
            "or two shorter ones, of at most a quarter of the length where they had fewer steps; "
            "or the same with the other agent and the same with the other λ are both decided, "
            "and alike)."
        )
    return text + "\n"


def entry(cell, by_cell):
    """Write one cell of the table."""
    runs = by_cell.get(cell)
    if not runs:
        return {True: "*all*", False: "*none*", None: ""}[implied(cell, by_cell)]
    solved = sum(run.solved for run in runs)
    low, high = wilson(solved, len(runs))
    mean = np.mean([run.final_return for run in runs])
    return f"{solved}/{len(runs)}<br>{low:.2f}–{high:.2f}<br>{mean:+.2f}"


def figure(name, cells, by_cell, path):
    """Draw the final return of every run and the mean of a cell against the task's length."""
    panels = [
        key
        for key in dict.fromkeys(panel(cell) for cell in cells if cell.ring != "none")
        if any(panel(cell) == key for cell in by_cell)
    ]
    if not panels:
        return
    lengths = sorted({cell.length for cell in cells})
    figure, grid = plots.new_grid(len(panels), columns=2)  # a page wide, four would be too small
    entries = {}
    for axes, key in zip(grid, panels, strict=False):
        for i, (method, colour) in enumerate(zip(METHODS, plots.COLOURS, strict=True)):
            row = [
                cell
                for cell in cells
                if cell.method == method and panel(cell._replace(ring=key[1])) == key
                if cell.ring in (key[1], "none")
            ]
            if row:
                entries[method] = draw_row(axes, row, by_cell, colour, aside=1.04 ** (i - 3))
        agent, ring, decay, units = key
        axes.axhline(SOLVED, color="0.6", lw=0.8, ls=":")
        axes.set_xscale("log", base=2)
        axes.set(xticks=lengths, xticklabels=lengths, ylim=(-0.6, 1.1))
        axes.set_xlim(lengths[0] / 1.3, lengths[-1] * 1.3)
        axes.set_title(f"{agent}, λ = {decay}, {ring} ring, {units} units", fontsize=9)
        axes.set(xlabel="length L", ylabel="final return")
    plots.legend_below(figure, entries)
    caption = "a dot is a run (one seed), a dash the mean"
    if len(lengths) > 1:
        caption += f", joined where there are {SEEDS} runs or more"
    if any(implied(cell, by_cell) is not None for cell in cells if cell not in by_cell):
        caption += "\nan open circle: no run made, for the neighbours decide it"
    figure.suptitle(f"{name}\n{caption}", fontsize=9)
    plots.save_figure(figure, path)


def draw_row(axes, row, by_cell, colour, aside):
    """Draw the cells of one method in one panel, and return the line for the legend."""
    row = sorted(row, key=lambda cell: cell.length)
    x = np.array([cell.length * aside for cell in row])
    finals = [[run.final_return for run in by_cell.get(cell, ())] for cell in row]
    means = np.array([np.mean(runs or np.nan) for runs in finals])
    axes.plot(x, means, "_", color=colour, ms=9, mew=1.5)
    for x_cell, cell, runs in zip(x, row, finals, strict=True):
        axes.plot([x_cell] * len(runs), runs, "o", color=colour, ms=3, alpha=0.6)
        verdict = None if runs else implied(cell, by_cell)
        if verdict is not None:
            axes.plot(x_cell, STOP * verdict, "o", color=colour, ms=5, mfc="none")
    joined = np.where([len(runs) >= SEEDS for runs in finals], means, np.nan)
    return axes.plot(x, joined, color=colour, lw=1.5)[0]


def panel(cell):
    """Say which panel of the figure a cell belongs to."""
    return cell.agent, cell.ring, cell.trace_decay, cell.units
