"""A run directory: what is written there, and how to read it back."""

import contextlib
import csv
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..extras import require
from ..files import naming, write_text

WINDOW = 100  # episodes that a return is averaged over
LOCK = ".lock"


class RunDirectoryError(ValueError):
    """A directory holds no run, or holds another one."""


@contextlib.contextmanager
def hold(directory, wait=False):
    """Keep other processes from writing to a directory while the block (or this process) lasts.

    Parameters
    ----------
    directory : pathlib.Path
    wait : bool
        Wait for another process that holds it.

    Raises
    ------
    RunDirectoryError
        If another process holds it.
    """
    if not directory.is_dir():  # nothing to hold; whoever wants to read there will say so
        yield
        return
    filelock = require("filelock")
    lock = filelock.FileLock(directory / LOCK, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunDirectoryError(f"another process is writing to {directory}") from None
    except NotImplementedError:  # a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


def make_directory(directory):
    """Make a directory, if it is not there; returns its path.

    Raises
    ------
    RunDirectoryError
        If a file is in its place.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise RunDirectoryError(f"{directory} cannot be a directory: a file is there") from None
    return directory


class Table:
    """A CSV file that grows, and can be cut back to what a checkpoint knew of it.

    Parameters
    ----------
    path : pathlib.Path
    columns : sequence of str
    offset : int, optional
        Bytes to keep of a file that is there; without it the file is begun anew.
    """

    def __init__(self, path, columns, offset=None):
        self.path = path
        if offset is None:
            self.file = open(path, "w", newline="", encoding="utf-8")
            self.write(columns)
        else:
            self.file = open(path, "r+", newline="", encoding="utf-8")
            self.file.truncate(offset)
            self.file.seek(0, os.SEEK_END)

    def write(self, row):
        """Append a row; floats are written so that they read back as the same bits."""
        with naming(self.path):
            self.file.write(",".join(map(str, row)) + "\n")

    def length(self):
        """Return the file's length in bytes."""
        with naming(self.path):
            return self.file.tell()

    def sync(self):
        """Put every row on the disk."""
        with naming(self.path):
            self.file.flush()
            os.fsync(self.file.fileno())

    def close(self):
        """Close the file."""
        with naming(self.path):
            self.file.close()


def write_json(path, content):
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path, *keys):
    """Read a JSON file of a run, which holds some ``keys`` at least.

    Raises
    ------
    RunDirectoryError
        If it is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunDirectoryError(f"{path.parent} holds no run: {path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} is damaged: it holds no names with values")
    lacks = [key for key in keys if key not in content]
    if lacks:
        raise RunDirectoryError(f"{path} is damaged: it lacks {', '.join(lacks)}")
    return content


class Episodes(NamedTuple):
    """The columns of episodes.csv."""

    step: np.ndarray  # at the episode's end
    episode: np.ndarray
    returns: np.ndarray
    length: np.ndarray


EPISODE_COLUMNS = ("step", "episode", "return", "length")


def read_episodes(path):
    """Read episodes.csv, but for a last row that was not written to its end.

    Returns
    -------
    Episodes

    Raises
    ------
    RunDirectoryError
        If it is missing or damaged.
    """
    try:
        *whole, _ = path.read_text(encoding="utf-8").split("\n")
        header, *rows = csv.reader(whole)
        if tuple(header) != EPISODE_COLUMNS:
            raise ValueError(f"its columns are {header}")
        columns = np.array(rows, dtype=float).reshape(-1, 4).T
    except (FileNotFoundError, NotADirectoryError):
        raise RunDirectoryError(f"{path.parent} holds no run: {path.name} is missing") from None
    except (OSError, ValueError, csv.Error) as error:
        raise RunDirectoryError(f"{path} is damaged: {str(error)[:200]}") from None
    step, episode, returns, length = columns
    return Episodes(step.astype(int), episode.astype(int), returns, length.astype(int))


def read_summary(path, episodes):
    """Read a run's summary.json, or None if there is none yet.

    Raises
    ------
    RunDirectoryError
        If it is damaged, or says that the run is complete and ``episodes`` are not all it had.
    """
    if not (path / "summary.json").exists():
        return None
    summary = read_json(path / "summary.json", "complete", "episodes", "steps_per_second")
    if summary["complete"] and len(episodes.step) != summary["episodes"]:
        raise RunDirectoryError(f"{path} has lost episodes: delete it and run it again")
    return summary


def moving_average(values, window=WINDOW):
    """Average each value with up to ``window − 1`` before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
