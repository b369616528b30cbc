"""Stream Q(λ): Q-learning with eligibility traces, cut as Watkins cuts them.

Per step (Elsayed 2024, algorithm 4; Farr 2026 adds the recurrence):

    δ ← r + γ max q(s′, ·)·(not terminated) − q(s, a)
    z ← 0                                                  if a is not greedy
    z ← γλ z + ∇q(s, a)
    w ← w + α_eff δ z                                      by ObGD
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from .. import cells, networks
from ..optimizers import OPTIMIZERS, accumulate
from ..policies import EpsilonGreedy, require_action
from ..settings import at_least, check, given, setting
from .stream import StreamAgent, acted


@dataclasses.dataclass(frozen=True)
class Config:
    """Stream Q(λ)."""

    name: str = setting("stream-q", "the agent", choices=("stream-q",))
    discount: float = setting(0.99, "γ, weight of the next step's value", low=0, high=1)
    trace_decay: float = setting(0.8, "λ of Q(λ)", low=0, high=1)
    epsilon_start: float = setting(1.0, "share of random actions at first", low=0, high=1)
    epsilon_end: float = setting(0.01, "share of random actions at last", low=0, high=1)
    epsilon_steps: int = setting(50_000, "steps from first to last", low=1)
    optimizer: str = setting("obgd", "how the trace becomes a step", choices=tuple(OPTIMIZERS))
    step_size: float = setting(1.0, "α, before the bound", above=0)
    kappa: float = setting(2.0, "κ of the bound", above=0)

    def __post_init__(self):
        check(self)


class Update(NamedTuple):
    """What one update did, for the log."""

    td_error: float
    value: float  # q(s, a)
    step_size: float
    trace: float  # ‖z‖₁; with adaptive ObGD ‖z/√v̂‖₁ (eq. O5)
    epsilon: float


class StreamQ(StreamAgent):
    """Stream Q(λ) with one recurrent network.

    Parameters
    ----------
    inputs : int
        Length of an observation.
    actions : int
    rng : numpy.random.Generator
        Draws weights and actions.
    config : Config
    network : streamrl_np.networks.Config
    cell : streamrl_np.cells.Config
    dtype : dtype

    Raises
    ------
    SettingError
        If an argument is nothing that it may be.
    """

    metrics = Update._fields

    def __init__(
        self, inputs, actions, rng, config=None, network=None, cell=None, dtype=np.float32
    ):
        super().__init__(dtype)
        self.config = cfg = given(Config, config=config)
        network = given(networks.Config, network=network)
        cell = given(cells.Config, cell=cell)
        self.policy = EpsilonGreedy(cfg.epsilon_start, cfg.epsilon_end, cfg.epsilon_steps)
        at_least(1, actions=actions)
        self.rng, self.one_hot = rng, np.eye(actions, dtype=dtype)
        self.q = networks.Network(inputs, actions, network, cell, rng, dtype)
        self.z = self.q.p.like()
        optimizer = OPTIMIZERS[cfg.optimizer]
        self.optimizer = optimizer(self.z.flat.size, cfg.step_size, cfg.kappa, dtype)
        self.add("q", self.q, self.z, self.optimizer)
        self.q_step = None  # (q(s, ·), cache) of an act that no update has used

    def act(self, observation):
        """Advance the network by ``observation`` (inputs,) and choose an action."""
        self.q_step = self.q.forward(observation)
        return self.policy.sample(self.q_step[0], self.updates[0], self.rng)

    def update(self, observation, action, reward, next_observation, terminated, truncated):
        """Step the agent in place by one transition; parameters as in stream AC(λ).

        Returns
        -------
        Update

        Raises
        ------
        NonFiniteError
            If the TD error or the trace holds a NaN or an infinity.
        RuntimeError
            If no act came before it.
        SettingError
            For an action that there is not.
        """
        gamma, lam = self.config.discount, self.config.trace_decay
        discount = gamma * (not terminated)
        epsilon = self.policy.epsilon(self.updates[0])
        q, cache = acted(self.q_step)
        require_action(action, len(q))
        greedy = bool(q[action] == q.max())

        q_next = self.q.peek(next_observation)
        delta = float(reward) + discount * float(q_next.max()) - float(q[action])  # (eq. A4)
        self.check_error(delta, reward, observation, next_observation)

        self.q.vjp(cache, self.one_hot[action])
        # differs from Elsayed 2024: cut before the action's own gradient enters, as Watkins does
        accumulate(self.z.flat, self.q.grad.flat, gamma * lam * greedy)  # (eq. A5)
        alpha, norm = self.optimizer.step(self.q.p.flat, self.z.flat, delta)

        self.q_step = None
        self.count()
        if terminated or truncated:
            self.reset()
        return Update(delta, float(q[action]), alpha, norm, epsilon)
