"""Cells and networks over a sequence: every gradient against differences of what it claims.

Mode "rtrl" claims the gradient through the whole past of the episode, "tbptt1" that of the
last step with the state before it held still, "frozen" none at all. A network's blocks and
head are exact in every mode; its encoder always claims the gradient of one step. Each claim is
a function, written out here, and differences are taken of that function.
"""

# n units, d inputs (of the cell) or width (of a network), T steps

import copy
from functools import partial

import numpy as np

from .. import cells, networks
from ..arrays import Complex, Views
from ..cells import CELLS
from . import large, suspects, twins
from .check import Problem
from .inputs import InputError
from .registry import Check, derivatives_of
from .sequence import Sequence, check_sequence

CLAIMS = {
    "rtrl": "",
    "tbptt1": "the gradient of each step with the state before it held still",
    "frozen": "no gradient",
}
FULL_SIZE = {"gru": dict(n=16, d=16, steps=100, starts=(0, 30, 65))}  # dense: n times the work
ENCODER = "the encoder's and the observation's are gradients of one step"


def make_cell(name, mode, rng, n, d):
    """Draw a cell's parameters; returns (cell, p)."""
    cell = CELLS[name]
    p = Views(cell.layout(n, d))
    config = cells.Config(name=name, units=n, mode=mode, r_min=0.5, r_max=0.95)
    for key, value in cell.init(rng, n, d, config).items():
        setattr(p, key, value)
    p.flat[:] += 0.1 * rng.normal(size=p.flat.size)  # biases that start at 0 count too
    return cell, p


def cell_checks(name):
    """List the checks of one cell: each mode over three episodes, beside its twin, unrolled."""
    own = derivatives_of(f"cells.{name}")
    unrolled = tuple(d for d in own if d.endswith((".unroll_vjp", ".sensitivity_vjp")))
    stepped = tuple(d for d in own if d not in unrolled)
    for mode in cells.MODES:
        covers = stepped if mode == "rtrl" else (f"cells.{name}.vjp",)
        yield Check(f"cells.{name}, {mode}", covers, cell_problem(name, mode))
    if name in twins.PARTS:
        yield from twin_checks(name, stepped)
    for covered in unrolled:
        past = covered.endswith(".sensitivity_vjp")
        words, make = ("its past", past_problem) if past else ("unrolled", unrolled_problem)
        yield Check(f"cells.{name}, {words}", (covered,), make(name))


def twin_checks(name, stepped):
    """List the checks of a cell that has a twin: four ways to its gradient, and full size."""
    for mode in ("rtrl", "tbptt1"):
        covers = stepped if mode == "rtrl" else (f"cells.{name}.vjp",)
        covers += (f"gradcheck.twins.{name}_vjp",)
        covers += ("gradcheck.twins.rtu_turn_vjp",) if name.startswith("rtu") else ()
        yield Check(f"cells.{name}, four ways, {mode}", covers, run_=four_ways(name, mode))
    size = FULL_SIZE.get(name, {})
    words = "{n} units, {steps} steps".format(**size) if size else "full size"
    yield Check(f"cells.{name}, {words}", run_=large.full_size_run(make_cell, name, **size))


def cell_problem(name, mode, n=3, d=3, steps=7, starts=(0, 3, 5)):
    """Make the Problem of one cell over a sequence of ``steps`` with episode starts inside.

    The inputs are the parameters and the last step's x.
    """

    def problem(rng):
        cell, p = make_cell(name, mode, rng, n, d)
        xs = rng.normal(size=(steps, d))
        inputs = Views({"p": p.layout, "x": (d,)})
        inputs.p.flat[:], inputs.x = p.flat, xs[-1]

        def walk(v, step):
            """Take every step with ``step(p, state, x, t)``; collect what it returns."""
            state = Views(cell.state_layout(n, d, mode), v.flat.dtype)
            found = []
            for t, x in enumerate([*xs[:-1].astype(v.flat.dtype), v.x]):
                if t in starts:
                    state.flat[:] = 0
                found.append(step(v.p, state, x, t))
            return found

        def exact(v):
            """Run with the parameters that vary, from the first step on."""
            return np.stack(walk(v, lambda q, s, x, t: cell.advance(q, s, x, "frozen").y))

        def one_step(v):
            """Run with still parameters; only what each step gives sees those that vary."""
            still = Views(p.layout, flat=p.flat.astype(v.flat.dtype))

            def step(q, state, x, t):
                q = q if mode == "tbptt1" else still
                y = cell.peek(q, state, x)
                cell.advance(still, state, xs[t].astype(x.dtype), "frozen")
                return y

            return np.stack(walk(v, step))

        def made(mistake, g, v):
            """Compute the RTU's gradient with one mistake made."""
            found = v.like()
            at = np.concatenate([xs[:-1], [v.x]])
            found.p.flat[:] = suspects.rtu_sum(v.p, at, g, starts, mistake).flat
            return found

        def vjp(g, v):
            total, grad = v.like(), v.p.like()

            def step(q, state, x, t):
                cache = look_then_advance(cell, q, state, x, mode)
                held = carried(state)
                gx = cell.vjp(q, state, cache, g[t], grad)
                if not np.array_equal(carried(state), held):
                    raise InputError("vjp changes the state: it may only read it")
                total.p.flat[:] += grad.flat
                return gx

            total.x = walk(v, step)[-1]
            return total

        known = {}
        if name == "rtu" and mode == "rtrl":
            for mistake, words in suspects.MISTAKES.items():
                known[words] = partial(made, mistake)
        claim = exact if mode == "rtrl" else one_step
        return Problem(claim, vjp, inputs, claim=CLAIMS[mode], suspects=known)

    return problem


def carried(state):
    """Copy the numbers that a step hands on to the next: all but scratch, called ``J_…``."""
    arrays = [array.ravel() for name, array in state.items() if not name.startswith("J_")]
    return np.concatenate([np.zeros(0), *arrays])


def look_then_advance(cell, p, state, x, mode):
    """Advance a cell by one step, after a look ahead that must tell its very features.

    Raises
    ------
    InputError
        If ``peek`` changes the state, or gives other features than ``advance``, or this mode
        gives others than "frozen", whose features are what derivatives are checked against.
    """
    held, free = carried(state), state.copy()
    seen = cell.peek(p, state, x)
    if not np.array_equal(carried(state), held):
        raise InputError("peek changes the state: it may only look")
    cache = cell.advance(p, state, x, mode)
    if not np.allclose(seen, cache.y, rtol=1e-6, atol=1e-9):
        raise InputError("peek gives other features than advance")
    if not np.allclose(cell.advance(p, free, x, "frozen").y, cache.y, rtol=1e-6, atol=1e-9):
        raise InputError(f"advance gives other features in mode {mode} than in frozen")
    return cache


def four_ways(name, mode, n=3, d=3, starts=(0, 4, 6), steps=9):
    """Make a function that runs one cell's four ways over three episodes."""

    def run(rng):
        cell, p = make_cell(name, mode, rng, n, d)
        xs, gs = rng.normal(size=(steps, d)), rng.normal(size=(steps, cell.feature_count(n)))
        return check_sequence(Sequence(name, n, p, xs, gs, starts, mode))

    return run


def unrolled_problem(name, n=3, d=3, steps=5, m=2):
    """Make the Problem of a segment of ``steps`` in m sequences, with episode starts inside."""

    def problem(rng):
        cell, p = make_cell(name, "rtrl", rng, n, d)
        starts = np.zeros((steps, m), bool)
        starts[0, 1] = starts[2, 0] = starts[3, 1] = True
        layout = {"p": p.layout, "x": (steps, m, d)}
        remembers = "h" in cell.state_layout(n, d)
        if remembers:
            h = cell.state_layout(n, d)["h"]
            layout["h"] = Complex((m, n)) if isinstance(h, Complex) else (m, n)
        inputs = Views(layout)
        inputs.flat[:] = rng.normal(size=inputs.flat.size)
        inputs.p.flat[:] = p.flat

        def forward(v):
            return cell.unroll(v.p, v.h if remembers else None, v.x, starts)

        def vjp(g, v):
            found = v.like()
            found.x, gh = cell.unroll_vjp(v.p, forward(v), g, found.p)
            if remembers:
                found.h = gh
            return found

        return Problem(lambda v: forward(v).y, vjp, inputs)

    return problem


def past_problem(name, n=3, d=3, steps=4, m=2):
    """Make the Problem of m hidden states after ``steps``, by way of their sensitivities."""

    def problem(rng):
        cell, p = make_cell(name, "rtrl", rng, n, d)
        xs = rng.normal(size=(m, steps, d))

        def states(p):
            found = []
            for sequence in xs.astype(p.flat.dtype):
                state = Views(cell.state_layout(n, d), p.flat.dtype)
                for x in sequence:
                    cell.advance(p, state, x, "rtrl")
                found.append(state)
            return found

        def f(p):
            return np.stack([s.h if "h" in s.layout else np.zeros(n) for s in states(p)])

        def vjp(G, p):
            grad, at = p.like(), states(p)
            names = [k for k in at[0].layout if k.startswith("S_")]
            cell.sensitivity_vjp({k: np.stack([s[k] for s in at]) for k in names}, G, grad)
            return grad

        return Problem(f, vjp, p)

    return problem


def network_checks(name):
    """List the checks of a network around one cell: two blocks, each mode, unrolled if it can."""
    covers = (
        "networks.dense_vjp",
        "networks.Network.vjp",
        "networks.Network.readout_vjp",
    )
    options = dict(entries=8, directions=1)
    for mode in cells.MODES:
        yield Check(
            f"networks, {name}, {mode}", covers, network_problem(name, mode), options=options
        )
    if name == "rtu":
        problem = network_problem(name, "rtrl", n=192, width=64, inputs=8)
        options = dict(entries=2, directions=1)
        yield Check("networks, rtu, full size", covers, problem, options=options)
    if hasattr(CELLS[name], "unroll"):
        covers = ("networks.dense_vjp", "networks.Network.unroll_vjp")
        for mode in cells.MODES:
            problem = unrolled_network_problem(name, mode)
            yield Check(f"networks, {name} unrolled, {mode}", covers, problem, options=options)


def twin(net, p):
    """Make a network that shares all but parameters, gradient and state, which starts at 0."""
    other = copy.copy(net)
    other.p, other.grad = p, p.like()
    other.state = net.state.like(p.flat.dtype)
    return other


def network_problem(name, mode, n=2, width=4, inputs=3, outputs=2, steps=5, starts=(0, 2)):
    """Make the Problem of a network's gradient at the last step of its second episode."""

    def problem(rng):
        config = networks.Config(width=width, blocks=2, sparsity=0.0)
        cell = cells.Config(name=name, units=n, mode=mode, r_min=0.5, r_max=0.95)
        net = networks.Network(inputs, outputs, config, cell, rng, np.float64)
        net.p.flat[:] += 0.1 * rng.normal(size=net.p.flat.size)
        xs = rng.normal(size=(steps, inputs))
        varied = Views({"p": net.p.layout, "x": (inputs,)})
        varied.p.flat[:], varied.x = net.p.flat, xs[-1]

        def run(net, x):
            """Run to the last step; returns what ``forward`` gives there."""
            for t, x_t in enumerate(xs[:-1].astype(x.dtype)):
                if t in starts:
                    net.reset()
                net.forward(x_t)
            return net.forward(x)

        def claimed(v):
            """Compute the output with each parameter varied where its gradient says it is."""
            past = v.p.copy()
            past.encoder.flat[:] = net.p.encoder.flat  # one step's gradient: the past stands still
            if mode != "rtrl":
                past.cell.flat[:] = net.p.cell.flat
            moving = twin(net, past)
            moving.mode = "frozen"
            for t, x in enumerate(xs[:-1].astype(v.x.dtype)):
                if t in starts:
                    moving.reset()
                moving.forward(x)
            moving.p = v.p
            if mode == "frozen":
                moving.p = v.p.copy()
                moving.p.cell.flat[:] = net.p.cell.flat
            return moving.peek(v.x)

        def vjp(g, v):
            own = twin(net, v.p)
            _, cache = run(own, v.x)
            found = v.like()
            found.x = own.vjp(cache, g)
            found.p.flat[:] = own.grad.flat
            return found

        return Problem(claimed, vjp, varied, claim="; ".join(filter(None, [CLAIMS[mode], ENCODER])))

    return problem


def unrolled_network_problem(name, mode, n=3, width=4, inputs=3, steps=9, segment=3):
    """Make the Problem of a network unrolled over the segments of one stored sequence.

    Inside a segment all is exact. The state that a segment begins from moves with the cell's
    parameters in mode "rtrl", by way of its sensitivities, and stands still otherwise.
    """
    claim = {
        "rtrl": "the encoder's gradient stops where a segment begins",
        "tbptt1": "all gradients stop where a segment begins",
        "frozen": "no gradient of the cell; the encoder's stops where a segment begins",
    }[mode]

    def problem(rng):
        config = networks.Config(width=width, blocks=1, sparsity=0.0)
        cell = cells.Config(name=name, units=n, mode=mode, r_min=0.5, r_max=0.95)
        net = networks.Network(inputs, 2, config, cell, rng, np.float64)
        net.p.flat[:] += 0.1 * rng.normal(size=net.p.flat.size)
        x, starts = rng.normal(size=(steps, inputs)), np.zeros(steps, bool)
        starts[[0, 4]] = True

        def cut(sequence):
            """Lay the segments of a sequence side by side: (steps, …) → (segment, m, …)."""
            shape = (-1, segment, *sequence.shape[1:])
            return sequence.reshape(shape).swapaxes(0, 1)

        def claimed(p):
            still = Views(net.p.layout, flat=net.p.flat.astype(p.flat.dtype))
            past = still.copy()
            if mode == "rtrl":
                past.cell.flat[:] = p.cell.flat
            memory = twin(net, past).replay(x.astype(p.flat.dtype), starts, segment)
            own = twin(net, p.copy())
            if mode == "frozen":
                own.p.cell.flat[:] = still.cell.flat
            return own.unroll(cut(x.astype(p.flat.dtype)), memory, cut(starts))[0]

        def vjp(g, p):
            own = twin(net, p)
            memory = own.replay(x.astype(p.flat.dtype), starts, segment)
            _, cache = own.unroll(cut(x.astype(p.flat.dtype)), memory, cut(starts))
            own.unroll_vjp(cache, g)
            return own.grad

        return Problem(claimed, vjp, net.p.copy(), claim=claim)

    return problem
