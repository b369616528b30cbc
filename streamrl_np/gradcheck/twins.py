"""Twins: every cell once more, written apart from the library, in real arithmetic.

Complex numbers are spelled out as pairs, so that a twin can be differentiated by complex
steps (:func:`differences.complex_step`); and each has its own one-step vjp, derived by hand
from that form, for backpropagation through time. Nothing here is fast or shared with
``cells``: that is the point.

A twin's ``step(p, h, x)`` returns (h_t, y_t); its vjp takes the gradients of both and returns
those of the parameters and of h_{t−1}. Parameters are a dict of real arrays in which a
complex one is two: ``B_re`` and ``B_im``.
"""

# n units, d inputs

import types
from functools import partial

import numpy as np

from .differences import complex_step


def split(views):
    """Copy the arrays of a Views into a dict of real ones."""
    real = {}
    for name, array in views.items():
        if np.iscomplexobj(array):
            real[f"{name}_re"], real[f"{name}_im"] = array.real.copy(), array.imag.copy()
        else:
            real[name] = array.copy()
    return real


def join(real, layout_of):
    """Write a dict of real arrays into a new Views like ``layout_of``."""
    views = layout_of.like()
    for name, array in views.items():
        if np.iscomplexobj(array):
            array.real, array.imag = real[f"{name}_re"], real[f"{name}_im"]
        else:
            array[...] = real[name]
    return views


def entries(views):
    """List (name in :func:`split`, index) for every float of a Views, in the order of ``flat``."""
    for name, array in views.items():
        parts = (f"{name}_re", f"{name}_im") if np.iscomplexobj(array) else (name,)
        for index in np.ndindex(array.shape):
            yield from ((part, index) for part in parts)


def complex_slopes(f, p, entries):
    """Differentiate ``f(p)`` by some entries of a dict of complex arrays; a row an entry."""

    def moved(name, index, step):
        held = p[name][index]
        p[name][index] = held + step
        value = f(p)
        p[name][index] = held
        return value

    return np.array([complex_step(partial(moved, *at)) for at in entries])


def sigmoid(a):
    """Compute 1/(1 + exp(−a)), for complex numbers too."""
    return 1.0 / (1.0 + np.exp(-a))


def rtu_parts(p, x):
    """Compute |λ|, cos θ, sin θ, γ and the two parts of B x."""
    r, theta = np.exp(-np.exp(p["nu_log"])), np.exp(p["theta_log"])
    return r, np.cos(theta), np.sin(theta), np.sqrt(1 - r * r), p["B_re"] @ x, p["B_im"] @ x


def rtu_turn(p, h, x):
    """Turn and shrink the pair (a, b), and take in the input; h = [a; b] (2n,)."""
    r, cos, sin, gamma, u, w = rtu_parts(p, x)
    a, b = np.split(h, 2)
    turned = np.tile(r, 2) * np.concatenate([cos * a - sin * b, sin * a + cos * b])
    return turned + np.concatenate([gamma * u, gamma * w])


def rtu_turn_vjp(p, h, x, g):
    """Pull ``g`` (2n,) back through :func:`rtu_turn`."""
    r, cos, sin, gamma, u, w = rtu_parts(p, x)
    (a, b), (ga, gb) = np.split(h, 2), np.split(g, 2)
    g_cos, g_sin = r * (ga * a + gb * b), r * (gb * a - ga * b)
    g_gamma = ga * u + gb * w
    g_r = (g_cos * cos + g_sin * sin) / r - g_gamma * r / gamma
    grads = {
        "nu_log": -g_r * r * np.exp(p["nu_log"]),
        "theta_log": (g_sin * cos - g_cos * sin) * np.exp(p["theta_log"]),
        "B_re": np.outer(gamma * ga, x),
        "B_im": np.outer(gamma * gb, x),
    }
    gh = np.concatenate([r * (cos * ga + sin * gb), r * (cos * gb - sin * ga)])
    return grads, gh


def rtu(p, h, x):
    """Take a step of the linear RTU: tanh reads the state out."""
    h = rtu_turn(p, h, x)
    return h, np.tanh(h)


def rtu_vjp(p, h, x, gh, gy):
    """Pull the gradients of h_t and y_t back through :func:`rtu`."""
    y = np.tanh(rtu_turn(p, h, x))
    return rtu_turn_vjp(p, h, x, gh + gy * (1 - y**2))


def rtu_nonlinear(p, h, x):
    """Take a step of the nonlinear RTU: tanh is part of the state."""
    h = np.tanh(rtu_turn(p, h, x))
    return h, h


def rtu_nonlinear_vjp(p, h, x, gh, gy):
    """Pull the gradients of h_t and y_t back through :func:`rtu_nonlinear`."""
    y = np.tanh(rtu_turn(p, h, x))
    return rtu_turn_vjp(p, h, x, (gh + gy) * (1 - y**2))


def mingru(p, h, x):
    """Take a step of minGRU."""
    a = p["W_c"] @ x + p["b_c"]
    u = sigmoid(p["W_u"] @ x + p["b_u"])
    h = h + u * (np.where(a.real >= 0, a + 0.5, sigmoid(a)) - h)
    return h, h


def mingru_vjp(p, h, x, gh, gy):
    """Pull the gradients of h_t and y_t back through :func:`mingru`."""
    g = gh + gy
    a = p["W_c"] @ x + p["b_c"]
    u, s = sigmoid(p["W_u"] @ x + p["b_u"]), sigmoid(a)
    c, slope = np.where(a >= 0, a + 0.5, s), np.where(a >= 0, 1, s * (1 - s))
    g_u, g_c = g * (c - h) * u * (1 - u), g * u * slope
    grads = {"W_u": np.outer(g_u, x), "b_u": g_u, "W_c": np.outer(g_c, x), "b_c": g_c}
    return grads, g * (1 - u)


def gru_gates(p, h, x):
    """Compute r, z and c of the GRU."""
    r, z = (sigmoid(p["W"][k] @ x + p["b"][k] + p["U"][k] @ h) for k in (0, 1))
    return r, z, np.tanh(p["W"][2] @ x + p["b"][2] + r * (p["U"][2] @ h))


def gru(p, h, x):
    """Take a step of the GRU."""
    _, z, c = gru_gates(p, h, x)
    h = c + z * (h - c)
    return h, h


def gru_vjp(p, h, x, gh, gy):
    """Pull the gradients of h_t and y_t back through :func:`gru`."""
    g = gh + gy
    r, z, c = gru_gates(p, h, x)
    U = p["U"]
    g_c = g * (1 - z) * (1 - c * c)
    g_r, g_z = g_c * (U[2] @ h) * r * (1 - r), g * (h - c) * z * (1 - z)
    g_in, g_state = np.stack([g_r, g_z, g_c]), np.stack([g_r, g_z, g_c * r])
    grads = {
        "W": g_in[:, :, None] * x,
        "b": g_in,
        "U": g_state[:, :, None] * h,
    }
    return grads, g * z + sum(gate @ matrix for gate, matrix in zip(g_state, U, strict=True))


def feedforward(p, h, x):
    """Take a step without a memory; h is empty."""
    return h, np.tanh(p["W"] @ x)


def feedforward_vjp(p, h, x, gh, gy):
    """Pull the gradient of y_t back through :func:`feedforward`."""
    g = gy * (1 - np.tanh(p["W"] @ x) ** 2)
    return {"W": np.outer(g, x)}, gh


PARTS = {"rtu": 2, "rtu_nonlinear": 2, "mingru": 1, "gru": 1, "feedforward": 0}  # numbers a unit


def twin(name):
    """Find a cell's twin: its ``step``, its ``vjp``, and how many numbers a unit carries."""
    return types.SimpleNamespace(
        step=globals()[name], vjp=globals()[f"{name}_vjp"], parts=PARTS[name]
    )
