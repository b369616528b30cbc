"""How fast an update forgets a step: measured on trained agents.

The trace z is a sum over all uses of the parameters: at step j they shaped the state, which was
carried on to every later step k, whose gradient is still in z. With the parameters frozen that
sum can be taken apart, by the agent's own code: forgetting the sensitivities and the trace right
before step j leaves what steps j and later contributed. So one step's share can be followed as
it grows old.
"""

# T steps, n units

from typing import NamedTuple

import numpy as np

from ..arrays import Views
from ..cells import rtu
from ..files import write_csv, write_text
from ..optimizers import accumulate
from . import configs, plots, runner, sweep
from .loop import episode_seed

MODES = {"rtrl": "exact RTRL", "tbptt1": "TBPTT(1)"}
FIRST_EPISODE = 10**6  # far from those that the agent was trained on


class Credit(NamedTuple):
    """Weight (‖·‖₁) that the trace puts on a step of age 0 … T − 1, averaged over steps."""

    recurrent: np.ndarray  # (ages,) of the cell's parameters
    rest: np.ndarray  # (ages,) of encoder, blocks and head
    units: np.ndarray  # (ages, n) of each unit's own parameters


def traces_since(network, observations, start, decay):
    """Compute z at every step from ``start`` on, of the uses of the parameters since then."""
    network.reset()
    z = network.p.like()
    one = np.ones(1, network.p.flat.dtype)
    traces = []
    for t, x in enumerate(observations):
        if t == start:  # the past stays in h and leaves S
            h = network.state.h.copy()
            network.reset()
            network.state.h[:] = h
        _, cache = network.forward(x)
        if t >= start:
            network.vjp(cache, one)
            accumulate(z.flat, network.grad.flat, decay)
            traces.append(z.flat.copy())
    return traces


def follow(network, observations, j, decay):
    """Follow what the trace owes to step ``j`` through the ages, to the episode's end.

    Parameters
    ----------
    network : streamrl_np.networks.Network
        A value network with an RTU; its state is overwritten.
    observations : (T, inputs) ndarray
    j : int
    decay : float
        γλ.

    Returns
    -------
    Credit
        For T − j ages.
    """
    since = traces_since(network, observations, j, decay)
    later = [np.zeros_like(since[0]), *traces_since(network, observations, j + 1, decay)]
    recurrent, rest, units = [], [], []
    for with_j, without_j in zip(since, later, strict=True):
        owed = Views(network.p.layout, flat=np.abs(with_j - without_j))  # (eq. S2)
        units.append(owed.cell.nu_log + owed.cell.theta_log + parts(owed.cell.B).sum(1))
        recurrent.append(owed.cell.flat.sum())
        rest.append(owed.flat.sum() - recurrent[-1])
    return Credit(*map(np.array, (recurrent, rest, units)))


def parts(B):
    """Add real and imaginary part, which here are absolute values."""
    return B.real + B.imag


def measure(network, episodes, decay):
    """Average, over the first third of some episodes, how the trace forgets a step.

    Each step counts by its share of the weight at age 0, so that all start at 1; averages are
    geometric. Ages go to two thirds of an episode.

    Returns
    -------
    Credit
    """
    logs = []
    for observations in episodes:
        ages = 2 * len(observations) // 3
        for j in range(len(observations) // 3):
            credit = follow(network, observations, j, decay)
            total = credit.recurrent[0]
            shares = credit.recurrent / total, credit.rest / credit.rest[0], credit.units / total
            logs.append([np.log(np.maximum(share[:ages], 1e-300)) for share in shares])
    return Credit(*(np.exp(np.mean(column, axis=0)) for column in zip(*logs, strict=True)))


def rate(weights):
    """Fit the factor by which weights shrink a step, over the second half of the ages."""
    ages = np.arange(len(weights) // 2, len(weights))
    return float(np.exp(np.polyfit(ages, np.log(weights[ages]), 1)[0]))


def record(env, agent, observe, seed, episodes):
    """Let a trained agent act without learning; returns the observations of some episodes."""
    recorded = []
    for episode in range(episodes):
        raw, _ = env.reset(seed=episode_seed(seed, FIRST_EPISODE + episode))
        seen, done = [], False
        agent.reset()
        while not done:
            seen.append(observe.look(raw))
            raw, _, terminated, truncated, _ = env.step(agent.act(seen[-1]))
            done = terminated or truncated
        recorded.append(np.array(seen))
    return recorded


class Study(NamedTuple):
    """What was measured of one trained agent."""

    mode: str
    final_return: float
    decay: float  # γλ
    lam: np.ndarray  # (n,) complex λ of the units
    credit: Credit


def study(mode, length, steps, episodes, runs, units=192, width=64):
    """Train an agent on MemoryChain in float64, then measure its critic.

    Parameters
    ----------
    mode : str
        How the cell takes its gradient, one of ``MODES``.
    length : int
        L of the chain.
    steps : int
        Of training, at most.
    episodes : int
        That are measured.
    runs : pathlib.Path
        Where the run's directory goes.
    units, width : int
        n and d of the networks.

    Returns
    -------
    Study
    """
    settings = {
        "env.length": length,
        "cell.mode": mode,
        "cell.r_min": rtu.ring(length) / 2,  # some units forget faster than γλ, some slower
        "cell.units": units,
        "network.width": width,
        "agent.discount": 0.999,
        "run.steps": steps,
        "run.stop_return": 0.95,
        "run.dtype": "float64",
    }
    experiment = configs.build("memory-chain", {k: str(v) for k, v in settings.items()})
    name = f"{mode}_L{length}_n{units}"
    summary = sweep.run_job(sweep.Job(name, experiment, "memory-chain"), runs)
    if not summary["complete"]:
        raise KeyboardInterrupt("the same command goes on where it was")
    env, rng = experiment.make_env(), np.random.default_rng()
    agent, observe, meta = runner.trained_agent(experiment, env, runs / name, rng)
    rng.bit_generator.state = meta["rng"]  # act as the run would have gone on
    critic, decay = agent.critic, experiment.agent.discount * experiment.agent.trace_decay
    credit = measure(critic, record(env, agent, observe, experiment.run.seed, episodes), decay)
    lam = rtu.gates(critic.p.cell).lam
    return Study(mode, summary["final_return"], decay, lam, credit)


def predicted(study):
    """Predict each unit's weight by age from its weight at age 0, (ages, n).

    The gradient ∂L/∂h is taken to be the same at all steps, which it is only about.
    """
    first = study.credit.units[0]
    ages = np.arange(len(study.credit.recurrent))[:, None]
    if study.mode == "tbptt1":
        return first * study.decay**ages
    gl, lam = study.decay, study.lam
    return first * np.abs((lam ** (ages + 1) - gl ** (ages + 1)) / (lam - gl))  # (eq. S3)


def curve(study):
    """Predict the weight of the whole cell by age, relative to age 0, (ages,)."""
    total = predicted(study).sum(1)
    return total / total[0]


def limits(study):
    """Predict the factor by which each unit's weight shrinks a step in the end, (n,)."""
    if study.mode == "tbptt1":
        return np.full(len(study.lam), study.decay)
    return np.maximum(study.decay, np.abs(study.lam))  # max(γλ, |λ|)   (eq. S8)


def report(studies, out):
    """Write credit.csv, table.md and credit.png to ``out``."""
    rows = []
    for s in studies:
        columns = s.credit.recurrent, curve(s), s.credit.rest
        for age, row in enumerate(zip(*columns, strict=True)):
            rows.append((s.mode, age, *(f"{value:.6e}" for value in row)))
    header = "mode", "age", "recurrent", "recurrent_predicted", "rest"
    write_csv(out / "credit.csv", header, rows)
    write_text(out / "table.md", table(studies))
    draw(studies, out / "credit.png")


def table(studies):
    """Write measured and predicted rates as Markdown."""
    rows = [
        "| gradient | parameters | weight left at the greatest age | rate, measured "
        "| rate, predicted | in the end |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    notes = []
    for s in studies:
        words = "max(γλ, ρ)" if s.mode == "rtrl" else "γλ"
        end = limits(s).max()
        for name, weights, expected, limit in (
            ("recurrent", s.credit.recurrent, rate(curve(s)), f"{words} = {end:.4f}"),
            ("the rest", s.credit.rest, s.decay, f"γλ = {s.decay:.4f}"),
        ):
            cells = f"{weights[-1]:.1e} | {rate(weights):.4f} | {expected:.4f} | {limit}"
            rows.append(f"| {MODES[s.mode]} | {name} | {cells} |")
        error = np.abs(unit_rates(s.credit.units) - unit_rates(predicted(s)))
        notes.append(
            f"{MODES[s.mode]} (final return of the agent {s.final_return:.2f}): unit by unit, "
            f"measured and predicted rate differ by {np.median(error):.4f} in the median and by "
            f"{np.quantile(error, 0.95):.4f} at the 95th percentile of {len(error)} units."
        )
    ages = len(studies[0].credit.recurrent) - 1
    return "\n".join(rows) + (
        f"\n\nWeight on a step of age n relative to age 0, n up to {ages}; rates are fitted to the "
        "older half of the ages. Predicted: every unit by (λⁿ⁺¹ − (γλ)ⁿ⁺¹)/(λ − γλ), summed.\n\n"
        + "\n\n".join(notes)
        + "\n"
    )


def unit_rates(weights):
    """Fit the rate of every unit, (n,)."""
    return np.array([rate(np.maximum(column, 1e-300)) for column in weights.T])


def draw(studies, path):
    """Draw weight against age, and each unit's rate against the predicted one."""
    figure, (left, right) = plots.new_grid(2, width=4.6, height=3.8)
    for s, colour in zip(studies, plots.COLOURS, strict=False):
        ages = np.arange(len(s.credit.recurrent))
        left.semilogy(ages, s.credit.recurrent, color=colour, label=f"{MODES[s.mode]}, recurrent")
        left.semilogy(ages, curve(s), ":", color=colour, label="  predicted")
        x, y = unit_rates(predicted(s)), unit_rates(s.credit.units)
        right.plot(x, y, "o", ms=3, alpha=0.5, color=colour, label=MODES[s.mode])
    left.semilogy(
        ages, studies[0].credit.rest, "--", color="0.5", label="the rest, either gradient"
    )
    left.set(xlabel="age of a step, n", ylabel="weight in the update, relative to age 0")
    left.legend(fontsize=7)
    ends = [min(right.get_xlim()[0], right.get_ylim()[0]), 1.0]
    right.plot(ends, ends, "-", color="0.6", lw=0.8)
    right.set(xlabel="predicted rate of a unit", ylabel="measured rate of a unit")
    right.legend(fontsize=7)
    figure.suptitle("Credit on MemoryChain: trained critics, parameters frozen", fontsize=10)
    plots.save_figure(figure, path)
