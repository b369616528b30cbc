"""POPGym's tasks by their name (Morad 2023): small games that have no solution without a memory.

The agent's input is the observation, flattened, then its last action, one-hot, then its last
reward; both are zero at the first step (Farr 2026).
"""

import dataclasses
import warnings

from ..extras import require
from ..settings import SettingError, check, setting
from . import flat

PAPER = (
    "RepeatFirstEasy",
    "CountRecallEasy",
    "AutoencodeEasy",
    "ConcentrationEasy",
    "HigherLowerEasy",
)


def tasks():
    """Find every task that the package offers: name → class.

    Raises
    ------
    MissingPackage
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports say is not ours to answer
        environments = require("popgym").envs
    return {make.__name__: make for make in environments.ALL}


@dataclasses.dataclass(frozen=True)
class Config:
    """A POPGym task."""

    name: str = setting("popgym", "the environment", choices=("popgym",))
    task: str = setting("RepeatFirstEasy", "name of the task, with Easy, Medium or Hard")

    def __post_init__(self):
        check(self)

    def make(self):
        """Make the environment.

        Raises
        ------
        SettingError
            For a name that POPGym does not have.
        MissingPackage
        """
        known = tasks()
        if self.task.startswith("Labyrinth") and self.task not in known:
            require("mazelib")  # POPGym leaves its mazes out without it
        if self.task not in known:
            raise SettingError(f"task must be one of {', '.join(known)}, got {self.task!r}")
        return flat.Flat(known[self.task](), history=True)
