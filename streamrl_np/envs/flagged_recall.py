"""FlaggedRecall: bits stream by, one of them is flagged; reproduce that one at the end.

In MemoryChain the cue is all there is to store, so any recurrence that forgets slowly enough
will do. Here a bit comes at every step, and a unit that takes in all of them ends up holding
their sum: what to let in must be learned, from a reward that comes many steps later.
"""

import dataclasses

import numpy as np

from ..extras import require
from ..settings import check, setting

gymnasium = require("gymnasium")


@dataclasses.dataclass(frozen=True)
class Config:
    """FlaggedRecall."""

    name: str = setting("flagged-recall", "the environment", choices=("flagged-recall",))
    length: int = setting(16, "L, bits before the question", low=1)

    def __post_init__(self):
        check(self)

    def make(self):
        """Make the environment."""
        return FlaggedRecall(self.length)


class FlaggedRecall(gymnasium.Env):
    """Reproduce the one bit that was flagged among L.

    Observation (4,) float32: time left 1 − t/L; whether this is the question, at t = L; whether
    the bit is the flagged one; a fresh random bit as ±1 (0 at t = L). The flag comes at a step
    drawn evenly from 0 … L − 1. Actions: 0 answers −1, 1 answers +1. Reward: ±1 at t = L, 0
    before. An episode takes L + 1 steps, then terminates.

    Parameters
    ----------
    length : int
        L.
    render_mode : str, optional
        ``"ansi"``: :meth:`render` returns text.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012  (Gymnasium's own name)

    def __init__(self, length=16, render_mode=None):
        Config(length=length)  # checks it
        self.length, self.render_mode = length, render_mode
        low, high = np.array([0, 0, 0, -1], np.float32), np.ones(4, np.float32)
        self.observation_space = gymnasium.spaces.Box(low, high)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        """Draw all bits and the flagged step; returns (observation, info)."""
        super().reset(seed=seed)
        self.t = 0
        self.bits = self.np_random.integers(2, size=self.length)
        self.flagged = int(self.np_random.integers(self.length))
        return self.observe(), {}

    def observe(self):
        """Make the observation of time t."""
        left = 1 - self.t / self.length
        if self.t == self.length:
            return np.array([left, 1, 0, 0], np.float32)
        return np.array([left, 0, self.t == self.flagged, 2 * self.bits[self.t] - 1], np.float32)

    def step(self, action):
        """Take one step; only the action at t = L counts."""
        if self.t < self.length:
            self.t += 1
            return self.observe(), 0.0, False, False, {}
        reward = 1.0 if action == self.bits[self.flagged] else -1.0
        return self.observe(), reward, True, False, {}

    def render(self):
        """Say in words what the agent sees."""
        if self.t == self.length:
            return "which was flagged?"
        return f"{2 * self.bits[self.t] - 1:+d}{' flagged' if self.t == self.flagged else ''}"


gymnasium.register("streamrl_np/FlaggedRecall-v0", f"{__name__}:FlaggedRecall")
