"""PPO beside a plain one: a whole rollout, its advantages, its losses and both Adam steps.

The gradient of the losses is taken by complex steps through the whole sequence, so nothing of
the batched, unrolled machinery of ``agents.ppo`` is used.
"""

# T steps in a rollout, N parameters

import numpy as np

from ..agents import ppo
from ..policies import Categorical
from . import behaviour
from .reference import STEP, ReferenceNetwork
from .twins import split

CLAIM = "the gradient with advantages, targets and the policy that acted held still"
ROLLOUT = 9  # one unrolled segment: it holds a termination and a truncation


def make(rng):
    """Make PPO with settings under which every term counts."""
    config = ppo.Config(
        discount=0.9,
        rollout=ROLLOUT,
        segment=ROLLOUT,
        minibatches=1,
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


class PlainPPO:
    """Recurrent PPO, one segment and one minibatch a rollout: eq. B4 to B10."""

    def __init__(self, agent):
        self.cfg = agent.config
        self.actor, self.critic = ReferenceNetwork(agent.actor), ReferenceNetwork(agent.critic)
        self.adam = [(np.zeros(net.p.flat.size), np.zeros(net.p.flat.size)) for net in self.nets()]
        self.t, self.first, self.rows = 0, True, []

    def nets(self):
        """List both networks."""
        return [self.actor, self.critic]

    def update(self, s, action, reward, s_next, terminated, truncated):
        """Keep one transition; learn from all when there are enough."""
        if self.first:
            for net in self.nets():
                net.reset()
        outputs, _ = self.actor.forward(s)
        v, _ = self.critic.forward(s)
        v_next = 0.0 if terminated else self.critic.peek(s_next)[0][0]
        log_prob = log_softmax(outputs)[action]
        ended = terminated or truncated
        self.rows.append((s, action, reward, self.first, ended, log_prob, v[0], v_next))
        self.first = ended
        if len(self.rows) == ROLLOUT:
            self.learn()
            self.rows = []
        if ended:
            for net in self.nets():
                net.reset()

    def advantages(self):
        """Compute the advantages as sums over what follows, within the episode."""
        cfg, found = self.cfg, []
        for start in range(len(self.rows)):
            A, weight = 0.0, 1.0
            for _, _, reward, _, ended, _, v, v_next in self.rows[start:]:
                A += weight * (reward + cfg.discount * v_next - v)
                weight *= cfg.discount * cfg.advantage_decay
                if ended:
                    break
            found.append(A)
        return np.array(found)

    def run(self, net, p):
        """Run a network with the parameters ``p`` through the rollout; returns the outputs."""
        h, outputs = np.zeros_like(net.h), []
        for s, _, _, first, *_ in self.rows:
            h = np.zeros_like(net.h) if first else h
            h, output = net.apply(p, h, s)
            outputs.append(output)
        return np.array(outputs)

    def actor_loss(self, p, A):
        """Compute −mean min(ρ A, clip(ρ) A) − τ H."""
        cfg = self.cfg
        log_pi = np.array([log_softmax(output) for output in self.run(self.actor, p)])
        taken = np.array([row[1] for row in self.rows])
        ratio = np.exp(log_pi[np.arange(ROLLOUT), taken] - np.array([row[5] for row in self.rows]))
        surrogate = lesser(ratio * A, clip(ratio, 1 - cfg.clip, 1 + cfg.clip) * A)
        entropy = -(np.exp(log_pi) * log_pi).sum(1)
        return -surrogate.mean() - cfg.entropy * entropy.mean()

    def critic_loss(self, p, A):
        """Compute half the mean of the worse squared error."""
        v_old = np.array([row[6] for row in self.rows])
        v = self.run(self.critic, p)[:, 0]
        near = v_old + clip(v - v_old, -self.cfg.value_clip, self.cfg.value_clip)
        return -0.5 * lesser(-((v - A - v_old) ** 2), -((near - A - v_old) ** 2)).mean()

    def learn(self):
        """Take the epochs."""
        A = self.advantages()
        standard = (A - A.mean()) / (A.std() + 1e-8)
        for _ in range(self.cfg.epochs):
            slopes = [
                complex_slopes(self.actor, lambda p: self.actor_loss(p, standard)),
                complex_slopes(self.critic, lambda p: self.critic_loss(p, A)),
            ]
            norm = np.sqrt(sum((g**2).sum() for g in slopes))
            self.t += 1
            for net, g, (m, v) in zip(self.nets(), slopes, self.adam, strict=True):
                g = g * min(1.0, self.cfg.max_norm / (norm + 1e-6))
                m[:], v[:] = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
                m_hat, v_hat = m / (1 - 0.9**self.t), v / (1 - 0.999**self.t)
                net.step(-self.cfg.step_size * m_hat / (np.sqrt(v_hat) + 1e-5))


def complex_slopes(net, loss):
    """Differentiate ``loss`` of a network's parameters, entry by entry."""
    p = {name: a.astype(complex) for name, a in split(net.p).items()}
    found = []
    for name, index in net.entries:
        held = p[name][index]
        p[name][index] = held + 1j * STEP
        found.append(np.imag(loss(p)) / STEP)  # (eq. G5)
        p[name][index] = held
    return np.array(found)


def run(rng):
    """Run PPO beside its plain twin; returns a Report."""
    agent = make(rng)
    twin, diary = PlainPPO(agent), behaviour.Diary(CLAIM)
    observations, rewards = behaviour.script(rng)
    for t in range(behaviour.T):
        ends = t == behaviour.TERMINATED, t == behaviour.TRUNCATED
        s, s_next = observations[t], observations[t + 1]
        action = agent.act(s)
        agent.update(s, action, rewards[t], s_next, *ends)
        twin.update(s, action, rewards[t], s_next, *ends)
        acting = (agent.acting, agent.judging)
        for name, net, own in zip(("actor", "critic"), twin.nets(), acting, strict=True):
            diary.compare(t, f"{name} state", behaviour.hidden(own), net.h)
            diary.compare(t, f"{name} parameters", own.p.flat, net.p.flat, net.p.name_of)
    return diary.report()
