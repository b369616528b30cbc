"""a1: linear, layer norm and leaky ReLU, each forward and back."""

# m outputs, d inputs

import numpy as np

from ... import layers, networks
from ...arrays import Views
from ...swapping import swap
from .. import judge
from ..tasks import Assignment, Task

CONSTANTS = {
    "leak": ("0.01", ("0.02", "0.05", "0.07", "0.15", "0.3")),
    "eps": ("1e-5", ("1e-4", "3e-4", "1e-3", "3e-3")),
}


def constants_in_library(c):
    """Give the library's layers the constants of a variant."""
    return swap(layers, LEAK=c["leak"], LAYER_NORM_EPS=c["eps"])


def sizes(rng):
    """Draw m, d and a batch size, all different."""
    return (int(n) for n in 2 + rng.permutation(4)[:3])


def linear(ask, rng, c):
    """One sample and a batch."""
    m, d, batch = sizes(rng)
    W, b = rng.normal(size=(m, d)), rng.normal(size=m)
    lines = []
    for x in rng.normal(size=d), rng.normal(size=(batch, d)):
        what = f"linear on x of shape {x.shape}"
        got, right = ask("plain", "linear", x, W, b), layers.linear(x, W, b)
        suspects = {"b is left out": right - b, "b is to be added": right - 2 * b}
        lines += judge.values(what, got, right, suspects=suspects)
    return lines


def linear_vjp(ask, rng, c):
    """One sample and a batch; and a square W, so that a transposed one has the right shape."""
    m, d, batch = sizes(rng)
    lines = []
    for x, rows in ((rng.normal(size=d), m), (rng.normal(size=(batch, d)), d)):
        W, b = rng.normal(size=(rows, d)), rng.normal(size=rows)
        lines += judge.gradient(
            f"linear_vjp on x of shape {x.shape}",
            layers.linear,
            lambda g, x, W, b: ask("plain", "linear_vjp", g, x, W),
            {"x": x, "W": W, "b": b},
        )
    return lines


def samples(rng, d):
    """Draw two samples; the variance of the second is about ε, so that ε counts."""
    return rng.normal(size=(2, d)) * np.array([[1.0], [0.005]]) + np.array([[0.5], [0.0]])


def layer_norm(ask, rng, c):
    """Both results, one sample and a batch."""
    lines = []
    both = samples(rng, int(rng.integers(4, 8)))
    for x in both[0], both[1], both:
        got = ask("plain", "layer_norm", x)
        lines += judge.several("layer_norm", got, 2)
        if lines:
            return lines
        with constants_in_library(c):
            right = layers.layer_norm(x)
        std = f"layer_norm on x of shape {x.shape}, with a standard deviation of {x.std():.1g}:"
        guesses = inverses(x, c["eps"])
        known = {words: (x - x.mean(-1, keepdims=True)) * guess for words, guess in guesses.items()}
        lines += judge.values(f"{std} y", got[0], right[0], suspects=known)
        guesses["this is √(σ² + ε), not 1 divided by it"] = 1 / right[1]
        lines += judge.values(f"{std} inv_std", got[1], right[1], suspects=guesses)
    return lines


def inverses(x, eps):
    """List what inv_std comes to by one mistake each."""
    d, var = x.shape[-1], x.var(-1, keepdims=True)
    return {
        "ε is missing": 1 / np.sqrt(var),
        "ε belongs under the root": 1 / (np.sqrt(var) + eps),
        "the root is missing": 1 / (var + eps),
        "the variance divides by d, not by d − 1": 1 / np.sqrt(var * d / (d - 1) + eps),
        "a sum where the variance wants a mean": 1 / np.sqrt(var * d + eps),
    }


def layer_norm_vjp(ask, rng, c):
    """Two samples at once, and each alone."""
    both = samples(rng, int(rng.integers(4, 8)))

    def guess(by_mean, by_std):
        """Pull back with other weights of the ways through the mean and the deviation."""

        def pull(g, x):
            y, inv_std = layers.layer_norm(x)
            means = (a.mean(-1, keepdims=True) for a in (g, g * y))
            return inv_std * (g - by_mean * next(means) - by_std * y * next(means))

        return pull

    suspects = {
        "the standard deviation is held still: it depends on x too": guess(1, 0),
        "the mean is held still: it depends on x too": guess(0, 1),
        "mean and standard deviation are held still: both depend on x": guess(0, 0),
        "the sign of the way through inv_std": guess(1, -1),
        "the sign of the way through μ": guess(-1, 1),
        "−½ inv_std³ and the 2 of the square: one of them is missing": guess(1, 2),
        "a sum over the axis where the way through inv_std wants a mean": guess(1, both.shape[-1]),
    }
    lines = []
    with constants_in_library(c):
        for x in both, both[0], both[1]:
            lines = lines or judge.gradient(
                f"layer_norm_vjp on x of shape {x.shape}",
                lambda x: layers.layer_norm(x)[0],
                lambda g, x: ask("plain", "layer_norm_vjp", g, *layers.layer_norm(x)),
                {"x": x},
                suspects=suspects,
            )
    return lines


def off_the_kink(rng, shape):
    """Draw numbers on both sides of 0, none near it."""
    x = rng.normal(size=shape)
    x.flat[:2] = -1.3, 0.7
    return x + 0.1 * np.sign(x)


def leaky_relu(ask, rng, c):
    """Both sides of zero, a batch and one sample."""
    both, lines = off_the_kink(rng, (2, int(rng.integers(4, 8)))), []
    with constants_in_library(c):
        for x in both, both[0]:
            what = f"leaky_relu on x of shape {x.shape}"
            got = ask("plain", "leaky_relu", x)
            lines = lines or judge.values(what, got, layers.leaky_relu(x))
    return lines


def leaky_relu_vjp(ask, rng, c):
    """Both sides of zero, a batch and one sample."""
    both, lines = off_the_kink(rng, (2, int(rng.integers(4, 8)))), []
    with constants_in_library(c):
        for x in both, both[0]:
            lines = lines or judge.gradient(
                f"leaky_relu_vjp on x of shape {x.shape}",
                layers.leaky_relu,
                lambda g, x: ask("plain", "leaky_relu_vjp", g, x),
                {"x": x},
            )
    return lines


def dense(ask, rng, c):
    """The library's dense layer, made of the student's six functions: a batch and one sample."""
    m, d, batch = sizes(rng)
    W, b, xs = rng.normal(size=(m, d)), rng.normal(size=m), rng.normal(size=(batch, d))

    def f(x, W, b):
        p = Views({"W": W.shape, "b": b.shape}, W.dtype)
        p.W, p.b = W, b
        return networks.dense(x, p)[0]

    lines = []
    with constants_in_library(c):
        for x in xs, xs[0]:
            what, right = f"the dense layer on x of shape {x.shape}", f(x, W, b)
            got = ask("dense_layer", x, W, b, np.ones_like(right))
            lines = lines or judge.values(f"{what}: its output", got[0], right)
            lines = lines or judge.gradient(
                what,
                f,
                lambda g, x, W, b: ask("dense_layer", x, W, b, g)[1:],
                {"x": x, "W": W, "b": b},
            )
    return lines


SHEET = Assignment(
    "a1",
    "a1_layers",
    "Layers and their derivatives",
    (
        Task("linear", 1, linear),
        Task("linear_vjp", 3, linear_vjp),
        Task("layer_norm", 1, layer_norm),
        Task("layer_norm_vjp", 3, layer_norm_vjp),
        Task("leaky_relu", 1, leaky_relu),
        Task("leaky_relu_vjp", 1, leaky_relu_vjp),
        Task("dense", 2, dense),
    ),
    tuple(
        f"layers.{name}{back}"
        for name in ("linear", "layer_norm", "leaky_relu")
        for back in ("", "_vjp")
    ),
    CONSTANTS,
)
