"""Ways to ask student code: each takes numbers and arrays, and gives numbers and arrays back.

A harness sets the student's functions up with the library around them and reports what they
did. It knows nothing of what is right.
"""

# n units, d inputs (of a cell) or width (of a network), T steps

import numpy as np

from ... import cells, layers, networks
from ...arrays import Views
from ...cells import rtu
from .student import Mistake, describe, seconds

HARNESSES = {}
UNWRITTEN = 7.25  # what a gradient is filled with before student code writes it


def harness(function):
    """Register a harness under its name."""
    HARNESSES[function.__name__] = function
    return function


def answer(student, name, arguments, limit):
    """Ask student code through the harness ``name``; raises Mistake for what they did wrong."""
    with seconds(limit, "it"), np.errstate(all="ignore"):
        try:
            return HARNESSES[name](student, *arguments)
        except Mistake:
            raise
        except Exception as error:
            raise Mistake(f"the library stops on your functions: {describe(error)}") from error


@harness
def plain(student, name, *args):
    """Call one function that may not change its arguments."""
    return student.pure(name, *args)


@harness
def in_place(student, name, *args):
    """Call one function that works in place; gives what it returned and its arrays after."""
    result = student.call(name, *args)
    return result, [a for a in args if isinstance(a, np.ndarray)]


@harness
def value(student, name):
    """Give a value that their notebook defines, an array or a number or text."""
    if name not in student.namespace:
        raise Mistake(f"there is no {name}: was its cell deleted, renamed, or never run?")
    return student.namespace[name]


def in_library(student, owner, *names):
    """Swap functions of the library for the student's of the same names."""
    from ..swapping import swap

    return swap(owner, **{name: student.function(name) for name in names})


@harness
def dense_layer(student, x, W, b, g):
    """Pull ``g`` back through the library's dense layer, made of the student's functions."""
    p = Views({"W": W.shape, "b": b.shape})
    p.W, p.b, grad = W, b, p.like()
    own = student.function("linear_vjp")

    def linear_vjp(g, x, W, gW=None):
        """Write ∂L/∂W where the library wants it."""
        gx, new, gb = own(g, x, W)
        gW[...] = new
        return gx, new, gb

    names = ("linear", "layer_norm", "leaky_relu", "linear_vjp", "layer_norm_vjp", "leaky_relu_vjp")
    with student.standing_in(linear_vjp=linear_vjp), in_library(student, layers, *names):
        _, cache = networks.dense(x, p)
        gx = networks.dense_vjp(g, cache, p, grad)
    return gx, grad.W, grad.b


def rtu_views(n, d, flat):
    """Look at a flat vector as the parameters of an RTU."""
    return Views(rtu.layout(n, d), flat=flat.copy())


@harness
def rtu_gates(student, nu_log, theta_log):
    """Ask for the gates."""
    p = Views(rtu.layout(len(nu_log), 1))
    p.nu_log, p.theta_log = nu_log, theta_log
    before = p.flat.copy()
    found = student.call("gates", p)
    if not np.array_equal(before, p.flat):
        raise Mistake("gates changes the parameters: it may only read them")
    return found


@harness
def rtu_jacobian(student, gates, h_prev, Bx):
    """Ask for the immediate Jacobian."""
    return student.pure("immediate_jacobian", rtu.Gates(*gates), h_prev, Bx)


@harness
def rtu_advance(student, flat, n, d, state_flat, x, mode, gates, jacobian):
    """Advance once, with gates and immediate Jacobian given; the state after, and y."""
    p, state = rtu_views(n, d, flat), Views(rtu.state_layout(n, d), flat=state_flat.copy())

    def given_gates(p):
        return rtu.Gates(*(a.copy() for a in gates))

    def given_jacobian(*args):
        return tuple(a.copy() for a in jacobian)

    with student.standing_in(gates=given_gates, immediate_jacobian=given_jacobian):
        cache = student.call("advance", p, state, x, mode)
    if not np.array_equal(p.flat, flat):
        raise Mistake("advance changes the parameters: only the state may change")
    return state.flat, np.asarray(field(cache, "y", "advance must return a Cache"))


def field(cache, name, words):
    """Read a field of what student code returned."""
    if not hasattr(cache, name):
        raise Mistake(f"{words}; it returned a {type(cache).__name__}")
    return getattr(cache, name)


@harness
def rtu_vjp(student, flat, n, d, state_flat, gates, x, h_prev, y, gy):
    """Pull ``gy`` back through a step that was taken for them; the gradient and ∂L/∂x."""
    p, state = rtu_views(n, d, flat), Views(rtu.state_layout(n, d), flat=state_flat.copy())
    cache, grad = rtu.Cache(rtu.Gates(*gates), x, h_prev, y), p.like()
    grad.flat[:] = UNWRITTEN
    gx = student.call("vjp", p, state, cache, gy, grad)
    for name, array in grad.items():
        if np.all(array.view(np.float64) == UNWRITTEN):
            raise Mistake(f"vjp does not write grad.{name}: write into it, grad.{name}[:] = …")
    if not np.array_equal(state.flat, state_flat):
        raise Mistake("vjp changes the state: it may only read it")
    return grad.flat, gx


def rtrl(student, flat, n, d, xs, gys):
    """Sum the gradients of all steps, forwards, on the student's own functions."""
    p, state, grad = rtu_views(n, d, flat), Views(rtu.state_layout(n, d)), rtu_views(n, d, flat)
    total = np.zeros_like(flat)
    for x, gy in zip(xs, gys, strict=True):
        cache = student.call("advance", p, state, x, "rtrl")
        student.call("vjp", p, state, cache, gy, grad)
        total += grad.flat
    return total


@harness
def rtu_rtrl(student, flat, n, d, xs, gys):
    """Give the gradient over a sequence by real-time recurrent learning."""
    return rtrl(student, flat, n, d, xs, gys)


@harness
def rtu_bptt(student, flat, n, d, xs, gys):
    """Give the gradient over a sequence by backpropagation through time."""
    p, grad = rtu_views(n, d, flat), rtu_views(n, d, flat)
    grad.flat[:] = UNWRITTEN
    student.call("bptt", p, xs, gys, grad)
    if np.all(grad.flat == UNWRITTEN):
        raise Mistake("bptt does not write grad: write into it, grad.B[:] = …")
    return grad.flat


@harness
def rtu_network(student, seed, xs, g):
    """Give a library network's gradient after some steps, its RTU made of the student's."""
    names = ("gates", "immediate_jacobian", "advance", "vjp")
    cell = cells.Config(units=4, r_min=0.5, r_max=0.95)
    rng = np.random.default_rng(seed)
    network = networks.Network(
        xs.shape[1], 2, networks.Config(width=5, sparsity=0.0), cell, rng, np.float64
    )
    with in_library(student, rtu, *names):
        for x in xs:
            output, cache = network.forward(x)
        network.vjp(cache, g)
    return output, network.grad.flat
