"""Figures: the error of a difference against its step, and of sensitivities against time.

The numbers come from functions of their own, which need NumPy alone; only drawing needs
matplotlib.
"""

# n units, d inputs, T steps, N real parameters

from pathlib import Path

import numpy as np

from ..arrays import Views, real_size
from . import compare, registry, sequence
from .check import STREAM, examine
from .differences import LEVELS, extrapolate
from .inputs import InputError, Inputs, inner, listed_outputs
from .loss import make_loss
from .recurrent import make_cell
from .sequence import Sequence

STEPS = 2.0 ** -np.arange(0, 46, 1.0)
METHODS = {
    "float32": "central, float32",
    "float64": "central, float64",
    "longdouble": "central, extended",
    "extrapolated": f"{LEVELS} steps extrapolated, extended",
}
DRAWN = ("layers.layer_norm", "cells.rtu, rtrl", "policies.Gaussian.log_prob_gradient")
DRIFTS = (1e-3, 1e-4, 1e-5)  # how far a parameter moves in a step, relative to its own size


def v_curve(problem, seed=0, entries=6, steps=STEPS):
    """Measure how far differences are from a claimed gradient, step size by step size.

    Parameters
    ----------
    problem : streamrl_np.gradcheck.Problem
        In float64.
    seed : int
    entries : int
        Of each input the largest claims are looked at.
    steps : (K,) ndarray

    Returns
    -------
    dict
        Name of an input → name of a method → (K,) errors, the worst of its entries (eq. G6).
        Where the function takes no extended precision, the methods that need it are left out.

    Raises
    ------
    InputError
        If function and derivative do not belong together for a reason beyond numbers.
    """
    rng = np.random.default_rng([seed, STREAM])
    inputs = Inputs(problem.inputs, problem.f)
    examined = examine(problem, inputs, rng, 1e-9)
    if examined.problems:
        raise InputError("; ".join(examined.problems))
    loss = make_loss(problem.f, inputs, examined.gs, examined.ys)
    able = [m for m in METHODS if loss.z.dtype == np.longdouble or m.startswith("float")]
    curves, start = {}, 0
    for name, array, claim in zip(inputs.names, inputs.arrays, examined.claimed, strict=True):
        if claim is None or not array.size:
            start += real_size(array)
            continue
        target = compare.Target(name, array, claim, start, 2 * entries, rng)
        largest = np.argsort(-np.abs(target.claimed))[:entries]
        peak = max(float(np.max(np.abs(target.claimed))), np.finfo(float).tiny)
        curves[name] = {method: np.zeros(len(steps)) for method in able}
        for i in largest:
            at, claimed = start + target.at[i], float(target.claimed[i])
            for method in able:
                slopes = slopes_at(problem, inputs, examined.gs, at, method, steps)
                sizes = np.maximum(np.maximum(abs(claimed), np.abs(slopes)), compare.SMALL * peak)
                errors = np.nan_to_num(np.abs(slopes - claimed) / sizes, nan=2.0)
                curves[name][method] = np.fmax(curves[name][method], errors)
        start += target.size
    return curves


def slopes_at(problem, inputs, gs, at, method, steps):
    """Take central differences at one entry with every step; returns (K,) floats."""
    dtype = np.dtype(
        "f4" if method == "float32" else "f8" if method == "float64" else np.longdouble
    )
    inputs = inputs.cast(dtype)
    z = inputs.flat(dtype)
    buffer = z.copy()
    views = Views(inputs.layout, flat=buffer)

    def loss(step):
        buffer[at] = z[at] + dtype.type(step)
        try:
            value = inner(gs, listed_outputs(inputs.call(problem.f, views)))
        except Exception:  # a function may raise outside its domain
            value = np.nan
        buffer[at] = z[at]
        return dtype.type(value)

    def slope(step):
        step = dtype.type(step)
        return (loss(step) - loss(-step)) / (2 * step)  # (eq. G1)

    with np.errstate(all="ignore"):
        if method != "extrapolated":
            return np.array([float(slope(step)) for step in steps])
        table = [slope(step / 2**k) for step in steps for k in range(LEVELS)]
        table = np.array(table).reshape(len(steps), LEVELS)
        return np.array([float(extrapolate(list(row), [2, 4, 6])[0]) for row in table])


def sensitivity_errors(rng, n=8, d=4, steps=400, drifts=DRIFTS, samples=40):
    """Measure how far gradients by sensitivities are from those by BPTT, over one long episode.

    Parameters
    ----------
    rng : numpy.random.Generator
    n, d : int
    steps : int
    drifts : sequence of float
        Each parameter takes a random step of this size, relative to its own, between steps:
        what learning does. The sensitivities then mix Jacobians of old parameters (staleness),
        and BPTT runs the whole past again with the new ones.
    samples : int
        How many of the steps are looked at.

    Returns
    -------
    times : (samples,) ndarray of int
    errors : dict
        Words → (samples,) ndarray, ‖claimed − exact‖ / ‖exact‖ for all parameters together.
    """
    cell, p = make_cell("rtu", "rtrl", rng, n, d)
    p.nu_log = np.log(-np.log(rng.uniform(0.9, 0.995, n)))  # slow units: |λ| up to 0.995
    xs = rng.normal(size=(steps, d)) / 2
    gs = rng.normal(size=(steps, cell.feature_count(n)))
    times = np.unique(np.geomspace(1, steps, samples).astype(int)) - 1
    walks = rng.normal(size=(steps, p.flat.size))
    cases = {"RTRL": ("rtrl", 0.0), "TBPTT(1)": ("tbptt1", 0.0)}
    cases |= {f"RTRL, parameters drift by {drift:g} a step": ("rtrl", drift) for drift in drifts}
    errors = {}
    for words, (mode, drift) in cases.items():
        q, state, grad = p.copy(), Views(cell.state_layout(n, d)), p.like()
        found = []
        for t, (x, g) in enumerate(zip(xs, gs, strict=True)):
            cell.vjp(q, state, cell.advance(q, state, x, mode), g, grad)
            if t in times:
                only_last = np.zeros_like(gs[: t + 1])
                only_last[t] = g
                s = Sequence("rtu", n, q, xs[: t + 1], only_last, (0,))
                exact = sequence.sum_by_bptt(s)
                found.append(np.linalg.norm(grad.flat - exact) / np.linalg.norm(exact))
            q.flat[:] += drift * p.flat * walks[t]
        errors[words] = np.array(found)
    return times + 1, errors


def draw_v_curves(curves, title, path):
    """Draw what :func:`v_curve` measured, a panel for each input."""
    from ..experiments import plots

    figure, panels = plots.new_grid(len(curves), columns=3)
    for axes, (name, methods) in zip(panels, curves.items(), strict=True):
        axes.set_prop_cycle(color=plots.COLOURS)
        lines = {
            METHODS[method]: axes.loglog(STEPS, np.fmax(errors, 1e-20))[0]
            for method, errors in methods.items()
        }
        axes.set(title=name, xlabel="step", ylabel="error of the difference", ylim=(1e-18, 3))
    plots.legend_below(figure, lines)
    figure.suptitle(title, fontsize=10)
    plots.save_figure(figure, path)


def draw_sensitivity_errors(times, errors, path):
    """Draw what :func:`sensitivity_errors` measured."""
    from ..experiments import plots

    figure, axes = plots.new_figure(6.4, 4.0)
    for words, error in errors.items():
        axes.loglog(times, np.fmax(error, 1e-17), label=words)
    axes.set(xlabel="step of the episode", ylabel="relative error of the gradient")
    axes.set_title("The RTU's gradient: sensitivities beside BPTT")
    axes.legend(fontsize=7)
    plots.save_figure(figure, path)


def draw_all(directory, seed=0):
    """Draw every figure into a directory; yields the paths."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    checks = registry.checks()
    for name in DRAWN:
        path = directory / f"v-curve-{name.replace(', ', '-').replace('.', '-')}.png"
        draw_v_curves(v_curve(checks[name].problem(checks[name].rng(seed)), seed), name, path)
        yield path
    path = directory / "sensitivity-error.png"
    draw_sensitivity_errors(*sensitivity_errors(np.random.default_rng(seed)), path)
    yield path
