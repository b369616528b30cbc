"""How long a step takes, beside the least that NumPy could take for it.

The *floor* is the passes over the large arrays (the O(n·d) ones) that no formulation of
stream AC(λ) with exact RTRL avoids; the *floor ratio* is the whole step over that.
"""

# n units, d features

import os
import statistics
import time

import numpy as np

from .. import cells, networks
from ..agents.actor_critic import ActorCritic
from ..arrays import COMPLEX
from ..layers import outer
from ..optimizers import accumulate
from ..policies import Categorical
from .loop import episode_seed

MEANINGS = {
    "forward": "one network, state and sensitivities advanced",
    "peek": "one network, the look-ahead",
    "vjp": "one network, its whole gradient",
    "optimizer": "one network, trace and bounded step",
    "step": "the agent: act and update",
    "floor": "the passes over large arrays that no formulation avoids",
    "floor_ratio": "step / floor",
}
EPISODE = 17  # steps between resets


def median_microseconds(actions, repeats, warm=False, clock=time.perf_counter):
    """Time several actions in turn, so that a busy machine slows them all alike.

    Parameters
    ----------
    actions : dict of callable
    repeats : int
    clock : callable
        ``time.process_time`` leaves out what other processes take; steps must be long.
    warm : bool
        Call each once more, untimed, before it is timed: another one's arrays may have
        pushed its own out of the processor's cache.

    Returns
    -------
    dict of float
        Median microseconds a call.
    """
    times = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            if warm:
                action()
            start = clock()
            action()
            times[name].append(clock() - start)
    return {name: 1e6 * statistics.median(values) for name, values in times.items()}


def make_agent(units, width, dtype=np.float32):
    """Make an agent of 3 inputs and 2 actions, and a stream of observations for it."""
    rng = np.random.default_rng(0)
    cell, network = cells.Config(units=units), networks.Config(width=width)
    agent = ActorCritic(3, Categorical(2), rng, None, network, cell, dtype)
    return agent, rng.normal(size=(1000, 3)).astype(dtype)


def one_step(agent, observations, episode=EPISODE):
    """Return a function that takes one whole agent step; an episode ends every ``episode``."""
    count = iter(range(10**9))

    def step():
        i = next(count)
        observation, following = observations[i % 999], observations[i % 999 + 1]
        action = agent.act(observation)
        agent.update(observation, action, 0.1, following, i % episode == episode - 1, False)

    return step


def floor(units, width, dtype=np.float32):
    """Return a function that makes the unavoidable passes of one step, for two networks."""
    rng = np.random.default_rng(0)
    n, d, dtype = units, width, np.dtype(dtype)
    S, B, grad_B = (np.zeros((n, d), COMPLEX[dtype]) + 0.1 for _ in range(3))
    J = np.zeros((n, d), dtype)
    W, grad_W = (rng.normal(size=(d, 2 * n)).astype(dtype) for _ in range(2))
    lam = (0.9 * np.exp(1j * rng.uniform(size=n)))[:, None].astype(S.dtype)
    gamma, x = rng.uniform(size=n).astype(dtype), rng.normal(size=d).astype(dtype)
    y, g = rng.normal(size=2 * n).astype(dtype), rng.normal(size=d).astype(dtype)
    w, z, gradient, scratch, ones = (np.full(2 * n * d * 2, 0.1, dtype) for _ in range(5))
    decay, rate = dtype.type(0.8), dtype.type(1e-9)

    def look():  # the matrices of one forward pass
        B @ x
        W @ y

    def passes():
        for _ in range(2):
            look()
            outer(gamma, x, J)  # S ← λ S + γ xᵀ
            np.multiply(S, lam, out=S)
            np.add(S, J, out=S)
            g @ W  # back through block and cell
            lam[:, 0] @ B
            outer(g, y, grad_W)
            np.multiply(S, lam, out=grad_B)
            np.multiply(z, decay, out=z)  # z ← γλ z + gradient
            np.add(z, gradient, out=z)
            np.abs(z, out=scratch)  # ‖z‖₁
            scratch @ ones
            np.multiply(z, rate, out=scratch)  # w ← w + α δ z
            np.add(w, scratch, out=w)
        look()  # the critic's look-ahead

    return passes


def measure(units=192, width=64, dtype=np.float32, repeats=2000):
    """Measure one agent step and its parts.

    Returns
    -------
    dict of float
        Median microseconds of ``forward``, ``peek``, ``vjp``, ``optimizer`` (one network
        each), ``step`` (the whole), ``floor``; and ``floor_ratio`` = step / floor.
    """
    agent, observations = make_agent(units, width, dtype=dtype)
    step, x, net = one_step(agent, observations), observations[0], agent.critic
    for _ in range(100):
        step()
    one = np.ones(1, dtype)
    held = [net.forward(x)[1]]

    def forward():
        held[0] = net.forward(x)[1]

    def optimizer():
        accumulate(agent.z_v.flat, net.grad.flat, 0.8)
        agent.optimizer_v.step(net.p.flat, agent.z_v.flat, 1e-9)

    actions = {
        "forward": forward,
        "peek": lambda: net.peek(x),
        "vjp": lambda: net.vjp(held[0], one),
        "optimizer": optimizer,
        "step": step,
        "floor": floor(units, width, dtype),
    }
    result = median_microseconds(actions, repeats)
    return result | {"floor_ratio": result["step"] / result["floor"]}


def growth(sizes, make, repeats=300):
    """Fit the exponent with which a step's time grows: time ∝ size^exponent.

    Parameters
    ----------
    sizes : sequence of int
    make : callable
        Size to a function that takes one step.
    repeats : int
        Steps that the median is of.

    Returns
    -------
    exponent : float
        Slope of log time over log size.
    times : dict
        Size to median microseconds.
    """
    times = median_microseconds({size: make(size) for size in sizes}, repeats)
    slope, _ = np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)
    return float(slope), times


def growths(dtype=np.float32):
    """List what :func:`growth` is measured over: (name, sizes, make)."""
    return [
        ("units", (192, 384, 768, 1536), lambda n: one_step(*make_agent(n, 64, dtype=dtype))),
        ("features", (64, 128, 256, 512), lambda d: one_step(*make_agent(192, d, dtype=dtype))),
    ]


PARTS = 10  # of a long run


def endurance(steps):
    """Take many steps in one endless episode, where traces and sensitivities could only pile up.

    The first half sees varied observations, the second half nothing but zeros, so that what
    was carried decays towards the smallest numbers there are.

    Parameters
    ----------
    steps : int

    Yields
    ------
    steps, microseconds, megabytes : int, float, float
        Steps so far; processor time a step since the last report; memory in use.
    """
    agent, observations = make_agent(192, 64)
    varied, quiet = (one_step(agent, x, 10**12) for x in (observations, 0.0 * observations))
    for part in range(1, PARTS + 1):
        step, start = varied if part <= PARTS / 2 else quiet, time.process_time()
        for _ in range(steps // PARTS):
            step()
        spent = 1e6 * (time.process_time() - start) / (steps // PARTS)
        yield part * (steps // PARTS), spent, memory_in_use() / 1e6


def memory_in_use():
    """Ask the system for the bytes of this process that are in memory; NaN where it is no Linux."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("nan")


WARM_UP = 500  # steps that are not timed


def measure_experiment(experiment, steps=5000):
    """Measure what a step of an experiment costs, environment included.

    Parameters
    ----------
    experiment : streamrl_np.experiments.configs.Experiment
    steps : int
        Steps that are timed; of an agent that learns from rollouts, whole ones.

    Returns
    -------
    dict of float
        ``steps`` that were timed. Mean microseconds of processor time a step of ``environment``
        (with its resets), ``normalisation``, ``agent`` (act and update) and the ``whole``;
        ``steps_per_second``; and ``agent_ratio`` = whole / agent.
    """
    env, run = experiment.make_env(), experiment.run
    agent = experiment.make_agent(env, np.random.default_rng(run.seed))
    (inputs,) = env.observation_space.shape
    observe, scale = experiment.make_normalizers(inputs)
    rollout = getattr(experiment.agent, "rollout", 1)
    steps = -(-steps // rollout) * rollout
    clock = time.process_time  # a busy machine counts for less
    spent = dict.fromkeys(("environment", "normalisation", "agent"), 0.0)
    began, episode, done = clock(), 0, True
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            spent, began = dict.fromkeys(spent, 0.0), clock()
        if done:
            t0 = clock()
            raw, _ = env.reset(seed=episode_seed(run.seed, episode))
            spent["environment"] += clock() - t0
            observation, episode = observe(raw), episode + 1
        t0 = clock()
        action = agent.act(observation)
        t1 = clock()
        raw, reward, terminated, truncated, _ = env.step(action)
        t2 = clock()
        done = terminated or truncated
        following, scaled = observe(raw), scale(reward, done)
        t3 = clock()
        agent.update(observation, action, scaled, following, terminated, truncated)
        observation, t4 = following, clock()
        spent["environment"] += t2 - t1
        spent["normalisation"] += t3 - t2
        spent["agent"] += t1 - t0 + t4 - t3
    whole = clock() - began
    result = {name: 1e6 * seconds / steps for name, seconds in spent.items()} | {"steps": steps}
    result["whole"] = 1e6 * whole / steps
    result["steps_per_second"] = steps / whole
    return result | {"agent_ratio": result["whole"] / result["agent"]}
