"""Watch a trained agent: it plays with what it has learned, and its memory is drawn beside it.

MuJoCo becomes a GIF, anything else text. A point is one unit of the actor's cell, at its state
in the complex plane; a unit of a real cell lies on the real axis.
"""

import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..envs import flat, masked_mujoco
from ..extras import require
from ..files import atomic_write
from ..settings import SettingError
from . import plots, runner
from .loop import episode_seed

SHADES = " .:+*#@"  # of a cell of text that holds 0, 1, 2, … units
COLOUR = re.compile(r"\x1b\[[\d;]*m")  # in a text; it takes no room
UNTRAINED = "the run's checkpoint is of its beginning: this is the agent before it has learned\n"


class Moment(NamedTuple):
    """One step of play."""

    step: int
    seen: object  # the environment's own observation
    action: object
    reward: float
    total: float  # of the episode so far
    memory: np.ndarray  # (n,) complex states of the units; empty without memory
    picture: object  # what the environment drew, or said


class Player:
    """A trained agent that plays and does not learn; the run's directory is only read.

    Parameters
    ----------
    directory : pathlib.Path
        Of a run.
    seed : int
        Of the episodes that are played.

    Attributes
    ----------
    drawn : bool
        Whether the environment draws pictures.
    note : str
        A line to say before play; empty for an agent that has learned.

    Raises
    ------
    RunDirectoryError, CheckpointError, SettingError
    """

    def __init__(self, directory, seed=0):
        if seed < 0:
            raise SettingError(f"seed must be a whole number, at least 0, got {seed}")
        directory = Path(directory)
        _, self.experiment = runner.read_config(directory)
        self.drawn = isinstance(self.experiment.env, masked_mujoco.Config)
        if self.drawn and not os.environ.get("DISPLAY"):
            os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported
        self.env = self.make_env()
        self.seed, rng = seed, np.random.default_rng(seed)
        self.agent, self.observe, meta = runner.trained_agent(
            self.experiment, self.env, directory, rng
        )
        self.note = "" if meta["progress"]["step"] else UNTRAINED
        if self.drawn:
            self.try_drawing()

    def make_env(self):
        """Make the environment so that it draws, or says in words what happens, if it can."""
        env = self.experiment.env
        if self.drawn:
            return env.make(render_mode="rgb_array")
        made = env.make()
        if isinstance(env, flat.Config) and "ansi" in made.metadata.get("render_modes", []):
            made.close()
            return env.make(render_mode="ansi")
        return made

    def try_drawing(self):
        """Draw once, or raise SettingError with what to install."""
        self.env.reset(seed=self.seed)
        try:
            self.env.render()
        except Exception as problem:  # each OpenGL library fails in its own way
            raise SettingError(
                f"MuJoCo cannot draw here ({problem}): it needs OpenGL without a screen, on "
                "Debian `apt-get install libegl1 libgl1-mesa-dri`"
            ) from None

    def play(self, episode=0):
        """Play one episode; yields a Moment a step."""
        self.agent.reset()
        raw, _ = self.env.reset(seed=episode_seed(self.seed, episode))
        total, done, step = 0.0, False, 0
        while not done:
            seen, picture = getattr(self.env, "raw", raw), self.picture()
            action = self.agent.act(self.observe.look(raw))
            raw, reward, terminated, truncated, _ = self.env.step(action)
            done, total = terminated or truncated, total + float(reward)
            yield Moment(step, seen, action, float(reward), total, self.memory(), picture)
            step += 1

    def memory(self):
        """Copy the states of the acting network's units, as complex numbers."""
        state = self.agent.acting_network().state
        return np.array(state.h, complex) if "h" in state.layout else np.zeros(0, complex)

    def picture(self):
        """Ask the environment for a picture, or for words where it has them."""
        modes = self.env.metadata.get("render_modes", [])
        return self.env.render() if self.drawn or "ansi" in modes else None


def describe(moment):
    """Say in a few lines what happens in a step."""
    if isinstance(moment.picture, str):
        seen = moment.picture.strip("\n")
    elif isinstance(moment.seen, np.ndarray) and moment.seen.dtype.kind == "f":
        seen = np.array2string(moment.seen, precision=2, max_line_width=34)
    else:
        seen = str(moment.seen)
    action = moment.action
    if isinstance(action, np.ndarray):
        action = np.array2string(action, precision=2, max_line_width=34)
    return [
        f"step    {moment.step}",
        *(("sees    " if i == 0 else "        ") + part for i, part in enumerate(wrap(seen))),
        f"does    {action}",
        f"reward  {moment.reward:+.3g}",
        f"return  {moment.total:+.3g}",
    ]


def wrap(text, width=34):
    """Cut a text into lines; one that is too long loses its colours."""
    found = []
    for line in text.splitlines() or [""]:
        bare = COLOUR.sub("", line)
        parts = [bare[i : i + width] for i in range(0, len(bare), width)]
        found += parts if len(parts) > 1 else [line]
    return found


def plane(memory, columns=33, rows=13):
    """Draw units in the complex plane as text, darker where there are more of them.

    Returns
    -------
    list of str
    """
    reach = max(1e-6, float(np.abs(np.concatenate([memory.real, memory.imag])).max(initial=0)))
    across = np.rint((memory.real / reach + 1) / 2 * (columns - 1)).astype(int)
    down = np.rint((1 - memory.imag / reach) / 2 * (rows - 1)).astype(int)
    counts = np.zeros((rows, columns), int)
    np.add.at(counts, (down, across), 1)
    lines = []
    for i, row in enumerate(counts):
        axis = "─" if i == rows // 2 else " "
        cells = [SHADES[min(c, len(SHADES) - 1)] if c else axis for c in row]
        if cells[columns // 2] == axis:
            cells[columns // 2] = "┼" if axis == "─" else "│"
        lines.append("".join(cells))
    return [*lines, f"h in ±{reach:.2g}".center(columns)]


def beside(left, right, width=44):
    """Put two lists of lines side by side."""
    count = max(len(left), len(right))
    left = left + [""] * (count - len(left))
    right = right + [""] * (count - len(right))
    left = [a + " " * (width - len(COLOUR.sub("", a))) for a in left]
    return "\n".join(f"{a} {b}".rstrip() for a, b in zip(left, right, strict=True))


def tell(player, episodes=1, steps=None, delay=0.2, out=None):
    """Print play as text; on a terminal each step takes the place of the one before.

    Returns
    -------
    list of float
        The episodes' returns.
    """
    out = out or sys.stdout
    live, returns = out.isatty(), []
    out.write(player.note)
    for episode in range(episodes):
        for moment in player.play(episode):
            if steps is not None and moment.step >= steps:
                break
            right = plane(moment.memory) if moment.memory.size else ["(no memory)"]
            out.write("\x1b[H\x1b[J" + player.note if live else "")
            out.write(beside(describe(moment), right) + "\n\n")
            out.flush()
            total = moment.total
            if live:
                time.sleep(delay)
        returns.append(total)
    return returns


def film(player, path, steps=400, every=4):
    """Write one episode as a GIF: the robot, and its units in the complex plane.

    Parameters
    ----------
    player : Player
    path : pathlib.Path
    steps : int
        Longest play.
    every : int
        Steps from one picture to the next.

    Returns
    -------
    float
        The return so far.

    Raises
    ------
    SettingError
        If ``path`` cannot name a file.
    """
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise SettingError(f"out must name a file in a directory that is there, got {path}")
    print(player.note, end="")
    Image = require("PIL.Image", "pillow")
    figure, axes = plots.new_figure(6.4, 3.2)
    axes.remove()
    left, right = figure.subplots(1, 2)
    left.set_axis_off()
    shades = player.agent.retention()
    pictures, moments = [], []
    for moment in player.play():
        if moment.step >= steps:
            break
        moments.append(moment)
    reach = max([1e-6, *(float(np.abs(m.memory).max(initial=0)) for m in moments)])
    right.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    right.set(xlabel="Re h", ylabel="Im h", title="units, by retention")
    right.title.set_fontsize(9)
    image = left.imshow(moments[0].picture)
    memory = moments[0].memory
    colour = shades if len(shades) == len(memory) else np.zeros(len(memory))
    points = right.scatter(memory.real, memory.imag, s=6, c=colour, cmap="viridis")
    left.set_title("step 0, return 0", fontsize=9)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the axes keep their places from picture to picture
    for moment in moments[::every]:
        image.set_data(moment.picture)
        points.set_offsets(np.stack([moment.memory.real, moment.memory.imag], axis=-1))
        left.set_title(f"step {moment.step}, return {moment.total:.0f}", fontsize=9)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]
        pictures.append(Image.fromarray(pixels).quantize(128))
    require("matplotlib.pyplot").close(figure)
    per_picture = 1000 * every * player.env.unwrapped.dt
    atomic_write(
        path,
        lambda file: pictures[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=max(20, round(per_picture)),
            loop=0,
        ),
    )
    return moments[-1].total
