"""Staleness: how far sensitivities carried along a moving agent are from those of its present self.

RTRL is exact while parameters stand still. In a stream they move at every step, so S mixes
Jacobians taken at older parameters. Here an agent learns as always, and at the end of every
tenth episode its critic's S is set beside the S that the present parameters would have given,
on the same inputs; so are two cheap corrections of first order, carried beside it.
"""

# n units, d inputs

from typing import NamedTuple

import numpy as np

from ..arrays import Views
from ..cells import rtu
from ..files import write_csv, write_text
from . import configs, plots
from .loop import transitions

FORMS = {
    "none": "as carried",
    "diagonal": "diagonal correction",
    "unit": "correction within a unit",
}
DELAYS = (4, 8, 16)
POINTS = 25  # of a curve


class Curvature(NamedTuple):
    """Second derivatives of λ and γ by nu_log and theta_log; (n,) arrays."""

    nu: np.ndarray  # ∂λ/∂nu_log
    theta: np.ndarray
    nu_nu: np.ndarray  # ∂²λ/∂nu_log²
    nu_theta: np.ndarray
    theta_theta: np.ndarray
    gamma_nu: np.ndarray  # ∂γ/∂nu_log
    gamma_nu_nu: np.ndarray


def curvature(gates):
    """Differentiate λ and γ twice."""
    nu, theta, lam, gamma = gates
    q = 1.0 - gamma * gamma  # |λ|²
    slope = nu * q / gamma
    return Curvature(
        -nu * lam,
        1j * theta * lam,
        nu * (nu - 1.0) * lam,  # (eq. S5)
        -1j * nu * theta * lam,
        1j * theta * (1.0 + 1j * theta) * lam,
        slope,
        slope * (1.0 - 2.0 * nu - slope / gamma),  # (eq. S5)
    )


class Corrected:
    """Sensitivities that follow the parameters, to first order.

    Parameters
    ----------
    n, d : int
    form : {"diagonal", "unit"}
        "diagonal": each S moves with its own parameter, by ω ← λ ω + ∂I/∂ψ. "unit": h and S
        move with all parameters of their unit, by the whole second derivative of h.
    """

    def __init__(self, n, d, form):
        self.form = form
        vectors = ("h", "S_nu", "S_theta", "H_nu_nu", "H_nu_theta", "H_theta_theta")
        for name in vectors:
            setattr(self, name, np.zeros(n, complex))
        for name in ("S_B", "H_nu_B", "H_theta_B"):
            setattr(self, name, np.zeros((n, d), complex))

    def follow(self, change):
        """Step in place after the parameters (a Views of a cell) have moved by ``change``."""
        nu, theta, B = change.nu_log, change.theta_log, change.B
        if self.form == "diagonal":
            self.S_nu += self.H_nu_nu * nu
            self.S_theta += self.H_theta_theta * theta
            return
        self.h += self.S_nu * nu + self.S_theta * theta + (self.S_B * B).sum(1)
        self.S_nu += self.H_nu_nu * nu + self.H_nu_theta * theta + (self.H_nu_B * B).sum(1)
        self.S_theta += (
            self.H_nu_theta * nu + self.H_theta_theta * theta + (self.H_theta_B * B).sum(1)
        )
        self.S_B += self.H_nu_B * nu[:, None] + self.H_theta_B * theta[:, None]  # (eq. S6)

    def advance(self, p, x):
        """Step in place by one step of the cell."""
        g = rtu.gates(p)
        c = curvature(g)
        Bx, h, lam = p.B @ x, self.h, g.lam
        whole = self.form == "unit"
        self.H_nu_nu = lam * self.H_nu_nu + c.nu_nu * h + c.gamma_nu_nu * Bx  # (eq. S7)
        self.H_theta_theta = lam * self.H_theta_theta + c.theta_theta * h
        if whole:
            self.H_nu_nu += 2 * c.nu * self.S_nu
            self.H_theta_theta += 2 * c.theta * self.S_theta
            self.H_nu_theta = (
                lam * self.H_nu_theta + c.nu * self.S_theta + c.theta * self.S_nu + c.nu_theta * h
            )
            self.H_nu_B = lam[:, None] * self.H_nu_B + c.nu[:, None] * self.S_B
            self.H_nu_B += np.outer(c.gamma_nu, x)
            self.H_theta_B = lam[:, None] * self.H_theta_B + c.theta[:, None] * self.S_B
        J_nu, J_theta = rtu.immediate_jacobian(g, h, Bx)
        self.S_nu = lam * self.S_nu + J_nu
        self.S_theta = lam * self.S_theta + J_theta
        self.S_B = lam[:, None] * self.S_B + np.outer(g.gamma, x)
        self.h = rtu.hidden(g, h, Bx)


def sensitivities(state):
    """Put the sensitivities to every parameter of a cell into one vector."""
    return np.concatenate([state.S_nu, state.S_theta, state.S_B.ravel()])


def distance(state, exact):
    """Compute ‖S − S*‖ / ‖S*‖; infinity where S has run away."""
    exact = sensitivities(exact)
    ratio = np.linalg.norm(sensitivities(state) - exact) / np.linalg.norm(exact)  # (eq. S4)
    return float(ratio) if np.isfinite(ratio) else np.inf


def recompute(p, inputs):
    """Run an episode's inputs through a cell that stands still; returns its state."""
    n, d = p.B.shape
    state = Views(rtu.state_layout(n, d), p.flat.dtype)
    for x in inputs:
        rtu.advance(p, state, x, "rtrl")
    return state


class Watched:
    """An RTU module that looks at its own staleness in the last step of each episode.

    Parameters
    ----------
    steps : int
        Steps in an episode.
    wanted : callable
        Whether to look at the coming episode.

    Attributes
    ----------
    seen : list of dict
        Form to distance, an entry an episode looked at.
    """

    def __init__(self, steps, wanted):
        self.steps, self.wanted, self.t = steps, wanted, 0
        self.seen = []

    def __getattr__(self, name):
        return getattr(rtu, name)

    def advance(self, p, state, x, mode):
        """Advance as the RTU does, with the corrections beside it."""
        if self.t == 0:
            self.begin(p)
        cache = rtu.advance(p, state, x, mode)
        self.t = (self.t + 1) % self.steps
        if self.watching:
            with np.errstate(all="ignore"):  # a correction may run away where steps are large
                self.look(p, state, x)
        return cache

    def look(self, p, state, x):
        """Step the corrections in place; at the end of an episode, measure all distances."""
        self.inputs.append(x.copy())
        change = Views(p.layout, flat=p.flat - self.last.flat)
        for form in self.corrected.values():
            form.follow(change)
            form.advance(p, x)
        self.last.flat[:] = p.flat
        if self.t == 0:
            exact = recompute(p, self.inputs)
            found = {"none": distance(state, exact)}
            found |= {name: distance(form, exact) for name, form in self.corrected.items()}
            self.seen.append(found)

    def begin(self, p):
        """Begin an episode."""
        self.watching = self.wanted()
        if self.watching:
            self.inputs, self.last = [], p.copy()
            self.corrected = {form: Corrected(*p.B.shape, form) for form in ("diagonal", "unit")}


class Staleness(NamedTuple):
    """What was measured at one delay."""

    delay: int
    step: np.ndarray  # (episodes,) environment steps
    distances: dict  # form to (episodes,)
    returns: np.ndarray  # (all episodes,)


def measure(delay, steps, settings=None, every=10):
    """Let an agent learn KMemoryChain in float64 and watch its critic in every tenth episode.

    Parameters
    ----------
    delay : int
        K of KMemoryChain.
    steps : int
        Of training.
    settings : dict of str, optional
        Laid over the preset's.
    every : int
        Episodes from one that is watched to the next.

    Returns
    -------
    Staleness
    """
    settings = {"env.delay": str(delay), "run.dtype": "float64", **(settings or {})}
    experiment = configs.build("k-memory-chain", settings)
    env, rng = experiment.make_env(), np.random.default_rng(experiment.run.seed)
    agent = experiment.make_agent(env, rng)
    observe, scale = experiment.make_normalizers(*env.observation_space.shape)
    at, returns, total = [], [], 0.0
    watched = Watched(8 * delay, lambda: len(returns) % every == 0)
    agent.critic.cell = watched
    life = transitions(env, agent, observe, scale, experiment.run.seed)
    for step, transition in zip(range(1, steps + 1), life, strict=False):
        total += transition.reward
        if transition.done:
            if len(watched.seen) > len(at):
                at.append(step)
            returns.append(total)
            total = 0.0
    distances = {form: np.array([seen[form] for seen in watched.seen[: len(at)]]) for form in FORMS}
    return Staleness(delay, np.array(at), distances, np.array(returns))


def thin(values):
    """Take the median of values in at most ``POINTS`` equal parts."""
    return np.array([np.median(part) for part in np.array_split(values, min(POINTS, len(values)))])


def report(measured, out):
    """Write staleness.csv, table.md and staleness.png to ``out``."""
    rows = []
    for m in measured:
        columns = [thin(m.step), *(thin(m.distances[form]) for form in FORMS)]
        for step, *row in zip(*columns, strict=True):
            rows.append((m.delay, round(step), *(f"{value:.4e}" for value in row)))
    write_csv(out / "staleness.csv", ("delay", "step", *FORMS), rows)
    write_text(out / "table.md", table(measured))
    draw(measured, out / "staleness.png")


def table(measured):
    """Write the median distances of the first and the last fifth of a run as Markdown."""
    rows = [
        "| K | steps | return at the end, of 7K | part of the run | "
        + " | ".join(FORMS.values())
        + " |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for m in measured:
        final = m.returns[-100:].mean()
        for part, where in (("first fifth", 0), ("last fifth", -1)):
            parts = [np.array_split(m.distances[form], 5)[where] for form in FORMS]
            numbers = " | ".join(f"{np.median(part):.2e}" for part in parts)
            total = f"{final:.1f} of {7 * m.delay}"
            rows.append(f"| {m.delay} | {m.step[-1]} | {total} | {part} | {numbers} |")
    return "\n".join(rows) + (
        "\n\nMedian relative distance ‖S − S\\*‖/‖S\\*‖ between the critic's sensitivities at the "
        "end of an episode and those recomputed at its parameters of that moment, on the same "
        "inputs; one seed.\n"
    )


def draw(measured, path):
    """Draw the distances against environment steps, a panel a delay."""
    figure, grid = plots.new_grid(len(measured), columns=3)
    for axes, m in zip(grid, measured, strict=True):
        for (form, label), colour in zip(FORMS.items(), plots.COLOURS, strict=False):
            style = "--" if form == "diagonal" else "-"  # it lies on the first one
            axes.semilogy(thin(m.step), thin(m.distances[form]), style, color=colour, label=label)
        axes.set(xlabel="environment steps", ylabel="‖S − S*‖ / ‖S*‖")
        axes.set_title(f"KMemoryChain, K = {m.delay} (episodes of {8 * m.delay} steps)", fontsize=9)
    grid[0].legend(fontsize=7)
    plots.save_figure(figure, path)
