"""PPO beside a plain one: two rollouts, their advantages, losses, metrics and Adam steps.

The gradient of the losses is taken by complex steps, one segment after the other, so nothing
of the batched, unrolled machinery of ``agents.ppo`` is used.
"""

# N parameters, M numbers in h, C parameters of a cell

import copy
from typing import NamedTuple

import numpy as np

from ..agents import ppo
from ..policies import Categorical
from . import behaviour
from .reference import ReferenceNetwork
from .twins import complex_slopes, split

CLAIM = (
    "the gradient with advantages, targets and the policy that acted held still; the encoder's "
    "stops where a segment begins"
)
SEGMENT, SEGMENTS, MINIBATCHES, ROLLOUTS = 3, 4, 2, 2
ROLLOUT = SEGMENT * SEGMENTS
T = ROLLOUT * ROLLOUTS
# an episode goes on from the first rollout to the second; others start within a segment
TERMINATED, TRUNCATED = (behaviour.TERMINATED, 18), (behaviour.TRUNCATED, 15)


def make(rng):
    """Make PPO with settings under which every term counts."""
    config = ppo.Config(
        discount=0.9,
        rollout=ROLLOUT,
        segment=SEGMENT,
        minibatches=MINIBATCHES,
        epochs=2,
        entropy=0.1,
        step_size=0.02,
        max_norm=0.2,
    )
    policy = Categorical(behaviour.ACTIONS)
    return ppo.PPO(behaviour.INPUTS, policy, rng, config, **behaviour.small(), dtype=float)


def log_softmax(a):
    """Compute log softmax of numbers that may be complex."""
    return a - np.log(np.exp(a).sum())


def lesser(a, b):
    """Choose the smaller of two numbers that may be complex, by their real parts."""
    return np.where(a.real <= b.real, a, b)


def clip(a, low, high):
    """Clip numbers that may be complex by their real parts."""
    return np.where(a.real < low, low, np.where(a.real > high, high, a))


class Step(NamedTuple):
    """One transition, and what the networks said before any learning from it."""

    s: np.ndarray
    action: int
    reward: float
    first: bool  # of an episode
    ended: bool  # the episode, with this step
    log_prob: float
    v: float
    v_next: float  # 0 after a termination
    memory_pi: tuple  # (h (M,), S (M, C)) of the actor before the step
    memory_v: tuple  # of the critic


class PlainPPO:
    """Recurrent PPO, step by step: eq. B3 to B10."""

    def __init__(self, agent):
        self.cfg = agent.config
        self.actor, self.critic = ReferenceNetwork(agent.actor), ReferenceNetwork(agent.critic)
        self.adam = [(np.zeros(net.p.flat.size), np.zeros(net.p.flat.size)) for net in self.nets()]
        self.t, self.first, self.steps = 0, True, []
        self.log = ppo.Update(*np.zeros(6))

    def nets(self):
        """List both networks."""
        return [self.actor, self.critic]

    def update(self, s, action, reward, s_next, terminated, truncated, rng):
        """Keep one transition; learn from all when there are enough. Returns the metrics."""
        memory_pi, memory_v = ((net.h, net.S) for net in self.nets())
        outputs, _ = self.actor.forward(s)
        v, _ = self.critic.forward(s)
        _, ahead = self.critic.apply(split(self.critic.p), self.critic.h, s_next)
        v_next = 0.0 if terminated else ahead[0]
        log_prob = log_softmax(outputs)[action]
        ended = terminated or truncated
        said = log_prob, v[0], v_next, memory_pi, memory_v
        self.steps.append(Step(s, action, reward, self.first, ended, *said))
        self.first = ended
        if len(self.steps) == ROLLOUT:
            self.learn(rng)
            self.steps = []
        if ended:
            for net in self.nets():
                net.reset()
        return self.log

    def advantages(self):
        """Compute the advantages as sums over what follows, within the episode."""
        cfg, found = self.cfg, []
        for start in range(ROLLOUT):
            A, weight = 0.0, 1.0
            for step in self.steps[start:]:
                A += weight * (step.reward + cfg.discount * step.v_next - step.v)
                weight *= cfg.discount * cfg.advantage_decay
                if step.ended:
                    break
            found.append(A)
        return np.array(found)

    def run(self, net, memory, p, chosen):
        """Run a network with the parameters ``p`` through segments; returns the outputs.

        What a segment's first h owes to the cell's parameters, it owes by way of S.
        """
        moved = np.array([p[name][index].imag for name, index in net.entries])[net.in_cell]
        outputs = []
        for number in chosen:
            steps = self.steps[number * SEGMENT : (number + 1) * SEGMENT]
            h, S = getattr(steps[0], memory)
            h = h + 1j * (S @ moved)  # (eq. B3)
            for step in steps:
                h = np.zeros_like(h) if step.first else h
                h, output = net.apply(p, h, step.s)
                outputs.append(output)
        return np.array(outputs)

    def read(self, chosen, name):
        """List one entry of the steps of some segments."""
        return np.array([getattr(self.steps[t], name) for t in steps_of(chosen)])

    def policy_terms(self, p, A, chosen):
        """Compute −mean min(ρ A, clip(ρ) A), the mean of H, and log ρ of every step."""
        outputs = self.run(self.actor, "memory_pi", p, chosen)
        log_pi = np.array([log_softmax(output) for output in outputs])
        log_taken = log_pi[np.arange(len(A)), self.read(chosen, "action")]
        log_ratio = log_taken - self.read(chosen, "log_prob")
        ratio, epsilon = np.exp(log_ratio), self.cfg.clip
        surrogate = -lesser(ratio * A, clip(ratio, 1 - epsilon, 1 + epsilon) * A).mean()
        return surrogate, -(np.exp(log_pi) * log_pi).sum(1).mean(), log_ratio

    def actor_loss(self, p, A, chosen):
        """Compute the surrogate less τ H."""
        surrogate, entropy, _ = self.policy_terms(p, A, chosen)
        return surrogate - self.cfg.entropy * entropy

    def critic_loss(self, p, A, chosen):
        """Compute half the mean of the worse squared error."""
        v_old = self.read(chosen, "v")
        v = self.run(self.critic, "memory_v", p, chosen)[:, 0]
        near = v_old + clip(v - v_old, -self.cfg.value_clip, self.cfg.value_clip)
        return -0.5 * lesser(-((v - A - v_old) ** 2), -((near - A - v_old) ** 2)).mean()

    def learn(self, rng):
        """Take the epochs."""
        A, logs = self.advantages(), []
        for _ in range(self.cfg.epochs):
            order = list(rng.permutation(SEGMENTS))
            while order:
                chosen = [order.pop(0) for _ in range(SEGMENTS // MINIBATCHES)]
                logs.append(self.step_minibatch(A[steps_of(chosen)], chosen))
        self.log = ppo.Update(*np.mean(logs, axis=0))

    def step_minibatch(self, A, chosen):
        """Step both networks by some segments; returns the metrics from before the step."""
        standard = (A - A.mean()) / (A.std() + 1e-8)
        slopes = [
            slopes_of(self.actor, lambda p: self.actor_loss(p, standard, chosen)),
            slopes_of(self.critic, lambda p: self.critic_loss(p, A, chosen)),
        ]
        norm = np.sqrt(sum((g**2).sum() for g in slopes))
        metrics = self.metrics(A, standard, chosen)
        self.t += 1
        for net, g, (m, v) in zip(self.nets(), slopes, self.adam, strict=True):
            g = g * min(1.0, self.cfg.max_norm / (norm + 1e-6))  # (eq. B10)
            m[:], v[:] = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            m_hat, v_hat = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
            net.step(-self.cfg.step_size * m_hat / (np.sqrt(v_hat) + 1e-5))
        return [*metrics, norm]

    def metrics(self, A, standard, chosen):
        """Compute all metrics of a minibatch but the gradient's norm."""
        p_pi, p_v = (split(net.p) for net in self.nets())
        surrogate, entropy, log_ratio = self.policy_terms(p_pi, standard, chosen)
        ratio = np.exp(log_ratio.real)
        divergence = np.mean(ratio - 1 - log_ratio.real)
        clipped = np.mean(np.abs(ratio - 1) > self.cfg.clip)
        fit = self.critic_loss(p_v, A, chosen)
        return surrogate.real, fit.real, entropy.real, divergence, clipped


def steps_of(chosen):
    """List the numbers of the steps that some segments hold."""
    return [number * SEGMENT + k for number in chosen for k in range(SEGMENT)]


def slopes_of(net, loss):
    """Differentiate ``loss`` of a network's parameters, entry by entry."""
    p = {name: a.astype(complex) for name, a in split(net.p).items()}
    return complex_slopes(loss, p, net.entries)


def run(rng):
    """Run PPO beside its plain twin; returns a Report."""
    agent = make(rng)
    twin, diary = PlainPPO(agent), behaviour.Diary(CLAIM)
    observations, rewards = rng.normal(size=(T + 1, behaviour.INPUTS)), rng.normal(size=T)
    for t in range(T):
        ends = t in TERMINATED, t in TRUNCATED
        s, s_next = observations[t], observations[t + 1]
        action = agent.act(s)
        same = copy.deepcopy(rng)  # draws the minibatches that the agent should draw
        update = agent.update(s, action, rewards[t], s_next, *ends)
        log = twin.update(s, action, rewards[t], s_next, *ends, same)
        acting = (agent.acting, agent.judging)
        for name, net, own in zip(("actor", "critic"), twin.nets(), acting, strict=True):
            diary.compare(t, f"{name} state", behaviour.hidden(own), net.h)
            diary.compare(t, f"{name} parameters", own.p.flat, net.p.flat, net.p.name_of)
        for name, claimed, expected in zip(ppo.Update._fields, update, log, strict=True):
            diary.compare(t, name.replace("_", " "), claimed, expected)
    return diary.report()
