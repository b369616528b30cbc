"""Recurrent PPO: collect T steps, learn from them several times, forget them (Schulman 2017).

The batched baseline that streaming is compared with, on the same two networks:

    A_t  = Σ_k (γλ)^k δ_{t+k}                                     advantages (GAE)
    ρ    = π(a|s) / π_old(a|s)
    L_π  = −mean min(ρ A, clip(ρ, 1 − ε, 1 + ε) A) − τ H
    L_v  = ½ mean max((v − R)², (v_clipped − R)²),   R = A + v_old
    w    ← Adam(w, gradient clipped to a norm)                    a minibatch

How the gradient reaches the past of a recurrent cell is one setting, ``segment``. The rollout
is cut into segments of that many steps. Inside a segment the gradient is BPTT's; through the
state that a segment began from it follows the sensitivities in cell mode "rtrl", and stops in
mode "tbptt1". So ``segment`` 1 with "rtrl" is real-time PPO (Elelimy 2024: single steps, each
stored with its sensitivity), a long segment with "tbptt1" is plain truncated BPTT, and a
segment of 16 with "rtrl" has the exactness of the one at nearly the price of the other.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from .. import cells, networks
from ..arrays import flush_denormals, require_all_finite, require_finite
from ..optimizers import Adam
from ..policies import Policy
from ..settings import SettingError, check, given, instance, setting
from . import rollout
from .stream import acted


@dataclasses.dataclass(frozen=True)
class Config:
    """Recurrent PPO."""

    name: str = setting("ppo", "the agent", choices=("ppo",))
    discount: float = setting(0.99, "γ, weight of the next step's value", low=0, high=1)
    advantage_decay: float = setting(0.95, "λ of the advantages (GAE)", low=0, high=1)
    rollout: int = setting(2048, "T, steps between two rounds of learning", low=1)
    # differs from Elelimy 2024: single steps there
    segment: int = setting(16, "steps that a gradient is unrolled through", low=1)
    minibatches: int = setting(32, "minibatches that a rollout is cut into", low=1)
    epochs: int = setting(4, "times that a rollout is learned from", low=1)
    clip: float = setting(0.2, "ε, how far the policy may move from the one that acted", above=0)
    value_clip: float | None = setting(0.2, "the same for values; none does not clip", above=0)
    entropy: float = setting(0.0, "τ, weight of the entropy bonus", low=0)
    step_size: float = setting(3e-4, "α of Adam", above=0)
    max_norm: float = setting(0.5, "longest gradient of both networks together", above=0)

    def __post_init__(self):
        check(self)
        if self.rollout <= self.minibatches:
            raise SettingError(
                f"rollout must be more than minibatches = {self.minibatches}, got {self.rollout}:"
                " of a single step no advantage stands out"
            )
        if self.rollout % (self.segment * self.minibatches):
            raise SettingError(
                f"rollout must be a multiple of segment · minibatches = "
                f"{self.segment * self.minibatches}, got {self.rollout}"
            )


def policy_loss(ratio, advantage, clip):
    """Compute the clipped surrogate, a mean over the batch, negated: less is better."""
    clipped = np.clip(ratio, 1.0 - clip, 1.0 + clip)
    return -np.minimum(ratio * advantage, clipped * advantage).mean()  # (eq. B6)


def policy_loss_gradient(ratio, advantage, clip):
    """Differentiate :func:`policy_loss` by log π(a|s), in the shape of ``ratio``."""
    useful = np.where(advantage >= 0, ratio <= 1.0 + clip, ratio >= 1.0 - clip)
    return np.where(useful, -ratio * advantage, 0) / ratio.size  # (eq. B7)


def value_loss(v, v_old, target, clip):
    """Compute half the mean squared error, the worse of v's and of v kept within v_old ± clip."""
    error = v - target
    if clip is not None:
        error_clipped = v_old + np.clip(v - v_old, -clip, clip) - target
        return 0.5 * np.maximum(error**2, error_clipped**2).mean()  # (eq. B8)
    return 0.5 * (error**2).mean()


def value_loss_gradient(v, v_old, target, clip):
    """Differentiate :func:`value_loss` by v."""
    error = v - target
    if clip is not None:
        inside = np.abs(v - v_old) < clip
        error_clipped = v_old + np.clip(v - v_old, -clip, clip) - target
        error = np.where(inside | (error**2 > error_clipped**2), error, 0)  # (eq. B9)
    return error / error.size


def standardize(A):
    """Bring advantages to mean 0 and standard deviation 1 within a minibatch."""
    return (A - A.mean()) / (A.std() + 1e-8)


class Update(NamedTuple):
    """What the last round of learning did, for the log: means over its minibatches."""

    policy_loss: float
    value_loss: float
    entropy: float
    divergence: float  # KL(π_old ‖ π), estimated from the actions taken
    clipped: float  # share of steps outside 1 ± ε
    gradient_norm: float  # before it is clipped


class PPO:
    """Recurrent PPO with two networks.

    Parameters
    ----------
    inputs : int
        Length of an observation.
    policy : streamrl_np.policies.Policy
    rng : numpy.random.Generator
        Draws weights, actions and minibatches.
    config : Config
    network : streamrl_np.networks.Config
    cell : streamrl_np.cells.Config
    dtype : dtype

    Raises
    ------
    SettingError
        If an argument is nothing that it may be, or the cell cannot be unrolled.
    """

    metrics = Update._fields

    def __init__(self, inputs, policy, rng, config=None, network=None, cell=None, dtype=np.float32):
        self.config = config = given(Config, config=config)
        network = given(networks.Config, network=network)
        cell = given(cells.Config, cell=cell)
        if not hasattr(cells.CELLS[cell.name], "unroll"):
            able = ", ".join(name for name, c in cells.CELLS.items() if hasattr(c, "unroll"))
            raise SettingError(f"cell.name must be one of {able} for PPO, got {cell.name!r}")
        self.policy, self.rng = instance(Policy, policy=policy), rng
        # the learners' own state is that before the rollout; their acting twins run ahead
        self.actor = networks.Network(inputs, policy.outputs, network, cell, rng, dtype)
        self.critic = networks.Network(inputs, 1, network, cell, rng, dtype)
        self.acting, self.judging = self.actor.acting_twin(), self.critic.acting_twin()
        alpha, eps = config.step_size, 1e-5
        self.optimizer_pi = Adam(self.actor.p.flat.size, alpha, eps=eps, dtype=dtype)
        self.optimizer_v = Adam(self.critic.p.flat.size, alpha, eps=eps, dtype=dtype)
        example = policy.sample(np.zeros(policy.outputs, dtype), np.random.default_rng(0))
        self.rollout = rollout.Rollout(config.rollout, inputs, example, dtype)
        self.first = np.ones(1, bool)  # the next step is an episode's first
        self.updates = np.zeros(1, np.int64)
        self.log = np.zeros(len(Update._fields))
        self.drawn = None  # (log-probability, value) of an act that no update has used

    def act(self, observation):
        """Advance the acting networks by ``observation`` (inputs,) and draw an action.

        Raises
        ------
        NonFiniteError
            If what the actor puts out, or the value, holds a NaN or an infinity.
        """
        outputs, _ = self.acting.forward(observation)
        value, _ = self.judging.forward(observation)
        if not math.isfinite(outputs.sum() + value[0]):  # before an environment gets the action
            require_finite("the observation", observation)
            self.require_finite()
            require_finite("the actor's output", outputs)
            require_finite("the value", value)
        action = self.policy.sample(outputs, self.rng)
        self.drawn = self.policy.log_prob(outputs, action), value[0]
        return action

    def update(self, observation, action, reward, next_observation, terminated, truncated):
        """Step the agent in place by one transition; it learns when the rollout is full.

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
            Of the last round of learning; zeros before the first.

        Raises
        ------
        NonFiniteError
            If the reward, an advantage or a gradient holds a NaN or an infinity.
        RuntimeError
            If no act came before it.
        SettingError
            For an action that there is not.
        """
        if not math.isfinite(reward):
            require_finite("the reward", float(reward))
        self.policy.require(action)
        log_prob, value = acted(self.drawn)
        self.drawn = None
        data, t = self.rollout, int(self.rollout.count[0])
        data.observations[t], data.actions[t], data.rewards[t] = observation, action, reward
        data.log_probs[t], data.values[t] = log_prob, value
        data.starts[t], data.ends[t] = self.first[0], terminated or truncated
        if t and not data.starts[t]:
            data.next_values[t - 1] = data.values[t]  # the episode went on to here
        cut = truncated or t + 1 == len(data.rewards)
        look = cut and not terminated  # nothing will tell this value later
        data.next_values[t] = self.judging.peek(next_observation)[0] if look else 0.0
        data.count += 1
        self.updates += 1
        if data.full:
            self.learn()
        self.first[0] = False
        if terminated or truncated:
            self.reset()
        return Update(*self.log.tolist())

    def reset(self):
        """Step back to the start of an episode: h of the acting networks becomes zero.

        What the rollout holds ends there: an episode broken off counts as terminated.
        """
        self.acting.reset()
        self.judging.reset()
        self.first[0] = True
        if self.rollout.count[0]:
            self.rollout.ends[self.rollout.count[0] - 1] = True

    def acting_network(self):
        """Return the network whose memory the actions come from."""
        return self.acting

    def learn(self):
        """Step both networks in place by several passes over the rollout, and empty it."""
        cfg, data = self.config, self.rollout
        A = rollout.advantages(
            data.rewards,
            data.values,
            data.next_values,
            data.ends,
            cfg.discount,
            cfg.advantage_decay,
        )
        require_finite("the advantages", A)
        x = data.observations, data.starts, cfg.segment
        memory_pi, memory_v = self.actor.replay(*x), self.critic.replay(*x)
        steps = data.segments(cfg.segment)
        steps["advantages"] = A.reshape(-1, cfg.segment)
        logs = []
        for _ in range(cfg.epochs):
            order = self.rng.permutation(len(A) // cfg.segment)
            for chosen in order.reshape(cfg.minibatches, -1):
                batch = {name: array[chosen].swapaxes(0, 1) for name, array in steps.items()}
                logs.append(
                    self.step_minibatch(batch, take(memory_pi, chosen), take(memory_v, chosen))
                )
        self.log[:] = np.mean(logs, axis=0)
        for acting, learner in (self.acting, self.actor), (self.judging, self.critic):
            if "h" in learner.state.layout:
                # the same but for rounding: here the encoder saw the rollout as one batch
                acting.state.h[:] = learner.state.h
        for optimizer in self.optimizer_pi, self.optimizer_v:
            for array in optimizer.arrays().values():
                flush_denormals(array)
        data.count[:] = 0

    def step_minibatch(self, batch, memory_pi, memory_v):
        """Step both networks in place by one minibatch.

        Parameters
        ----------
        batch : dict of ndarray
            Arrays (segment, m, …) of m segments side by side.
        memory_pi, memory_v : dict of ndarray
            The actor's and the critic's states that the m segments begin from.

        Returns
        -------
        Update
        """
        losses = self.gradient(batch, memory_pi, memory_v)
        norm = float(np.sqrt(sum(float(g @ g) for g in self.gradients())))
        if not np.isfinite(norm):
            require_finite("the actor's gradient", self.actor.grad)
            require_finite("the critic's gradient", self.critic.grad)
        scale = min(1.0, self.config.max_norm / (norm + 1e-6))
        for g in self.gradients():
            g *= scale  # (eq. B10)
        self.optimizer_pi.step(self.actor.p.flat, self.actor.grad.flat)
        self.optimizer_v.step(self.critic.p.flat, self.critic.grad.flat)
        return Update(*losses, norm)

    def gradient(self, batch, memory_pi, memory_v):
        """Write the gradients of both losses to ``actor.grad`` and ``critic.grad``.

        Returns
        -------
        tuple of float
            All of Update but the norm.
        """
        cfg, policy = self.config, self.policy
        x, starts, actions = batch["observations"], batch["starts"], batch["actions"]

        outputs, cache = self.actor.unroll(x, memory_pi, starts)
        log_ratio = policy.log_prob(outputs, actions) - batch["log_probs"]
        ratio, A = np.exp(log_ratio), standardize(batch["advantages"])
        g = policy_loss_gradient(ratio, A, cfg.clip)[..., None]
        g = g * policy.log_prob_gradient(outputs, actions)
        if cfg.entropy:
            g -= cfg.entropy / ratio.size * policy.entropy_gradient(outputs)
        self.actor.unroll_vjp(cache, g)

        v, cache = self.critic.unroll(x, memory_v, starts)
        target = batch["advantages"] + batch["values"]
        fit = v[..., 0], batch["values"], target, cfg.value_clip
        self.critic.unroll_vjp(cache, value_loss_gradient(*fit)[..., None])

        return (
            float(policy_loss(ratio, A, cfg.clip)),
            float(value_loss(*fit)),
            float(policy.entropy(outputs).mean()),
            float((ratio - 1.0 - log_ratio).mean()),
            float((np.abs(ratio - 1.0) > cfg.clip).mean()),
        )

    def gradients(self):
        """List both flat gradients."""
        return self.actor.grad.flat, self.critic.grad.flat

    def retention(self):
        """Say how much of each of the actor's units survives one step, (n,)."""
        return self.actor.cell.retention(self.actor.p.cell)

    def require_finite(self):
        """Raise NonFiniteError if a parameter or state holds a NaN or an infinity."""
        require_all_finite(self.parts())

    def parts(self):
        """Name the Views that change as the agent learns."""
        return {
            "actor_parameters": self.actor.p,
            "actor_state": self.actor.state,
            "actor_ahead": self.acting.state,
            "critic_parameters": self.critic.p,
            "critic_state": self.critic.state,
            "critic_ahead": self.judging.state,
        }

    def arrays(self):
        """Name every array that a checkpoint must hold; they are the live ones."""
        named = {name: views.flat for name, views in self.parts().items()}
        named |= {f"actor_optimizer.{k}": a for k, a in self.optimizer_pi.arrays().items()}
        named |= {f"critic_optimizer.{k}": a for k, a in self.optimizer_v.arrays().items()}
        named |= {f"rollout.{k}": a for k, a in self.rollout.arrays().items()}
        return named | {"first": self.first, "updates": self.updates, "log": self.log}


def take(memory, chosen):
    """Pick some of the stored states."""
    return {name: array[chosen] for name, array in memory.items()}
