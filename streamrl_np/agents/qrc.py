"""QRC(λ): Q-learning by the gradient of a projected Bellman error, with eligibility traces.

A second network h predicts the λ-error that q will make; with it, the update follows the
gradient of an objective (eq. A10) and stays stable off-policy. Per step (Elelimy 2025):

    δ   ← r + γ max q(s′, ·)·(not terminated) − q(s, a)
    z   ← 0                                                all three, if a is not greedy
    z_w ← γλ z_w + ∇q(s, a),   z_θ ← γλ z_θ + ∇h(s, a),   z_h ← γλ z_h + h(s, a)
    w   ← w + α_q [δ z_w − h ∇q − z_h (γ ∇max q(s′, ·) − ∇q)]
    θ   ← θ + α_h [δ z_θ − h ∇h − β θ]
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from .. import cells, networks
from ..arrays import require_finite
from ..optimizers import GRADIENT_OPTIMIZERS, accumulate
from ..policies import EpsilonGreedy, require_action
from ..settings import at_least, check, given, setting
from .stream import StreamAgent, acted


@dataclasses.dataclass(frozen=True)
class Config:
    """QRC(λ)."""

    name: str = setting("qrc", "the agent", choices=("qrc",))
    discount: float = setting(0.99, "γ, weight of the next step's value", low=0, high=1)
    trace_decay: float = setting(0.95, "λ of Q(λ)", low=0, high=1)
    beta: float = setting(1.0, "β, how strongly θ, the weights of h, is drawn to zero", low=0)
    epsilon_start: float = setting(1.0, "share of random actions at first", low=0, high=1)
    epsilon_end: float = setting(0.01, "share of random actions at last", low=0, high=1)
    epsilon_steps: int = setting(50_000, "steps from first to last", low=1)
    optimizer: str = setting("sgd", "how q and h move", choices=tuple(GRADIENT_OPTIMIZERS))
    step_size: float = setting(1e-4, "α_q", above=0)
    step_size_auxiliary: float = setting(1e-5, "α_h", above=0)

    def __post_init__(self):
        check(self)


class Update(NamedTuple):
    """What one update did, for the log."""

    td_error: float
    value: float  # q(s, a)
    auxiliary: float  # h(s, a)
    trace_auxiliary: float  # z_h
    epsilon: float


class QRC(StreamAgent):
    """QRC(λ) with two recurrent networks.

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
        self.h = networks.Network(inputs, actions, network, cell, rng, dtype)
        self.pull = self.h.p.like()  # −β of every entry of θ
        self.pull.flat[:] = -cfg.beta
        if cell.mode == "frozen":
            self.pull.cell.flat[:] = 0.0  # what is frozen is not drawn to zero either
        self.z_w, self.z_theta, self.z_h = self.q.p.like(), self.h.p.like(), np.zeros(1)
        size = self.z_w.flat.size
        optimizer = GRADIENT_OPTIMIZERS[cfg.optimizer]
        self.optimizer_q = optimizer(size, cfg.step_size, dtype=dtype)
        self.optimizer_h = optimizer(size, cfg.step_size_auxiliary, dtype=dtype)
        self.add("q", self.q, self.z_w, self.optimizer_q)
        self.add("h", self.h, self.z_theta, self.optimizer_h)
        self.q_step = None  # (q(s, ·), cache) of an act that no update has used
        # overwritten every step
        self.q_gradient, self.held = self.q.p.like(), self.q.state.like()
        self.total, self.scratch = np.empty(size, dtype), np.empty(size, dtype)

    def act(self, observation):
        """Advance q by ``observation`` (inputs,) and choose an action."""
        self.q_step = self.q.forward(observation)
        return self.policy.sample(self.q_step[0], self.updates[0], self.rng)

    def look_ahead(self, next_observation):
        """Compute max q(s′, ·), with its gradient in ``self.q.grad``; the state stays as it is."""
        self.held.flat[:] = self.q.state.flat
        q_next, cache = self.q.forward(next_observation)
        self.q.vjp(cache, self.one_hot[q_next.argmax()])
        self.q.state.flat[:] = self.held.flat
        return float(q_next.max())

    def update(self, observation, action, reward, next_observation, terminated, truncated):
        """Step the agent in place by one transition; parameters as in stream AC(λ).

        Returns
        -------
        Update

        Raises
        ------
        NonFiniteError
            If the TD error or h(s, a) holds a NaN or an infinity.
        RuntimeError
            If no act came before it.
        SettingError
            For an action that there is not.
        """
        cfg = self.config
        gamma, lam = cfg.discount, cfg.trace_decay
        discount = gamma * (not terminated)
        epsilon = self.policy.epsilon(self.updates[0])
        q, q_cache = acted(self.q_step)
        require_action(action, len(q))
        # differs from Elelimy 2025: the code there empties the traces after this update
        decay = gamma * lam * bool(q[action] == q.max())  # Watkins' cut

        self.q.vjp(q_cache, self.one_hot[action])
        self.q.grad, self.q_gradient = self.q_gradient, self.q.grad  # the look-ahead writes its own
        q_next = self.look_ahead(next_observation)
        h_all, h_cache = self.h.forward(observation)
        self.h.vjp(h_cache, self.one_hot[action])
        h = float(h_all[action])

        delta = float(reward) + discount * q_next - float(q[action])  # (eq. A4)
        self.check_error(delta, reward, observation, next_observation)

        accumulate(self.z_w.flat, self.q_gradient.flat, decay)  # (eq. A5)
        accumulate(self.z_theta.flat, self.h.grad.flat, decay)  # (eq. A6)
        accumulate(self.z_h, h, decay)  # (eq. A7)
        z_h = float(self.z_h[0])
        if not math.isfinite(z_h):
            self.require_finite()
            require_finite("h(s, a)", h)
            require_finite("the trace of h(s, a)", z_h)

        w, theta = self.q.p.flat, self.h.p.flat
        q_gradient, next_gradient = self.q_gradient.flat, self.q.grad.flat
        # Δw = δ z_w + (z_h − h) ∇q − z_h γ ∇max q(s′, ·)   (eq. A8)
        terms = (delta, self.z_w.flat), (z_h - h, q_gradient), (-z_h * discount, next_gradient)
        self.optimizer_q.step(w, self.downhill(terms))
        # Δθ = δ z_θ − h ∇h − β θ   (eq. A9)
        terms = (delta, self.z_theta.flat), (-h, self.h.grad.flat), (self.pull.flat, theta)
        self.optimizer_h.step(theta, self.downhill(terms))

        self.q_step = None
        self.count()
        if terminated or truncated:
            self.reset()
        return Update(delta, float(q[action]), h, z_h, epsilon)

    def downhill(self, terms):
        """Make the gradient that an optimizer descends, −Σ coefficient · vector over ``terms``."""
        (coefficient, vector), *others = terms
        np.multiply(vector, -coefficient, out=self.total)
        for coefficient, vector in others:
            np.multiply(vector, coefficient, out=self.scratch)
            self.total -= self.scratch
        return self.total

    def reset(self):
        """Step back to the start of an episode: h, S and the three traces become zero."""
        super().reset()
        self.z_h[:] = 0.0

    def arrays(self):
        """Name every array that a checkpoint must hold; they are the live ones."""
        return super().arrays() | {"auxiliary_trace": self.z_h}
