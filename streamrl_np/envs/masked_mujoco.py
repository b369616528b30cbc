"""Masked MuJoCo: a robot that feels its positions or its velocities, not both (Ni 2022).

P keeps the positions, so that velocity must be inferred from the past; V keeps the
velocities, so that position must be summed up; F keeps everything.
"""

import dataclasses
import sys

import numpy as np

from ..extras import require
from ..settings import check, setting
from . import flat

gymnasium = require("gymnasium")

# robot → entries of the observation that are positions; they come first
POSITIONS = {"Ant": 13, "HalfCheetah": 8, "Hopper": 5, "Walker2d": 8}
MASKS = ("P", "V", "F")


class Mask(gymnasium.ObservationWrapper):
    """Hide entries of an observation; works on any environment that observes a flat Box.

    Parameters
    ----------
    env : gymnasium.Env
    keep : sequence of int
        The entries that are kept, in this order.

    Attributes
    ----------
    keep : tuple of int

    Raises
    ------
    UnsupportedSpace
        If the observation is no Box of one axis.
    IndexError
        If it has no such entry.
    """

    def __init__(self, env, keep):
        super().__init__(env)
        box = env.observation_space
        if not isinstance(box, gymnasium.spaces.Box) or len(box.shape) != 1:
            raise flat.UnsupportedSpace(
                f"the observation space {flat.name(box)} cannot be masked; it must be a Box of "
                "one axis"
            )
        self.keep = tuple(int(i) for i in keep)
        self.index = np.array(self.keep, int)
        low, high = box.low[self.index], box.high[self.index]
        # differs from Farr 2026: hidden entries are left out rather than set to zero, so that
        # the sparse initialisation does not give a unit nothing but hidden ones to look at
        self.observation_space = gymnasium.spaces.Box(low, high, dtype=box.dtype)

    def observation(self, observation):
        """Return the entries that are kept."""
        return observation[self.index]

    def __str__(self):
        return f"{self.env} keeping entries {', '.join(map(str, self.keep))}"


def entries(robot, mask, size):
    """List the entries of an observation of length ``size`` that a mask keeps."""
    positions = POSITIONS[robot]
    return {"P": range(positions), "V": range(positions, size), "F": range(size)}[mask]


def say(warning):
    """Pass on what MuJoCo has to say about a simulation, not what about its own future."""
    if "deprecated" not in warning:
        print(f"MuJoCo: {warning}", file=sys.stderr)


@dataclasses.dataclass(frozen=True)
class Config:
    """Masked MuJoCo."""

    name: str = setting("mujoco", "the environment", choices=("mujoco",))
    robot: str = setting("Hopper", "the robot", choices=tuple(POSITIONS))
    mask: str = setting("P", "what it feels: positions, velocities, full", choices=MASKS)

    def __post_init__(self):
        check(self)

    def make(self, **options):
        """Make the environment; ``options`` go to Gymnasium (``render_mode``).

        Raises
        ------
        MissingPackage
        """
        mujoco, _ = (require(name, "gymnasium[mujoco]") for name in ("mujoco", "imageio"))
        mujoco.set_mju_user_warning(say)  # else it writes a file where one stands
        if self.robot == "Ant":
            options["include_cfrc_ext_in_observation"] = False  # contact forces
        env = flat.make(f"{self.robot}-v5", **options)
        keep = entries(self.robot, self.mask, env.observation_space.shape[0])
        return flat.Flat(Mask(env, keep))
