"""a4: the derivative of a policy, the update of stream AC(λ), and an agent that remembers."""

# k actions, T transitions

import numpy as np

from ... import layers
from ...policies import Categorical
from .. import judge
from ..box import harness
from ..tasks import Assignment, Task

CONSTANTS = {"temperature": ("1.0", ("0.5", "0.8", "1.5", "2.0"))}
LENGTH = 8  # of the MemoryChain
EPISODES = 2000  # at most
WINDOW = 100  # episodes whose mean return counts
SOLVED = 0.6
ATTEMPTS = 2


def draw(rng):
    """Draw logits and an action."""
    k = int(rng.integers(3, 6))
    return rng.normal(size=k), int(rng.integers(k))


def log_prob_gradient(ask, rng, c):
    """Against differences of log π(a)."""
    x, a = draw(rng)
    T = c["temperature"]

    def log_prob(logits):
        return layers.log_softmax(logits / logits.dtype.type(T))[a]

    def downwards(g, logits):
        pi = layers.softmax(logits / T)
        pi[a] -= 1
        return g * pi / T

    return judge.gradient(
        "log_prob_gradient",
        log_prob,
        lambda g, logits: scaled(g, ask("plain", "log_prob_gradient", logits, a)),
        {"logits": x},
        suspects={"π − one-hot(a) goes down, not up": downwards},
    )


def scaled(g, gradient):
    """Multiply a gradient by g, if it is one."""
    return gradient * g if isinstance(gradient, np.ndarray) else gradient


def entropy_gradient(ask, rng, c):
    """Against differences of the entropy."""
    x, _ = draw(rng)
    T = c["temperature"]

    def entropy(logits):
        log_pi = layers.log_softmax(logits / logits.dtype.type(T))
        return -(np.exp(log_pi) * log_pi).sum()

    def free(g, logits):
        pi = layers.softmax(logits / T)
        return -g * pi * (np.log(pi) + 1) / T

    return judge.gradient(
        "entropy_gradient",
        entropy,
        lambda g, logits: scaled(g, ask("plain", "entropy_gradient", logits)),
        {"logits": x},
        suspects={"π is treated as free, but it sums to 1: −π (log π + 1)": free},
    )


def update(ask, rng, c):
    """Six transitions, one that terminates and one that is cut off, with a made-up policy."""
    T, seed = 6, int(rng.integers(1 << 30))
    xs, following = rng.normal(size=(T, 3)), rng.normal(size=(T, 3))
    actions, rewards = rng.integers(2, size=T), 3.0 * rng.normal(size=T)
    ends, cuts = np.zeros(T, bool), np.zeros(T, bool)
    ends[2], cuts[4] = True, True
    got = ask("agent_updates", seed, xs, actions, rewards, following, ends, cuts)
    policy = Categorical(2)
    policy.gradient = harness.made_up_gradient
    agent = harness.small_agent(seed, policy, 3, 4, 0.9, np.float64)
    lines = [] if isinstance(got, tuple) and len(got) == T else ["update cannot be followed"]
    for t in range(T if not lines else 0):
        agent.act(xs[t])
        step = (int(actions[t]), float(rewards[t]), following[t], bool(ends[t]), bool(cuts[t]))
        agent.update(xs[t], *step)
        kind = "terminated" if ends[t] else "truncated" if cuts[t] else "ordinary"
        for name, views in agent.parts().items():
            what = f"update, transition {t + 1} ({kind}): the {name.replace('_', ' ')}"
            lines += judge.values(what, got[t].get(name), views.flat)
        if lines:
            return lines
    return lines


def remembers(ask, rng, c):
    """Does an agent on the student's functions solve MemoryChain(8)? We hold the environment."""
    from ...envs.memory_chain import MemoryChain

    returns = []
    for _ in range(ATTEMPTS):  # one seed in many is unlucky
        ask("agent_start", int(rng.integers(1 << 30)), c["temperature"])
        env = MemoryChain(LENGTH)
        returns = []
        for episode in range(EPISODES):
            observation, done = env.reset(seed=int(rng.integers(1 << 30)))[0], False
            while not done:
                action = ask("agent_act", observation)
                action = action if isinstance(action, int) and action in (0, 1) else 0
                following, reward, terminated, truncated, _ = env.step(action)
                transition = (observation, action, reward, following, terminated, truncated)
                ask("agent_learn", *transition)
                observation, done = following, terminated or truncated
            returns.append(reward)
            recent = np.mean(returns[-WINDOW:])
            if episode >= WINDOW and recent > SOLVED:
                return []
    return [
        f"after {EPISODES} episodes of MemoryChain({LENGTH}) the mean return of the last"
        f" {WINDOW} is {recent:.2f}, guessing earns 0, {SOLVED} is asked for"
        f" ({ATTEMPTS} attempts)"
    ]


SHEET = Assignment(
    "a4",
    "a4_actor_critic",
    "Stream AC(λ): an agent that remembers",
    (
        Task("log_prob_gradient", 2, log_prob_gradient),
        Task("entropy_gradient", 3, entropy_gradient),
        Task("update", 6, update),
        Task("remembers", 3, remembers, needs=("log_prob_gradient", "entropy_gradient", "update")),
    ),
    (
        "policies.Categorical.log_prob_gradient",
        "policies.Categorical.entropy_gradient",
        "agents.actor_critic.ActorCritic.update",
    ),
    CONSTANTS,
    {"total_seconds": 120.0},
)
