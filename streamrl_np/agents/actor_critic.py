"""Stream AC(λ): actor and critic learn from each transition as it comes, then forget it.

Per step (Elsayed 2024, algorithm 5; Farr 2026 adds the recurrence):

    δ   = r + γ v(s′)·(not terminated) − v(s)
    z_v ← γλ z_v + ∇v(s)
    z_π ← γλ z_π + ∇[log π(a|s) + τ sign(δ) H(π(·|s))]
    w   ← w + α_eff δ z                                    for both, by ObGD

The gradients are exact through the whole past while the parameters stand still; as they
move, the sensitivities mix Jacobians of slightly older parameters (staleness), as the
traces always did.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from .. import cells, networks
from ..arrays import require_finite
from ..optimizers import OPTIMIZERS, Workspace, accumulate
from ..policies import Policy
from ..settings import check, given, instance, setting
from .stream import StreamAgent, acted


@dataclasses.dataclass(frozen=True)
class Config:
    """Stream AC(λ)."""

    name: str = setting(
        "actor-critic", "the agent; others: ppo, qrc, stream-q, td", choices=("actor-critic",)
    )
    discount: float = setting(0.99, "γ, weight of the next step's value", low=0, high=1)
    trace_decay: float = setting(0.8, "λ of TD(λ)", low=0, high=1)
    entropy: float = setting(0.01, "τ, weight of the entropy bonus", low=0)
    optimizer: str = setting("obgd", "how traces become steps", choices=tuple(OPTIMIZERS))
    step_size: float = setting(1.0, "α, before the bound", above=0)
    kappa_policy: float = setting(3.0, "κ of the actor's bound", above=0)
    kappa_value: float = setting(2.0, "κ of the critic's bound", above=0)

    def __post_init__(self):
        check(self)


class Update(NamedTuple):
    """What one update did, for the log."""

    td_error: float
    step_size_policy: float
    step_size_value: float
    trace_policy: float  # ‖z_π‖₁; with adaptive ObGD ‖z_π/√v̂‖₁ (eq. O5)
    trace_value: float  # ‖z_v‖₁, likewise
    entropy: float


class ActorCritic(StreamAgent):
    """Stream AC(λ) with two recurrent networks.

    Parameters
    ----------
    inputs : int
        Length of an observation.
    policy : streamrl_np.policies.Policy
        What the actor's outputs mean: a choice (``Categorical``) or numbers (``Gaussian``).
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

    def __init__(self, inputs, policy, rng, config=None, network=None, cell=None, dtype=np.float32):
        super().__init__(dtype)
        self.config = config = given(Config, config=config)
        network = given(networks.Config, network=network)
        cell = given(cells.Config, cell=cell)
        self.policy, self.rng = instance(Policy, policy=policy), rng
        self.actor = networks.Network(inputs, policy.outputs, network, cell, rng, dtype)
        self.critic = networks.Network(inputs, 1, network, cell, rng, dtype)
        self.z_pi, self.z_v = self.actor.p.like(), self.critic.p.like()
        optimizer = OPTIMIZERS[config.optimizer]
        alpha, kappa_pi, kappa_v = config.step_size, config.kappa_policy, config.kappa_value
        size_pi, size_v = self.z_pi.flat.size, self.z_v.flat.size
        workspace = Workspace(max(size_pi, size_v), dtype)
        self.optimizer_pi = optimizer(size_pi, alpha, kappa_pi, dtype, workspace)
        self.optimizer_v = optimizer(size_v, alpha, kappa_v, dtype, workspace)
        self.add("actor", self.actor, self.z_pi, self.optimizer_pi)
        self.add("critic", self.critic, self.z_v, self.optimizer_v)
        self.actor_step = None  # (logits, cache) of an act that no update has used

    def act(self, observation):
        """Advance the actor by ``observation`` (inputs,) and draw an action.

        Raises
        ------
        NonFiniteError
            If what the actor puts out holds a NaN or an infinity.
        """
        logits, cache = self.actor.forward(observation)
        if not math.isfinite(logits.sum()):  # before an environment is given such an action
            require_finite("the observation", observation)
            self.require_finite()
            require_finite("the actor's output", logits)
        self.actor_step = logits, cache
        return self.policy.sample(logits, self.rng)

    def update(self, observation, action, reward, next_observation, terminated, truncated):
        """Step the agent in place by one transition.

        Parameters
        ----------
        observation, next_observation : (inputs,) ndarray
            ``observation`` is the one that :meth:`act` has just seen.
        action : int or (k,) ndarray
            What :meth:`act` returned.
        reward : float
        terminated : bool
            The episode ended for good: nothing follows, so the next value counts 0.
        truncated : bool
            The episode was cut off: the next value still counts.

        Returns
        -------
        Update

        Raises
        ------
        NonFiniteError
            If the TD error or a trace holds a NaN or an infinity.
        RuntimeError
            If no act came before it.
        SettingError
            For an action that there is not.
        """
        cfg = self.config
        gamma, lam, tau = cfg.discount, cfg.trace_decay, cfg.entropy
        discount = gamma * (not terminated)  # differs from Elsayed 2024: or truncated, there
        logits, actor_cache = acted(self.actor_step)
        self.policy.require(action)

        v, critic_cache = self.critic.forward(observation)
        v_next = self.critic.peek(next_observation)
        delta = float(reward) + discount * float(v_next[0]) - float(v[0])  # (eq. A1)
        self.check_error(delta, reward, observation, next_observation)

        self.critic.vjp(critic_cache, np.ones(1, self.dtype))
        accumulate(self.z_v.flat, self.critic.grad.flat, gamma * lam)  # (eq. A2)

        entropy_weight = tau * float(np.sign(delta))
        self.actor.vjp(actor_cache, self.policy.gradient(logits, action, entropy_weight))
        accumulate(self.z_pi.flat, self.actor.grad.flat, gamma * lam)  # (eq. A3)

        alpha_v, norm_v = self.optimizer_v.step(self.critic.p.flat, self.z_v.flat, delta)
        alpha_pi, norm_pi = self.optimizer_pi.step(self.actor.p.flat, self.z_pi.flat, delta)

        self.actor_step = None
        self.count()
        if terminated or truncated:
            self.reset()
        entropy = float(self.policy.entropy(logits))
        return Update(delta, alpha_pi, alpha_v, norm_pi, norm_v, entropy)
