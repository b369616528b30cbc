"""How much of an update is owed to a step n in the past: measured on trained agents.

The trace z at the end of an episode is a sum over all uses of the parameters: at step j they
shaped the state, which was carried on to every later step k, whose gradient is still in z. With
the parameters frozen that sum can be taken apart, by the agent's own code: forgetting the
sensitivities and the trace right before step j leaves what steps j and later contributed.
"""

# T steps, n units

import csv
import io
from typing import NamedTuple

import numpy as np

from ..arrays import Views
from ..cells import rtu
from ..optimizers import accumulate
from . import configs, plots, runner, sweep
from .checkpoint import atomic_write
from .loop import episode_seed

MODES = {"rtrl": "exact RTRL", "tbptt1": "TBPTT(1)"}
FIRST_EPISODE = 10**6  # far from those that the agent was trained on


class Credit(NamedTuple):
    """Weight (‖·‖₁) that an episode's last trace puts on each earlier step; lags 0 … T − 1."""

    recurrent: np.ndarray  # (T,) of the cell's parameters
    rest: np.ndarray  # (T,) of encoder, blocks and head
    units: np.ndarray  # (T, n) of each unit's own parameters


def trace_since(network, observations, start, decay):
    """Compute z at the end of an episode, of the uses of the parameters from ``start`` on."""
    network.reset()
    z = network.p.like()
    one = np.ones(1, network.p.flat.dtype)
    for t, x in enumerate(observations):
        if t == start:  # the past stays in h and leaves S
            h = network.state.h.copy()
            network.reset()
            network.state.h[:] = h
        _, cache = network.forward(x)
        if t >= start:
            network.vjp(cache, one)
            accumulate(z.flat, network.grad.flat, decay)
    return z


def measure(network, observations, decay):
    """Take the trace of an episode's last step apart by the step that it is owed to.

    Parameters
    ----------
    network : streamrl_np.networks.Network
        A value network with an RTU; its state is overwritten.
    observations : (T, inputs) ndarray
    decay : float
        γλ.

    Returns
    -------
    Credit
    """
    lags = range(len(observations))
    later = network.p.like()
    recurrent, rest, units = [], [], []
    for lag in lags:
        since = trace_since(network, observations, len(observations) - 1 - lag, decay)
        owed = Views(network.p.layout, flat=np.abs(since.flat - later.flat))  # (eq. S2)
        units.append(owed.cell.nu_log + owed.cell.theta_log + parts(owed.cell.B).sum(1))
        recurrent.append(owed.cell.flat.sum())
        rest.append(owed.flat.sum() - recurrent[-1])
        later = since
    return Credit(*map(np.array, (recurrent, rest, units)))


def parts(B):
    """Add real and imaginary part, which here are absolute values."""
    return B.real + B.imag


def rate(weights, first, last):
    """Fit the factor by which weights shrink a step, over the lags from ``first`` to ``last``."""
    lags = np.arange(first, last)
    slope = np.polyfit(lags, np.log(weights[first:last]), 1)[0]
    return np.exp(slope)


def record(run, episodes):
    """Let a trained agent act without learning; returns the observations of some episodes."""
    recorded = []
    for episode in range(episodes):
        raw, _ = run.env.reset(seed=episode_seed(run.experiment.run.seed, FIRST_EPISODE + episode))
        seen, done = [], False
        run.agent.reset()
        while not done:
            seen.append(run.observe.look(raw))
            raw, _, terminated, truncated, _ = run.env.step(run.agent.act(seen[-1]))
            done = terminated or truncated
        recorded.append(np.array(seen))
    return recorded


class Study(NamedTuple):
    """What was measured of one trained agent."""

    mode: str
    final_return: float
    decay: float  # γλ
    retention: np.ndarray  # (n,) |λ|
    credit: Credit  # mean over episodes


def study(mode, length, steps, episodes, runs, units=192, width=64):
    """Train an agent on MemoryChain in float64, then measure its critic.

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
    run = runner.load(runs / name)
    run.close()
    critic, decay = run.agent.critic, experiment.agent.discount * experiment.agent.trace_decay
    measured = [measure(critic, seen, decay) for seen in record(run, episodes)]
    credit = Credit(*(np.mean(column, axis=0) for column in zip(*measured, strict=True)))
    retention = critic.cell.retention(critic.p.cell)
    return Study(mode, summary["final_return"], decay, retention, credit)


def predicted(study):
    """Predict the factor by which each unit's credit shrinks a step, (n,)."""
    if study.mode == "tbptt1":
        return np.full_like(study.retention, study.decay)
    return np.maximum(study.decay, study.retention)  # max(γλ, |λ|)   (eq. S3)


def window(credit):
    """Choose the lags that a rate is fitted to: past the first ones, short of the cue."""
    T = len(credit.recurrent)
    return T // 3, T - 1


def report(studies, out):
    """Write credit.csv, table.md and credit.png to ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("mode", "lag", "recurrent", "rest"))
    for s in studies:
        for lag, (a, b) in enumerate(zip(s.credit.recurrent, s.credit.rest, strict=True)):
            writer.writerow((s.mode, lag, f"{a:.6e}", f"{b:.6e}"))
    atomic_write(out / "credit.csv", lambda file: file.write(text.getvalue().encode()))
    atomic_write(out / "table.md", lambda file: file.write(table(studies).encode()))
    draw(studies, out / "credit.png")


def table(studies):
    """Write measured and predicted rates as Markdown."""
    rows = [
        "| gradient | parameters | measured rate | predicted | what is predicted |",
        "| --- | --- | --- | --- | --- |",
    ]
    notes = []
    for s in studies:
        first, last = window(s.credit)
        expected = predicted(s)
        words = "max(γλ, ρ), ρ the greatest \\|λ\\|" if s.mode == "rtrl" else "γλ"
        for name, weights, value, what in (
            ("recurrent", s.credit.recurrent, expected.max(), words),
            ("the rest", s.credit.rest, s.decay, "γλ"),
        ):
            measured = rate(weights, first, last)
            rows.append(f"| {MODES[s.mode]} | {name} | {measured:.4f} | {value:.4f} | {what} |")
        error = np.abs(unit_rates(s) - expected)
        notes.append(
            f"{MODES[s.mode]} (agent's final return {s.final_return:.2f}): unit by unit, measured "
            f"and predicted rate differ by {np.median(error):.4f} in the median and by "
            f"{np.quantile(error, 0.95):.4f} at the 95th percentile of {len(error)} units."
        )
    return "\n".join(rows) + "\n\n" + "\n\n".join(notes) + "\n"


def unit_rates(study):
    """Fit the rate of every unit, (n,)."""
    first, last = window(study.credit)
    return np.array([rate(weights, first, last) for weights in study.credit.units.T])


def draw(studies, path):
    """Draw weight against lag, and each unit's rate against the predicted one."""
    figure, (left, right) = plots.new_grid(2, width=4.6, height=3.8)
    for s, colour in zip(studies, plots.COLOURS, strict=False):
        lags = np.arange(len(s.credit.recurrent))
        share = s.credit.recurrent / s.credit.recurrent[0]
        left.semilogy(lags, share, color=colour, label=f"{MODES[s.mode]}, recurrent")
        left.semilogy(
            lags, predicted(s).max() ** lags, ":", color=colour, label=f"{predicted(s).max():.3f}ⁿ"
        )
        right.plot(predicted(s), unit_rates(s), "o", ms=3, alpha=0.5, color=colour)
    rest = studies[0].credit.rest
    left.semilogy(
        np.arange(len(rest)), rest / rest[0], color="0.5", label="the rest, either gradient"
    )
    left.set(xlabel="steps ago, n", ylabel="weight in the last update, relative")
    left.legend(fontsize=7)
    ends = [studies[0].decay - 0.02, 1.0]
    right.plot(ends, ends, "-", color="0.6", lw=0.8)
    right.set(xlabel="predicted: max(γλ, |λ|) or γλ", ylabel="measured rate of a unit's credit")
    figure.suptitle("Credit on MemoryChain, trained critics, parameters frozen", fontsize=10)
    plots.save_figure(figure, path)
