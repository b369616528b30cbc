"""Stream TD(λ): learn to predict the discounted sum of rewards; the critic half of stream AC(λ).

Per step (Elsayed 2024, algorithm 3; Farr 2026 adds the recurrence):

    δ ← r + γ v(s′)·(not terminated) − v(s)
    z ← γλ z + ∇v(s)
    w ← w + α_eff δ z                                      by ObGD
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from .. import cells, networks
from ..optimizers import OPTIMIZERS, accumulate
from ..settings import check, given, setting
from .stream import StreamAgent, acted


@dataclasses.dataclass(frozen=True)
class Config:
    """Stream TD(λ)."""

    name: str = setting("td", "the agent", choices=("td",))
    discount: float = setting(0.99, "γ, weight of the next step's value", low=0, high=1)
    trace_decay: float = setting(0.8, "λ of TD(λ)", low=0, high=1)
    optimizer: str = setting("obgd", "how the trace becomes a step", choices=tuple(OPTIMIZERS))
    step_size: float = setting(1.0, "α, before the bound", above=0)
    kappa: float = setting(2.0, "κ of the bound", above=0)

    def __post_init__(self):
        check(self)


class Update(NamedTuple):
    """What one update did, for the log."""

    td_error: float
    value: float  # v(s)
    step_size: float
    trace: float  # ‖z‖₁; with adaptive ObGD ‖z/√v̂‖₁ (eq. O5)


class TD(StreamAgent):
    """Stream TD(λ) with one recurrent network.

    Parameters
    ----------
    inputs : int
        Length of an observation.
    rng : numpy.random.Generator
        Draws weights.
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

    def __init__(self, inputs, rng, config=None, network=None, cell=None, dtype=np.float32):
        super().__init__(dtype)
        self.config = config = given(Config, config=config)
        network = given(networks.Config, network=network)
        cell = given(cells.Config, cell=cell)
        self.v = networks.Network(inputs, 1, network, cell, rng, dtype)
        self.z = self.v.p.like()
        optimizer = OPTIMIZERS[config.optimizer]
        self.optimizer = optimizer(self.z.flat.size, config.step_size, config.kappa, dtype)
        self.add("value", self.v, self.z, self.optimizer)
        self.v_step = None  # (v(s), cache) of an act that no update has used

    def act(self, observation):
        """Advance the network by ``observation`` (inputs,); there is one action, 0."""
        self.v_step = self.v.forward(observation)
        return 0

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
        """
        gamma, lam = self.config.discount, self.config.trace_decay
        discount = gamma * (not terminated)
        v, cache = acted(self.v_step)

        v_next = self.v.peek(next_observation)
        delta = float(reward) + discount * float(v_next[0]) - float(v[0])  # (eq. A1)
        self.check_error(delta, reward, observation, next_observation)

        self.v.vjp(cache, np.ones(1, self.dtype))
        accumulate(self.z.flat, self.v.grad.flat, gamma * lam)  # (eq. A2)
        alpha, norm = self.optimizer.step(self.v.p.flat, self.z.flat, delta)

        self.v_step = None
        self.count()
        if terminated or truncated:
            self.reset()
        return Update(delta, float(v[0]), alpha, norm)
