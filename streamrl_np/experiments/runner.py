"""Run an experiment: write its episodes, metrics and checkpoints, and be ready to be killed.

A checkpoint is taken at the end of an episode only, the last one at the end of the last or of one
shortly before. It knows how long the CSV files were, so a resumed run cuts them back to that point
and writes the same bytes again. When all steps are done final.npz holds the agent as it is then,
in the middle of an episode or not: it is there to play, not to go on.
"""

import collections
import platform
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np

from .. import arrays
from ..extras import require
from ..settings import SettingError
from . import checkpoint, configs, plots
from .loop import transitions
from .results import (
    EPISODE_COLUMNS,
    LOCK,
    WINDOW,
    RunDirectoryError,
    Table,
    make_directory,
    read_episodes,
    read_json,
    write_json,
)

SNAPSHOT_EVERY = 1000  # steps at least, so that copying all arrays costs little
ERRORS = "td_error", "auxiliary", "trace_auxiliary"  # whose mean says less than their size
HARMLESS = {LOCK, ".config.json.part"}  # in a new directory; one was killed as it began
FROM_OUTSIDE = "the reward", "the observation", "the next observation"  # see check_error


class Progress:
    """What a run has done so far, apart from its arrays; all of it is in a checkpoint."""

    def __init__(self):
        self.step = 0
        self.episodes = 0
        self.seconds = 0.0
        self.recent = collections.deque(maxlen=WINDOW)  # returns
        self.longest = 0  # steps of the longest episode
        self.sums = None  # of the metrics since their last row
        self.offsets = {}  # file → bytes

    def to_dict(self):
        """Turn it into what JSON can hold."""
        return {**vars(self), "recent": list(self.recent)}

    @classmethod
    def from_dict(cls, content):
        """Turn it back."""
        progress = cls()
        vars(progress).update(content, recent=collections.deque(content["recent"], maxlen=WINDOW))
        return progress


class Run:
    """One run: its agent and its environment, and the files that it writes.

    Nothing is written before :meth:`begin` gives it a directory, or :meth:`restore`.

    Parameters
    ----------
    experiment : Experiment
    name : str
        The preset's name, for titles.

    Raises
    ------
    SettingError, MissingPackage
        If the agent or the environment cannot be made.
    """

    def __init__(self, experiment, name="run"):
        self.experiment, self.name = experiment, name
        for package in "matplotlib", "tqdm":
            require(package)  # at once, not after an hour
        self.env = experiment.make_env()
        self.rng = np.random.default_rng(experiment.run.seed)
        self.agent = experiment.make_agent(self.env, self.rng)
        (inputs,) = self.env.observation_space.shape
        self.observe, self.scale = experiment.make_normalizers(inputs)
        self.progress = Progress()
        self.at_episode_end = True
        self.directory, self.tables = None, {}
        metrics = ("step", *self.agent.metrics, "retention_min", "retention_mean", "retention_max")
        self.metric_columns = (*metrics, "steps_per_second")

    @property
    def checkpoint_path(self):
        """Where the checkpoint lies."""
        return self.directory / "checkpoint.npz"

    @property
    def final_path(self):
        """Where the agent lies as it is when all steps are done."""
        return self.directory / "final.npz"

    def begin(self, directory):
        """Begin in a directory, which must not hold anything yet.

        Raises
        ------
        RunDirectoryError
        """
        self.directory = make_directory(directory)
        require_empty(self.directory)
        content = {
            "experiment": self.name,
            "seed": self.experiment.run.seed,
            "settings": configs.to_dict(self.experiment),
            "versions": versions(),
        }
        write_json(self.directory / "config.json", content)
        self.start()

    def start(self):
        """Begin both tables, and write the checkpoint of step 0."""
        self.open_tables({})
        self.save()

    def restore(self, directory):
        """Go back to the last checkpoint of the run in a directory.

        Its files are cut back to it at the first step, not before. A run that was killed before
        its first checkpoint starts anew.

        Raises
        ------
        RunDirectoryError, CheckpointError
        """
        self.directory = Path(directory)
        if not self.checkpoint_path.exists():
            if self.has_episodes():
                raise RunDirectoryError(f"{self.checkpoint_path} is missing")
            return self.start()
        loaded, meta = checkpoint.load(self.checkpoint_path)
        checkpoint.restore(self.checkpoint_path, self.arrays(), loaded)
        self.rng.bit_generator.state = meta["rng"]
        self.progress = Progress.from_dict(meta["progress"])
        for name, offset in self.progress.offsets.items():
            if not (self.directory / name).exists():
                raise RunDirectoryError(f"{self.directory / name} is missing")
            if (self.directory / name).stat().st_size < offset:
                raise RunDirectoryError(f"{self.directory / name} is shorter than it was")

    def has_episodes(self):
        """Whether episodes.csv holds more than its header."""
        path = self.directory / "episodes.csv"
        return path.exists() and len(path.read_bytes().splitlines()) > 1

    def open_tables(self, offsets):
        """Open the two CSV files, cut back to ``offsets``."""
        columns = {"episodes.csv": EPISODE_COLUMNS, "metrics.csv": self.metric_columns}
        self.tables = {
            name: Table(self.directory / name, columns[name], offsets.get(name)) for name in columns
        }

    def arrays(self):
        """Name every array of the run; they are the live ones."""
        return live_arrays(self.agent, self.observe, self.scale)

    def meta(self):
        """Collect what a checkpoint holds beside the arrays."""
        self.progress.offsets = {name: table.length() for name, table in self.tables.items()}
        return {"rng": self.rng.bit_generator.state, "progress": self.progress.to_dict()}

    def save(self):
        """Write a checkpoint of this moment, if all numbers are finite."""
        self.agent.require_finite()
        self.write_checkpoint(self.arrays(), self.meta())

    def snapshot(self):
        """Copy what a checkpoint of this moment would hold: (arrays, meta)."""
        return {name: array.copy() for name, array in self.arrays().items()}, self.meta()

    def write_checkpoint(self, held, meta, path=None):
        """Write a checkpoint, if its arrays are finite, and before it the rows that it knows."""
        for name, array in held.items():  # optimizers' and normalisers' too
            arrays.require_finite(f"the array {name}", array)
        for table in self.tables.values():
            table.sync()
        checkpoint.save(path or self.checkpoint_path, held, meta)

    def steps(self):
        """Advance the run step by step; yields the number of steps done.

        Raises
        ------
        NonFiniteError
            With the step, the array and the last good checkpoint.
        """
        try:
            with np.errstate(all="ignore"):  # NaN and infinity are looked for, and named
                yield from self.steps_unguarded()
        except arrays.NonFiniteError as error:
            self.close()
            held = checkpoint.load(self.checkpoint_path)[1]["progress"]["step"]
            raise arrays.NonFiniteError(
                f"after step {self.progress.step}: {self.diagnose(error)}; "
                f"the last good checkpoint is {self.checkpoint_path}, of step {held}"
            ) from None

    def diagnose(self, error):
        """Name the entry that broke, if it is the agent's; else repeat what was found."""
        if str(error).startswith(FROM_OUTSIDE):
            return error
        try:
            self.agent.require_finite()
        except arrays.NonFiniteError as named:
            return named
        return error

    def steps_unguarded(self):
        """Do the work of :meth:`steps`."""
        progress, run = self.progress, self.experiment.run
        if progress.step >= run.steps or self.solved():  # a checkpoint is of an episode's end
            return
        if not self.at_episode_end:
            raise RunDirectoryError(
                f"the run in {self.directory} was broken off within an episode: open it again, with"
                " resume"
            )
        if not self.tables:
            self.open_tables(progress.offsets)
        for path in self.directory / "summary.json", self.final_path:  # of fewer steps
            path.unlink(missing_ok=True)
        began = time.perf_counter() - progress.seconds
        since, since_step = time.perf_counter(), progress.step  # of the last row of metrics
        next_save = (progress.step // run.checkpoint_every + 1) * run.checkpoint_every
        total, length = 0.0, 0
        held, kept = None, progress.step  # a snapshot, and the step of the last or of a checkpoint
        loop = transitions(
            self.env, self.agent, self.observe, self.scale, run.seed, progress.episodes
        )
        for transition in loop:
            progress.step += 1
            total, length = total + transition.reward, length + 1
            self.add_metrics(transition.update)
            self.at_episode_end = transition.done
            if progress.step % run.metrics_every == 0:
                now, steps = time.perf_counter(), progress.step - since_step
                self.write_metrics(steps / (now - since))
                since, since_step = now, progress.step
            if transition.done:
                progress.episodes += 1
                progress.recent.append(total)
                row = (progress.step, transition.episode, total, length)
                self.tables["episodes.csv"].write(row)
                progress.longest = max(progress.longest, length)
                total, length = 0.0, 0
                progress.seconds = time.perf_counter() - began
                may_be_last = run.steps - progress.step <= progress.longest
                if progress.step >= min(next_save, run.steps) or self.solved():
                    self.save()
                    held, kept = None, progress.step
                    next_save = (progress.step // run.checkpoint_every + 1) * run.checkpoint_every
                elif may_be_last or progress.step - kept >= SNAPSHOT_EVERY:
                    held, kept = self.snapshot(), progress.step
            yield progress.step
            if progress.step >= run.steps or (transition.done and self.solved()):
                break
        if held is not None:
            self.write_checkpoint(*held)
        self.write_checkpoint(self.arrays(), self.meta(), self.final_path)
        progress.seconds = time.perf_counter() - began

    def solved(self):
        """Whether the recent return has reached ``run.stop_return``."""
        goal, recent = self.experiment.run.stop_return, self.progress.recent
        return goal is not None and len(recent) == WINDOW and statistics.fmean(recent) >= goal

    def add_metrics(self, update):
        """Add one update's numbers to the sums of the next row; of errors, their sizes."""
        sums = self.progress.sums or [0.0] * len(update)
        named = zip(self.agent.metrics, update, strict=True)
        numbers = [abs(u) if name in ERRORS else u for name, u in named]
        self.progress.sums = [s + u for s, u in zip(sums, numbers, strict=True)]

    def write_metrics(self, steps_per_second):
        """Write a row of means since the last row, and begin the next."""
        means = [float(s) / self.experiment.run.metrics_every for s in self.progress.sums]
        kept = self.agent.retention()
        kept = [float(f(kept)) for f in (np.min, np.mean, np.max)]
        row = (self.progress.step, *means, *kept, round(steps_per_second, 1))
        self.tables["metrics.csv"].write(row)
        self.progress.sums = None

    def finish(self):
        """Write curve.png, and then summary.json, which says that all is there; returns it."""
        self.close()
        summary = self.summary()
        episodes = read_episodes(self.directory / "episodes.csv")
        title = f"{self.name}, seed {self.experiment.run.seed}"
        plots.learning_curve(episodes, title, self.directory / "curve.png")
        write_json(self.directory / "summary.json", summary)
        return summary

    def close(self):
        """Close the CSV files."""
        for table in self.tables.values():
            table.close()

    def summary(self):
        """Say how the run went."""
        p = self.progress
        return {
            "final_return": statistics.fmean(p.recent) if p.recent else None,
            "steps": p.step,
            "episodes": p.episodes,
            "seconds": round(p.seconds, 3),
            "steps_per_second": round(p.step / p.seconds, 1) if p.seconds else None,
            "complete": p.step >= self.experiment.run.steps or self.solved(),
        }


def live_arrays(agent, observe, scale):
    """Name every array that a checkpoint holds; they are the live ones."""
    parts = {"agent": agent, "observe": observe, "scale": scale}
    return {f"{part}.{k}": a for part, owner in parts.items() for k, a in owner.arrays().items()}


def versions():
    """Name the versions that a run's numbers depend on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("numpy", "gymnasium"):
        found[package] = require(package).__version__
    return found


def read_config(directory):
    """Read a run's config.json.

    Returns
    -------
    name : str
        Of the preset.
    experiment : Experiment

    Raises
    ------
    RunDirectoryError
    """
    path = directory / "config.json"
    content = read_json(path, "settings", "experiment")
    try:
        return content["experiment"], configs.from_dict(content["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunDirectoryError(f"{path} does not describe a run: {error!r}") from None


def require_empty(directory):
    """Raise RunDirectoryError if a directory holds anything that a new run would mix with."""
    if {path.name for path in directory.iterdir()} - HARMLESS:
        raise RunDirectoryError(
            f"{directory} is not empty: resume the run in it, or name another directory"
        )


def begin(experiment, directory, name="run"):
    """Begin a run in a directory that holds nothing yet; :class:`Run` says what is raised."""
    run = Run(experiment, name)
    run.begin(directory)
    return run


def resume(directory, steps=None, expected=None):
    """Open the run in a directory to go on with it.

    Parameters
    ----------
    directory : pathlib.Path
    steps : int, optional
        A new total number of steps.
    expected : str, optional
        Name of the preset that the run must be of.

    Raises
    ------
    RunDirectoryError, CheckpointError, SettingError
    """
    directory = Path(directory)
    name, experiment = read_config(directory)
    if expected not in (None, name):
        raise SettingError(f"{directory} holds a run of {name}, not of {expected}")
    if steps is not None:
        experiment = configs.replace(experiment, {"run.steps": str(steps)})
    run = Run(experiment, name)
    run.restore(directory)
    if steps is not None:  # who resumes again goes on to this number
        summary = directory / "summary.json"
        made = read_json(summary, "steps")["steps"] if summary.exists() else 0
        done = max(run.progress.step, made if isinstance(made, int) else 0)
        if steps < done:
            run.close()
            raise SettingError(f"steps must be at least the {done} that are done, got {steps}")
        content = read_json(directory / "config.json")
        write_json(directory / "config.json", {**content, "settings": configs.to_dict(experiment)})
        if steps > done:
            summary.unlink(missing_ok=True)  # it would say that the run is complete
    return run


def trained_agent(experiment, env, directory, rng):
    """Make the agent of a run as its last step left it, or its last checkpoint knows it.

    The run's files are only read.

    Parameters
    ----------
    experiment : Experiment
        The run's own.
    env : gymnasium.Env
    directory : pathlib.Path
    rng : numpy.random.Generator
        The agent's from now on.

    Returns
    -------
    agent : object
    observe : object
        The normaliser of observations.
    meta : dict
        What else the checkpoint holds.

    Raises
    ------
    RunDirectoryError, CheckpointError
    """
    paths = [Path(directory) / name for name in ("final.npz", "checkpoint.npz")]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise RunDirectoryError(f"{directory} holds no checkpoint yet")
    agent = experiment.make_agent(env, rng)
    observe, scale = experiment.make_normalizers(*env.observation_space.shape)
    loaded, meta = checkpoint.load(path)
    checkpoint.restore(path, live_arrays(agent, observe, scale), loaded)
    agent.reset()  # the last step may lie within an episode
    return agent, observe, meta


def execute(run, quiet=False):
    """Run to the end, with a progress bar; the first Ctrl-C stops at the next episode's end.

    Returns
    -------
    dict
        The summary; its ``complete`` is false after Ctrl-C.
    """
    tqdm = require("tqdm").tqdm
    stop = []

    def ask_to_stop(number, frame):
        if stop:
            raise KeyboardInterrupt(
                "what came after the last checkpoint is lost; go on with: "
                f"python -m streamrl_np run --resume {run.directory}"
            )
        stop.append(number)
        if not quiet:
            print("\nstopping at the episode's end; Ctrl-C again stops at once", file=sys.stderr)

    total, before = run.experiment.run.steps, run.progress.step
    in_main = threading.current_thread() is threading.main_thread()  # others get no signals
    handler = signal.signal(signal.SIGINT, ask_to_stop) if in_main else None
    try:
        with tqdm(
            total=total, initial=before, unit=" steps", disable=quiet, mininterval=0.2
        ) as bar:
            ended, warned = run.progress.step, False
            for step in run.steps():
                ended = step if run.at_episode_end else ended
                if step - ended > run.experiment.run.checkpoint_every and not warned:
                    warned = True
                    print(
                        f"\nan episode has lasted {step - ended} steps: nothing of it can be saved"
                        " before it ends (env.max_steps cuts those of gym:ID off)",
                        file=sys.stderr,
                    )
                if step % 50 == 0:
                    bar.update(step - bar.n)
                if step % 1000 == 0 and run.progress.recent:
                    recent = statistics.fmean(run.progress.recent)
                    bar.set_postfix_str(f"return {recent:.3g}", refresh=False)
                if stop and run.at_episode_end:
                    run.save()
                    break
            bar.update(run.progress.step - bar.n)
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
    return run.finish()
