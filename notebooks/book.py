"""What the notebooks share: how figures look, how the library's source is shown, a short run."""

import inspect
import io
import runpy
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
from IPython.display import Image, Markdown, display

from streamrl_np.experiments.loop import transitions
from streamrl_np.experiments.plots import COLOURS

plt.rcParams.update(
    {
        "axes.grid": True,
        "axes.prop_cycle": plt.cycler(color=COLOURS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "figure.figsize": (7.0, 3.2),
        "font.size": 11,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "savefig.bbox": "standard",
    }
)
np.set_printoptions(precision=4, suppress=True, linewidth=100)


def source(*things):
    """Show the library's own source of functions and classes."""
    text = "\n\n".join(textwrap.dedent(inspect.getsource(thing)) for thing in things)
    return Markdown(f"```python\n{text.rstrip()}\n```")


def table(header, rows):
    """Show rows as a table; floats get four digits."""
    cells = [
        [f"{c:.4g}" if isinstance(c, float | np.floating) else str(c) for c in r] for r in rows
    ]
    lines = [[c.replace("|", r"\|") for c in line] for line in (header, *cells)]
    lines.insert(1, ["---"] * len(header))
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))


def live(experiment, steps=None):
    """Let the experiment's agent live for ``steps`` steps, writing nothing to disk.

    Returns
    -------
    agent : object
    observe : ObservationNormalizer
        As the run left it.
    history : list of Transition
    """
    seed = experiment.run.seed
    env = experiment.make_env()
    agent = experiment.make_agent(env, np.random.default_rng(seed))
    observe, scale = experiment.make_normalizers(env.observation_space.shape[0])
    life = transitions(env, agent, observe, scale, seed)
    history = [t for _, t in zip(range(steps or experiment.run.steps), life, strict=False)]
    return agent, observe, history


def returns(history):
    """Sum the rewards of each finished episode; returns (step at its end, return)."""
    totals, ends, total = [], [], 0.0
    for step, transition in enumerate(history, 1):
        total += transition.reward
        if transition.done:
            totals.append(total)
            ends.append(step)
            total = 0.0
    return np.array(ends), np.array(totals)


def results(*parts):
    """Find a directory of committed results, docs/results/…, wherever the kernel was started."""
    return Path(__file__).resolve().parent.parent.joinpath("docs", "results", *parts)


def shown(path):
    """Show a figure at the width of a page and in 192 colours, so that a notebook stays small."""
    with PIL.Image.open(path) as image:
        image = image.convert("RGB")
        image.thumbnail((1200, 3000))
        packed = io.BytesIO()
        # the largest areas keep their colours, 128 more cover the rest: this method gives a small
        # dot its own, the usual one its neighbour's
        counts = sorted(image.getcolors(image.width * image.height), reverse=True)
        colours = [number for _, colour in counts[:64] for number in colour]
        plain = PIL.Image.Dither.NONE
        cover = image.quantize(128, PIL.Image.Quantize.MAXCOVERAGE, dither=plain)
        palette = PIL.Image.new("P", (1, 1))
        palette.putpalette(colours + cover.getpalette()[: 3 * 128])
        few = image.quantize(palette=palette, dither=plain)
        few.save(packed, "PNG", optimize=True)
    return Image(packed.getvalue(), width=min(760, few.width))


def picture(draw):
    """Show what ``draw(path)`` writes: the library's own figures."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "figure.png"
        draw(path)
        plt.switch_backend("module://matplotlib_inline.backend_inline")  # drawing left it
        return shown(path) if path.exists() else None


COMMANDS = runpy.run_path(str(results().parent / "commands.py"))["COMMANDS"]


def committed(name):
    """Show docs/results/NAME: tables, figures and the command that made them, or would."""
    directory = results(name)
    commands = " and ".join(f"`{command}`" for command in COMMANDS[name])
    display(Markdown(f"**{name}**, made by {commands}:"))
    tables, figures = sorted(directory.glob("**/table.md")), sorted(directory.glob("**/*.png"))
    for path in tables:
        display(Markdown(path.read_text(encoding="utf-8")))
    for path in figures:
        display(shown(path))
    if not tables and not figures:
        display(Markdown(f"`docs/results/{name}` holds no results yet."))
