"""Trace conditioning: predict a stimulus that follows another one after an empty interval.

As in an animal's experiment (Farr 2026, after Rafiee 2022): a conditioned stimulus (CS), then
nothing, then the unconditioned one (US). Between them only a memory knows that it will come.
There is nothing to do but predict: the reward is the US, the only action is to wait.
"""

import dataclasses

import numpy as np

from ..extras import require
from ..settings import check, setting

gymnasium = require("gymnasium")

CS_STEPS, US_STEPS = 4, 2
PAUSE = (80, 120)  # least and most steps from one US's end to the next CS


@dataclasses.dataclass(frozen=True)
class Config:
    """Trace conditioning."""

    name: str = setting("trace-conditioning", "the environment", choices=("trace-conditioning",))
    interval: int = setting(10, "mean steps from the CS's begin to the US's; ± a third", low=7)
    trials: int = setting(10, "trials in an episode, which is cut off after them", low=1)

    def __post_init__(self):
        check(self)

    def make(self):
        """Make the environment."""
        return TraceConditioning(self.interval, self.trials)


class TraceConditioning(gymnasium.Env):
    """Watch stimuli come in pairs.

    Observation (2,) float32: CS and US, 0 or 1. The one action is 0. Reward: the US of the
    observation that the step leads to. Each trial is a pause of 80 to 120 steps, a CS of 4
    steps, and, ``interval`` ± a third after its begin, a US of 2. The world goes on after the
    last trial: an episode is truncated, never terminated.

    Parameters
    ----------
    interval : int
        Mean inter-stimulus interval, steps; γ = 1 − 1/interval suits it.
    trials : int
        Trials in an episode.
    render_mode : str, optional
        ``"ansi"``: :meth:`render` returns text.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012  (Gymnasium's own name)

    def __init__(self, interval=10, trials=10, render_mode=None):
        Config(interval=interval, trials=trials)  # checks both
        self.interval, self.trials, self.render_mode = interval, trials, render_mode
        self.observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(1)

    def reset(self, *, seed=None, options=None):
        """Draw all trials of an episode; returns (observation, info)."""
        super().reset(seed=seed)
        self.t = 0
        self.stimuli = np.concatenate([self.trial() for _ in range(self.trials)])
        return self.stimuli[0].copy(), {}

    def trial(self):
        """Draw one trial, (steps, 2): pause, CS, empty interval, US."""
        third = self.interval // 3
        pause = int(self.np_random.integers(PAUSE[0], PAUSE[1] + 1))
        interval = int(self.np_random.integers(self.interval - third, self.interval + third + 1))
        stimuli = np.zeros((pause + interval + US_STEPS, 2), np.float32)
        stimuli[pause : pause + CS_STEPS, 0] = 1
        stimuli[pause + interval :, 1] = 1
        return stimuli

    def step(self, action):
        """Wait for one step."""
        self.t += 1
        observation = self.stimuli[self.t].copy()
        return observation, float(observation[1]), False, self.t == len(self.stimuli) - 1, {}

    def render(self):
        """Say in words what the agent sees."""
        return {(0, 0): "nothing", (1, 0): "CS", (0, 1): "US"}[tuple(self.stimuli[self.t])]


gymnasium.register("streamrl_np/TraceConditioning-v0", f"{__name__}:TraceConditioning")
