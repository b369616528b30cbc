"""Agents and optimizers: what they do, beside the same thing written plainly.

No difference quotient tells whether a trace is cut at the end of an episode, or whether a
look-ahead leaves the state alone. So each agent takes a script of transitions (an episode
that terminates, one that is truncated, and the start of a third) beside a plain agent on
:mod:`reference` networks, and after every transition both must hold the same numbers.
"""

# T transitions, N parameters

import numpy as np

from .. import cells, networks, optimizers, policies
from ..agents import actor_critic, qrc, stream_q, td
from .reference import ReferenceNetwork, bounded
from .report import FAIL, PASS, Divergence, Entry, Parameter, Report, relative_error, worst_of

TOLERANCE = 1e-9
TERMINATED, TRUNCATED, T = 3, 7, 11  # the transitions that end an episode; how many there are
INPUTS, ACTIONS = 3, 3


class Diary:
    """Compares what an agent holds with what it should, transition by transition."""

    def __init__(self, claim=""):
        self.worst, self.counts, self.first, self.claim = {}, {}, None, claim

    def compare(self, t, what, claimed, expected, name_of=None):
        """Note how far ``claimed`` is from ``expected`` after transition ``t``."""
        claimed = np.atleast_1d(np.asarray(claimed, float))
        expected = np.atleast_1d(np.asarray(expected, float))
        peak = max(np.max(np.abs(expected), initial=0), 1e-6)
        error = relative_error(claimed, expected, 1e-3 * peak)
        i = int(np.argmax(error))
        verdict = PASS if error[i] <= TOLERANCE else FAIL
        inner = name_of(i) if name_of else f"{what}[{i}]" if claimed.size > 1 else what
        numbers = float(claimed[i]), float(expected[i]), 0.0, float(error[i])
        entry = Entry(f"{inner}, transition {t}", *numbers, verdict)
        self.worst[what] = worst_of([e for e in (self.worst.get(what), entry) if e])
        self.counts[what] = self.counts.get(what, 0) + claimed.size
        if verdict == FAIL and self.first is None:
            words = f"it first goes astray at transition {t}{reading(t)}, in {what}:"
            words += f" {inner} is {numbers[0]:.9g}, expected {numbers[1]:.9g}"
            self.first = Divergence(what, inner, t, *numbers[:2], words)

    def report(self):
        """Make the Report."""
        parameters = tuple(
            Parameter(what, (), self.counts[what], self.counts[what], 0, e, e.verdict)
            for what, e in self.worst.items()
        )
        problems = (self.first.words,) if self.first else ()
        return Report("", parameters, TOLERANCE, problems, self.claim, divergence=self.first)


def reading(t):
    """Say what is special about a transition."""
    return {
        0: " (the very first)",
        TERMINATED: " (the one that terminates the first episode)",
        TERMINATED + 1: " (the first after a termination)",
        TRUNCATED: " (the one that truncates the second episode)",
        TRUNCATED + 1: " (the first after a truncation)",
    }.get(t, "")


def script(rng):
    """Draw observations (T + 1, inputs) and rewards (T,)."""
    return rng.normal(size=(T + 1, INPUTS)), rng.normal(size=T)


def small(name="rtu"):
    """Choose networks small enough to differentiate by complex steps."""
    network = networks.Config(width=3, blocks=1, sparsity=0.0)
    return dict(network=network, cell=cells.Config(name=name, units=2, r_min=0.5, r_max=0.95))


def follow(rng, make, plain, learners):
    """Run an agent beside its plain twin.

    Parameters
    ----------
    rng : numpy.random.Generator
    make : callable
        ``make(rng)`` makes the agent, in float64.
    plain : type of Plain
        Makes its twin.
    learners : sequence of str
        The agent's networks.
    """
    agent = make(rng)
    twin, diary = plain(agent, learners), Diary(plain.claim)
    observations, rewards = script(rng)
    for t in range(T):
        terminated, truncated = t == TERMINATED, t == TRUNCATED
        s, s_next = observations[t], observations[t + 1]
        action = agent.act(s)
        update = agent.update(s, action, rewards[t], s_next, terminated, truncated)
        td_error = twin.update(s, action, rewards[t], s_next, terminated, truncated)
        diary.compare(t, "TD error", update.td_error, td_error)
        for name in learners:
            network, trace, _ = agent.learners[name]
            reference, z = twin.networks[name], twin.traces[name]
            diary.compare(t, f"{name} trace", trace.flat, z, trace.name_of)
            diary.compare(t, f"{name} state", hidden(network), reference.h)
            p, p_reference = network.p, reference.p
            diary.compare(t, f"{name} parameters", p.flat, p_reference.flat, p.name_of)
        for what, (claimed, expected) in twin.also(agent).items():
            diary.compare(t, what, claimed, expected)
    return diary.report()


def hidden(network):
    """Read a network's hidden state as real numbers, [Re; Im]."""
    h = network.state.h
    return np.concatenate([h.real, h.imag]) if np.iscomplexobj(h) else h


class Plain:
    """A plain agent: reference networks and traces, by name."""

    claim = "the semi-gradient: the value of the next step is held still"

    def __init__(self, agent, names):
        self.cfg, self.policy = agent.config, agent.policy if hasattr(agent, "policy") else None
        self.networks = {name: ReferenceNetwork(agent.learners[name].network) for name in names}
        self.traces = {name: np.zeros(net.p.flat.size) for name, net in self.networks.items()}

    def end(self):
        """Step back to the start of an episode."""
        for name, network in self.networks.items():
            network.reset()
            self.traces[name] = np.zeros_like(self.traces[name])

    def also(self, agent):
        """Name further numbers to compare."""
        return {}


class PlainActorCritic(Plain):
    """Stream AC(λ), line by line as in eq. A1 to A3."""

    def update(self, s, action, reward, s_next, terminated, truncated):
        """Learn from one transition; returns δ."""
        cfg, (actor, critic) = self.cfg, self.networks.values()
        outputs, d_outputs = actor.forward(s)
        v, dv = critic.forward(s)
        v_next = 0.0 if terminated else critic.peek(s_next)[0][0]
        delta = reward + cfg.discount * v_next - v[0]
        decay = cfg.discount * cfg.trace_decay
        climb = self.policy.log_prob_gradient(outputs, action)
        climb = climb + cfg.entropy * np.sign(delta) * self.policy.entropy_gradient(outputs)
        self.traces["actor"] = decay * self.traces["actor"] + climb @ d_outputs
        self.traces["critic"] = decay * self.traces["critic"] + dv[0]
        actor.step(bounded(self.traces["actor"], delta, cfg.step_size, cfg.kappa_policy))
        critic.step(bounded(self.traces["critic"], delta, cfg.step_size, cfg.kappa_value))
        if terminated or truncated:
            self.end()
        return delta


class PlainTD(Plain):
    """Stream TD(λ): eq. A1 and A2."""

    def update(self, s, action, reward, s_next, terminated, truncated):
        """Learn from one transition; returns δ."""
        cfg, network = self.cfg, self.networks["value"]
        v, dv = network.forward(s)
        v_next = 0.0 if terminated else network.peek(s_next)[0][0]
        delta = reward + cfg.discount * v_next - v[0]
        self.traces["value"] = cfg.discount * cfg.trace_decay * self.traces["value"] + dv[0]
        network.step(bounded(self.traces["value"], delta, cfg.step_size, cfg.kappa))
        if terminated or truncated:
            self.end()
        return delta


class PlainQ(Plain):
    """Stream Q(λ) with Watkins' cut: eq. A4 and A5."""

    def update(self, s, action, reward, s_next, terminated, truncated):
        """Learn from one transition; returns δ."""
        cfg, network = self.cfg, self.networks["q"]
        q, dq = network.forward(s)
        q_next = 0.0 if terminated else network.peek(s_next)[0].max()
        delta = reward + cfg.discount * q_next - q[action]
        decay = cfg.discount * cfg.trace_decay if q[action] == q.max() else 0.0
        self.traces["q"] = decay * self.traces["q"] + dq[action]
        network.step(bounded(self.traces["q"], delta, cfg.step_size, cfg.kappa))
        if terminated or truncated:
            self.end()
        return delta


class PlainQRC(Plain):
    """QRC(λ): eq. A4 to A9."""

    claim = "each network takes what the other says as given"
    z_h = 0.0

    def update(self, s, action, reward, s_next, terminated, truncated):
        """Learn from one transition; returns δ."""
        cfg, (q_net, h_net) = self.cfg, self.networks.values()
        q, dq = q_net.forward(s)
        h, dh = h_net.forward(s)
        q_next, dq_next = q_net.peek(s_next)
        gamma = 0.0 if terminated else cfg.discount
        best = int(q_next.argmax())
        delta = reward + gamma * q_next[best] - q[action]
        decay = cfg.discount * cfg.trace_decay if q[action] == q.max() else 0.0
        z_w = self.traces["q"] = decay * self.traces["q"] + dq[action]
        z_theta = self.traces["h"] = decay * self.traces["h"] + dh[action]
        z_h = self.z_h = decay * self.z_h + h[action]
        bootstrap = gamma * dq_next[best] - dq[action]
        theta = h_net.p.flat.copy()
        q_net.step(cfg.step_size * (delta * z_w - h[action] * dq[action] - z_h * bootstrap))
        change = delta * z_theta - h[action] * dh[action] - cfg.beta * theta
        h_net.step(cfg.step_size_auxiliary * change)
        if terminated or truncated:
            self.end()
            self.z_h = 0.0
        return delta

    def also(self, agent):
        """Compare z_h too."""
        return {"auxiliary trace": (agent.z_h, self.z_h)}


def make_actor_critic(policy, cell):
    """Make a function that makes stream AC(λ), with settings under which every term counts."""
    config = actor_critic.Config(discount=0.9, trace_decay=0.8, entropy=0.3, step_size=0.5)
    kinds = {"Categorical": policies.Categorical, "Gaussian": policies.Gaussian}

    def make(rng):
        actions = kinds[policy](ACTIONS)
        return actor_critic.ActorCritic(INPUTS, actions, rng, config, **small(cell), dtype=float)

    return make


def make_td(rng):
    """Make stream TD(λ)."""
    config = td.Config(discount=0.9, step_size=0.5)
    return td.TD(INPUTS, rng, config, **small(), dtype=float)


def make_q(rng):
    """Make stream Q(λ), greedy in about half of its steps."""
    config = stream_q.Config(discount=0.9, step_size=0.5, epsilon_start=0.5, epsilon_end=0.5)
    return stream_q.StreamQ(INPUTS, ACTIONS, rng, config, **small(), dtype=float)


def make_qrc(rng):
    """Make QRC(λ), greedy in about half of its steps, with steps large enough to count."""
    config = qrc.Config(
        discount=0.9, epsilon_start=0.5, epsilon_end=0.5, step_size=0.05, step_size_auxiliary=0.05
    )
    return qrc.QRC(INPUTS, ACTIONS, rng, config, **small(), dtype=float)


def actor_critic_run(policy, cell):
    """Make a function that runs stream AC(λ) beside its plain twin."""
    make = make_actor_critic(policy, cell)

    return lambda rng: follow(rng, make, PlainActorCritic, ("actor", "critic"))


def td_run(rng):
    """Run stream TD(λ) beside its plain twin."""
    return follow(rng, make_td, PlainTD, ("value",))


def q_run(rng):
    """Run stream Q(λ) beside its plain twin."""
    return follow(rng, make_q, PlainQ, ("q",))


def qrc_run(rng):
    """Run QRC(λ) beside its plain twin."""
    return follow(rng, make_qrc, PlainQRC, ("q", "h"))


def bounded_run(rng):
    """Step ObGD, long and short traces, large and small errors."""
    optimizer, diary, w = optimizers.ObGD(6, 0.7, 2.0, float), Diary(), rng.normal(size=6)
    expected = w.copy()
    for t, (length, delta) in enumerate([(1.0, 3.0), (0.02, -0.5), (2.0, -0.2), (0.01, 4.0)]):
        z = length * rng.normal(size=6)
        alpha, norm = optimizer.step(w, z, delta)
        expected += bounded(z, delta, 0.7, 2.0)
        diary.compare(t, "parameters", w, expected)
        diary.compare(t, "norm", norm, np.abs(z).sum())
        reach = 0.7 * 2.0 * max(abs(delta), 1.0) * np.abs(z).sum()
        diary.compare(t, "step size", alpha, 0.7 / max(1.0, reach))  # (eq. O2)
    return diary.report()


def adaptive_run(rng):
    """Step adaptive ObGD: z / √v̂ in the place of z."""
    optimizer, diary = optimizers.AdaptiveObGD(6, 0.7, 2.0, float, beta2=0.9, eps=0.1), Diary()
    w, v = rng.normal(size=6), np.zeros(6)
    expected = w.copy()
    for t, delta in enumerate([3.0, -0.5, 0.2]):
        z = rng.normal(size=6)
        optimizer.step(w, z, delta)
        v = 0.9 * v + 0.1 * (delta * z) ** 2  # (eq. O4)
        scaled = z / (np.sqrt(v / (1 - 0.9 ** (t + 1))) + 0.1)  # (eq. O5)
        expected += bounded(scaled, delta, 0.7, 2.0)
        diary.compare(t, "parameters", w, expected)
    return diary.report()


def adam_run(rng):
    """Step Adam."""
    optimizer, diary = optimizers.Adam(6, 0.3, 0.8, 0.9, 0.1, float), Diary()
    w, m, v = rng.normal(size=6), np.zeros(6), np.zeros(6)
    expected = w.copy()
    for t in range(3):
        g = rng.normal(size=6)
        optimizer.step(w, g)
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g  # (eq. O6, O7)
        m_hat, v_hat = m / (1 - 0.8 ** (t + 1)), v / (1 - 0.9 ** (t + 1))
        expected = expected - 0.3 * m_hat / (np.sqrt(v_hat) + 0.1)  # (eq. O8)
        diary.compare(t, "parameters", w, expected)
    return diary.report()


def trace_run(rng):
    """Accumulate a trace."""
    z, diary, gradients = np.zeros(4), Diary(), rng.normal(size=(5, 4))
    for t, g in enumerate(gradients):
        optimizers.accumulate(z, g, 0.7)
        weights = 0.7 ** np.arange(t, -1, -1.0)
        diary.compare(t, "trace", z, weights @ gradients[: t + 1])  # (eq. O1)
    return diary.report()
