"""a4: the derivative of a policy, the update of stream AC(λ), and an agent that remembers."""

# k actions, T transitions

import numpy as np

from ... import layers
from ...arrays import Views
from ...optimizers import accumulate
from ...policies import Categorical
from .. import judge
from ..box import harness
from ..box.student import Mistake
from ..tasks import Assignment, Task

CONSTANTS = {"temperature": ("1.0", ("0.5", "0.8", "1.5", "2.0"))}
LENGTH = 8  # of the MemoryChain
EPISODES = 2000  # at most
WINDOW = 100  # episodes whose mean return counts
SOLVED = 0.6
ATTEMPTS = 3


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

    def of_probability(g, logits):
        return -downwards(g, logits) * layers.softmax(logits / T)[a]

    def of_logs(g, logits):
        logs = -layers.log_softmax(logits / T)
        logs[a] += 1
        return g * logs / T

    return judge.gradient(
        "log_prob_gradient",
        log_prob,
        lambda g, logits: g * asked(ask, logits, "log_prob_gradient", logits, a),
        {"logits": x},
        suspects={
            "π − one-hot(a) goes down, not up": downwards,
            "this is the derivative of π(a), not of log π(a)": of_probability,
            "log π stands where π is meant": of_logs,
        },
    )


def asked(ask, like, name, *args):
    """Ask a function of the student's for an array like another, or raise Mistake."""
    got = ask("plain", name, *args)
    wrong = judge.unfit(name, got, like)
    if wrong:
        raise Mistake(wrong[0])
    return np.asarray(got)


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

    def by_pi(g, logits):
        return -g * (layers.log_softmax(logits / T) + 1)

    def without_pi(g, logits):
        log_pi = layers.log_softmax(logits / T)
        return g * ((np.exp(log_pi) * log_pi).sum() - log_pi) / T

    return judge.gradient(
        "entropy_gradient",
        entropy,
        lambda g, logits: g * asked(ask, logits, "entropy_gradient", logits),
        {"logits": x},
        suspects={
            "π is treated as free, but it sums to 1: −π (log π + 1)": free,
            "this is ∂H/∂π alone: the way back through the softmax is missing": by_pi,
            "the πⱼ before the bracket is missing": without_pi,
        },
    )


def update(ask, rng, c):
    """Seven transitions, one terminates, one is cut off, one is both, with a made-up policy."""
    seed, weights, stream, right, guesses = telling(rng, c["temperature"])
    *_, ends, cuts = stream
    got = ask("agent_updates", seed, weights, *stream)
    wrong = first_difference(got, right)
    if wrong is None:
        return []
    for words, guess in guesses.items():
        if first_difference(got, guess) is None:
            return [f"update: these are the numbers of a known mistake: {words}"]
    t, name, part = wrong
    kind = "terminated" if ends[t] else "truncated" if cuts[t] else "ordinary"
    before = f"right for {t} transition{'s' if t > 1 else ''}; " if t else ""
    network, what = name.split("_")
    verb = "are" if what == "parameters" else "is"
    return [
        f"update: {before}after transition {t + 1} ({kind}) the {network}'s {what} {verb} wrong"
        f" first, in {part}: {LOOK[what]}"
        + (", and at what an episode's end does" if kind != "ordinary" and what == "trace" else "")
    ]


def telling(rng, temperature):
    """Draw transitions on which every known mistake shows, with what is right and what they give.

    Where two errors lie above 1, both weights move as far: one draw in a hundred hides something.
    """
    while True:
        seed, weights, stream = transitions(rng)
        right = play(seed, weights, stream, lambda agent, *step: agent.update(*step))
        guesses = {}
        for words, mistake in MISTAKES.items():
            how = mistake, temperature
            guesses[words] = play(
                seed, weights, stream, lambda agent, *step, how=how: slip(agent, *how, *step)
            )
        if all(first_difference(flats(guess), right) for guess in guesses.values()):
            return seed, weights, stream, right, guesses


def transitions(rng):
    """Draw an agent's seed and weights, and seven transitions."""
    T, seed = 7, int(rng.integers(1 << 30))
    xs, following = rng.normal(size=(T, 3)), rng.normal(size=(T, 3))
    # an error above 1 moves the weights as far as one of 1: most must be small to be seen
    actions, rewards = rng.integers(2, size=T), np.array([0.1, -0.1, 0.2, 3.0, -0.2, 0.1, 0.2])
    ends, cuts = np.zeros(T, bool), np.zeros(T, bool)
    ends[2], cuts[4], ends[5], cuts[5] = True, True, True, True
    agent = make_agent(seed)
    for network in agent.actor, agent.critic:
        network.p.flat[:] += 0.2 * rng.normal(size=network.p.flat.size)
    weights = agent.actor.p.flat.copy(), agent.critic.p.flat.copy()
    return seed, weights, (xs, actions, rewards, following, ends, cuts)


def flats(history):
    """Give what :func:`play` gives as a student's history comes back: flat vectors by name."""
    return [{name: views.flat for name, views in parts.items()} for parts in history]


def make_agent(seed):
    """Make the small agent that the update is looked at on."""
    policy = Categorical(2)
    policy.gradient = harness.made_up_gradient
    return harness.small_agent(seed, policy, 3, 4, 0.9, np.float64)


def play(seed, weights, stream, update):
    """Play transitions with an update function; gives every part after each."""
    agent, history = make_agent(seed), []
    agent.actor.p.flat[:], agent.critic.p.flat[:] = weights
    for x, action, reward, following, end, cut in zip(*stream, strict=True):
        agent.act(x)
        update(agent, x, int(action), float(reward), following, bool(end), bool(cut))
        history.append({name: views.copy() for name, views in agent.parts().items()})
    return history


def first_difference(got, right):
    """Find the first transition, and in it the first part and array, that differ; or None."""
    for t, parts in enumerate(right):
        for name in sorted(parts, key=lambda name: ORDER.index(name.split("_")[1])):
            flat = got[t].get(name) if t < len(got) else None
            if judge.unfit(name, flat, parts[name].flat):
                return t, name, "shape"
            theirs = Views(parts[name].layout, flat=np.array(flat, np.float64))
            for part, array in parts[name].items():
                if not judge.close(theirs[part], array):
                    return t, name, part
    return None


ORDER = ("trace", "state", "parameters")  # what is wrong in one is wrong in those that follow
LOOK = {
    "trace": "look at the gradient that it takes, and at its decay",
    "state": "look at what moves a network on, and at what a new episode starts with",
    "parameters": "the traces are right; look at δ, at the step, and at what comes before it",
}
MISTAKES = {
    "only termination makes v(s′) count 0; truncation does not": "merged",
    "after termination v(s′) must count 0": "endless",
    "after termination v(s′) must count 0, truncated at once or not": "alone",
    "the look-ahead moves the critic on: peek at s′": "forward",
    "the weight of the entropy bonus is τ sign(δ)": "sign",
    "the traces decay by γλ; this is λ": "lam",
    "the traces decay by γλ; this is γ": "gamma",
    "the episode ends with a truncation too: reset": "cut",
    "the episode ends with a termination too: reset": "end",
    "the episode has ended: reset": "reset",
    "each network steps along its trace after the trace took the gradient": "late",
    "the sign of δ": "delta",
    "v(s′) is the value of next_observation": "here",
    "look at s′ after the critic has gone on to s": "early",
    "the weight of the entropy bonus is τ sign(δ); here it is τ δ": "size",
    "the entropy bonus is missing: its weight is τ sign(δ)": "bare",
    "the sign of the entropy bonus": "against",
    "the trace takes ∇v(s) alone; δ comes in with the step": "twice",
    "the trace takes ∇v(s), not −∇v(s)": "minus",
    "the actor does not step": "no actor",
    "the critic does not step": "no critic",
    "the actor goes on by `act` already: take agent.actor_step": "actor",
    "ask agent.policy.gradient for the policy's derivative": "policy",
    "agent.reset() at the end, after the steps": "first",
    "the traces are zero again, but h and S are not: agent.reset()": "traces",
    "h and S are zero again, but the traces are not: agent.reset()": "networks",
}


def slip(agent, mistake, temperature, x, action, reward, following, end, cut):
    """Update an agent as students do who make one mistake."""
    cfg = agent.config
    logits, actor_cache = agent.actor_step
    if mistake == "actor":
        logits, actor_cache = agent.actor.forward(x)
    if mistake == "first" and (end or cut):
        agent.reset()
    before = agent.critic.peek(following)
    v, critic_cache = agent.critic.forward(x)
    look = agent.critic.peek(x if mistake == "here" else following)
    look = before if mistake == "early" else look
    if mistake == "forward":
        look = agent.critic.forward(following)[0]
    counts = {"merged": not (end or cut), "endless": True, "alone": not end or cut}
    counts = counts.get(mistake, not end)
    delta = reward + cfg.discount * counts * float(look[0]) - float(v[0])
    delta = -delta if mistake == "delta" else delta
    sign = float(np.sign(delta))
    sign = {"sign": 1.0, "size": delta, "bare": 0.0, "against": -sign}.get(mistake, sign)
    decay = cfg.discount * cfg.trace_decay
    decay = {"lam": cfg.trace_decay, "gamma": cfg.discount}.get(mistake, decay)

    def step():
        if mistake != "no critic":
            agent.optimizer_v.step(agent.critic.p.flat, agent.z_v.flat, delta)
        if mistake != "no actor":
            agent.optimizer_pi.step(agent.actor.p.flat, agent.z_pi.flat, delta)

    size = {"twice": delta, "minus": -1.0}.get(mistake, 1.0)
    agent.critic.vjp(critic_cache, np.full(1, size))
    by_logits = agent.policy.gradient(logits, action, cfg.entropy * sign)
    if mistake == "policy":
        scaled_logits, weight = logits / temperature, cfg.entropy * sign
        by_logits = Categorical(2).gradient(scaled_logits, action, weight) / temperature
    agent.actor.vjp(actor_cache, by_logits)
    if mistake == "late":
        step()
    accumulate(agent.z_v.flat, agent.critic.grad.flat, decay)
    accumulate(agent.z_pi.flat, agent.actor.grad.flat, decay)
    if mistake != "late":
        step()
    kept = {"reset": True, "cut": cut and not end, "end": end and not cut, "first": True}
    kept = kept.get(mistake, False)
    if mistake == "traces" and (end or cut):
        agent.z_v.flat[:], agent.z_pi.flat[:] = 0.0, 0.0
    elif mistake == "networks" and (end or cut):
        agent.actor.reset()
        agent.critic.reset()
    elif (end or cut) and not kept:
        agent.reset()


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
        "agents.td.TD.update",
        "layers.softmax_vjp",
        "layers.log_softmax_vjp",
    ),
    CONSTANTS,
    {"total_seconds": 120.0},
)
