"""MemoryChain: see a cue once, wait L steps, reproduce it (bsuite; Osband 2020).

The shortest task that has no solution without a memory: at the last step the observation
is the same whatever the cue was.
"""

import dataclasses

import numpy as np

from ..extras import require
from ..settings import check, setting

gymnasium = require("gymnasium")


@dataclasses.dataclass(frozen=True)
class Config:
    """MemoryChain."""

    name: str = setting("memory-chain", "the environment", choices=("memory-chain",))
    length: int = setting(16, "L, steps from cue to answer", low=1)
    bits: int = setting(1, "bits in the cue, one of which is asked for", low=1, high=64)
    distractors: int = setting(0, "random bits beside it that mean nothing", low=0, high=256)

    def __post_init__(self):
        check(self)

    def make(self):
        """Make the environment."""
        return MemoryChain(self.length, self.bits, self.distractors)


class MemoryChain(gymnasium.Env):
    """Reproduce a bit seen L steps ago.

    Observation (2 + bits + distractors,) float32: time left 1 − t/L; the index of the bit asked
    for, at t = L (0 before, and always 0 with one bit); the bits as ±1, at t = 0 (0 after);
    distractors as ±1, fresh at every step: with them it must be learned what to store.
    Actions: 0 answers −1, 1 answers +1. Reward: ±1 at t = L, 0 before. An episode takes
    L + 1 steps, then terminates.

    Parameters
    ----------
    length : int
        L.
    bits : int
    distractors : int
        Not in bsuite.
    render_mode : str, optional
        ``"ansi"``: :meth:`render` returns text.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012  (Gymnasium's own name)

    def __init__(self, length=16, bits=1, distractors=0, render_mode=None):
        Config(length=length, bits=bits, distractors=distractors)  # checks them
        self.length, self.bits, self.distractors = length, bits, distractors
        self.render_mode = render_mode
        ones = [1.0] * (bits + distractors)
        low = np.array([0.0, 0.0, *np.negative(ones)], np.float32)
        high = np.array([1.0, max(bits - 1.0, 1.0), *ones], np.float32)
        self.observation_space = gymnasium.spaces.Box(low, high)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        """Draw a new cue; returns (observation, info)."""
        super().reset(seed=seed)
        self.t = 0
        self.cue = self.np_random.integers(2, size=self.bits)
        self.asked = int(self.np_random.integers(self.bits))
        return self.observe(), {}

    def observe(self):
        """Make the observation of time t."""
        observation = np.zeros(2 + self.bits + self.distractors, np.float32)
        observation[0] = 1 - self.t / self.length
        if self.t == self.length:
            observation[1] = self.asked
        if self.t == 0:  # differs from Osband 2020: at the second step too, there
            observation[2 : 2 + self.bits] = 2 * self.cue - 1
        # differs from Osband 2020: no distractors there
        observation[2 + self.bits :] = 2 * self.np_random.integers(2, size=self.distractors) - 1
        return observation

    def step(self, action):
        """Take one step; only the action at t = L counts."""
        if self.t < self.length:
            self.t += 1
            return self.observe(), 0.0, False, False, {}
        reward = 1.0 if action == self.cue[self.asked] else -1.0
        return self.observe(), reward, True, False, {}

    def render(self):
        """Say in words what the agent sees."""
        if self.t == 0:
            return f"cue {' '.join(f'{2 * bit - 1:+d}' for bit in self.cue)}"
        return f"bit {self.asked}?" if self.t == self.length else f"{self.length - self.t} to go"


gymnasium.register("streamrl_np/MemoryChain-v0", f"{__name__}:MemoryChain")
