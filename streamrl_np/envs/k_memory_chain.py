"""KMemoryChain: at every step, say which bit was shown K steps ago (Farr 2026).

The agent must hold K bits at all times, and every one of them counts.
"""

import collections
import dataclasses

import numpy as np

from ..extras import require
from ..settings import check, setting

gymnasium = require("gymnasium")


@dataclasses.dataclass(frozen=True)
class Config:
    """KMemoryChain."""

    name: str = setting("k-memory-chain", "the environment", choices=("k-memory-chain",))
    delay: int = setting(4, "K, steps from a bit to its answer", low=1)

    def __post_init__(self):
        check(self)

    def make(self):
        """Make the environment."""
        return KMemoryChain(self.delay)


class KMemoryChain(gymnasium.Env):
    """Reproduce the bit of K steps ago, step after step.

    Observation (2,) float32: time left 1 − t/8K; a fresh bit as ±1. Actions: 0 answers −1,
    1 answers +1. Reward: ±1 from t = K on, 0 before. An episode takes 8K steps, then
    terminates; its return lies in [−7K, 7K].

    Parameters
    ----------
    delay : int
        K.
    render_mode : str, optional
        ``"ansi"``: :meth:`render` returns text.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012  (Gymnasium's own name)

    def __init__(self, delay=4, render_mode=None):
        Config(delay=delay)  # checks it
        self.delay, self.render_mode = delay, render_mode
        self.observation_space = gymnasium.spaces.Box(
            np.array([0.0, -1.0], np.float32), np.ones(2, np.float32)
        )
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        """Begin with a fresh bit; returns (observation, info)."""
        super().reset(seed=seed)
        self.t = 0
        self.bits = collections.deque(maxlen=self.delay + 1)  # the last one is on show
        return self.observe(), {}

    def observe(self):
        """Draw a bit and make the observation of time t."""
        self.bits.append(int(self.np_random.integers(2)))
        return np.array([1 - self.t / (8 * self.delay), 2 * self.bits[-1] - 1], np.float32)

    def step(self, action):
        """Answer for the bit of K steps ago, if there is one."""
        reward = 0.0
        if self.t >= self.delay:
            reward = 1.0 if action == self.bits[0] else -1.0
        self.t += 1
        return self.observe(), reward, self.t == 8 * self.delay, False, {}

    def render(self):
        """Say in words what the agent sees."""
        return f"{2 * self.bits[-1] - 1:+d}"


gymnasium.register("streamrl_np/KMemoryChain-v0", f"{__name__}:KMemoryChain")
