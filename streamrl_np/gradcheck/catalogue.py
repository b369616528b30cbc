"""What is checked: one entry for each derivative of the package.

To add one, write a function of ``rng`` that returns a :class:`Problem` under ``@entry``, with
the names of the derivatives that it covers. Cells and the networks made of them are found in
``cells.CELLS``; a policy takes one line in ``POLICIES``.
"""

# n units, d inputs, k outputs, T steps

import inspect

import numpy as np

from .. import layers, policies
from ..cells import CELLS, MODES
from . import recurrent
from .check import Problem
from .registry import Check, derivatives_of

ENTRIES = []


def entry(name, *covers, **options):
    """Register a function of ``rng`` that makes a Problem."""

    def register(problem):
        ENTRIES.append(Check(name, covers, problem, options=options))
        return problem

    return register


def everything():
    """List all checks, in reading order."""
    yield from ENTRIES
    yield from policy_checks()
    for name in CELLS:
        yield from recurrent.cell_checks(name)
    for name in CELLS:
        for mode in MODES:
            yield recurrent.network_check(name, mode)


@entry("layers.linear", "layers.linear_vjp")
def linear(rng):
    """One sample."""
    x, W, b = rng.normal(size=5), rng.normal(size=(3, 5)), rng.normal(size=3)
    return Problem(layers.linear, lambda g, x, W, b: layers.linear_vjp(g, x, W), (x, W, b))


@entry("layers.linear, batch", "layers.linear_vjp")
def linear_batch(rng):
    """A batch; square W, so that a transposed gradient has the right shape."""
    x, W, b = rng.normal(size=(4, 5)), rng.normal(size=(5, 5)), rng.normal(size=5)
    return Problem(layers.linear, lambda g, x, W, b: layers.linear_vjp(g, x, W), (x, W, b))


@entry("layers.layer_norm", "layers.layer_norm_vjp")
def layer_norm(rng):
    """Two samples; the second with a variance near ε, where a misplaced ε counts."""
    x = rng.normal(size=(2, 6)) * np.array([[1.0], [0.005]])
    eps = layers.LAYER_NORM_EPS

    def by_another_std(x, std):
        y = (x - x.mean(-1, keepdims=True)) / std
        return lambda g: layers.layer_norm_vjp(g, y, 1 / std)

    def outside(g, x):
        return by_another_std(x, x.std(-1, keepdims=True) + eps)(g)

    def without(g, x):
        return by_another_std(x, x.std(-1, keepdims=True))(g)

    def still_std(g, x):
        y, inv_std = layers.layer_norm(x)
        return inv_std * (g - g.mean(-1, keepdims=True))

    return Problem(
        lambda x: layers.layer_norm(x)[0],
        lambda g, x: layers.layer_norm_vjp(g, *layers.layer_norm(x)),
        (x,),
        suspects={
            "ε is added to the standard deviation, not to the variance": outside,
            "ε is forgotten": without,
            "the standard deviation is held still": still_std,
        },
    )


@entry("layers.leaky_relu", "layers.leaky_relu_vjp")
def leaky_relu(rng):
    """Both sides of the kink, none on it."""
    x = rng.normal(size=8)
    return Problem(layers.leaky_relu, layers.leaky_relu_vjp, (x + 0.1 * np.sign(x),))


@entry("layers.softplus", "layers.softplus_vjp")
def softplus(rng):
    """From −20 to 20: both ends are straight."""
    x = np.concatenate([rng.normal(size=6), [-20.0, 20.0]])
    return Problem(layers.softplus, layers.softplus_vjp, (x,))


def by_output(name, size=6):
    """Register a layer whose vjp takes the layer's output: one sample and a batch."""
    forward, vjp = getattr(layers, name), getattr(layers, f"{name}_vjp")

    @entry(f"layers.{name}", f"layers.{name}_vjp")
    def problem(rng):
        x = rng.normal(size=(2, size))
        return Problem(forward, lambda g, x: vjp(g, forward(x)), (x,))


for layer in ("tanh", "sigmoid", "softmax", "log_softmax"):
    by_output(layer)

POLICIES = {"Categorical": lambda: policies.Categorical(5)}


def policy_checks():
    """List the checks of every policy: each method ``X_gradient`` against its method ``X``."""
    for name, make in POLICIES.items():
        for covered in derivatives_of("policies"):
            _, owner, method = covered.split(".")
            if owner == name:
                yield Check(f"policies.{name}.{method}", (covered,), policy_problem(make, method))


def policy_problem(make, method):
    """Make the Problem of one gradient of a policy, at an action that it draws itself."""

    def problem(rng):
        policy = make()
        outputs = rng.normal(size=policy.outputs)
        action, weight = policy.sample(outputs, rng), -0.3
        if method == "gradient":
            return Problem(
                lambda x: policy.log_prob(x, action) + weight * policy.entropy(x),
                lambda x: policy.gradient(x, action, weight),
                (outputs,),
                kind="gradient",
                suspects={
                    "the entropy term has the wrong sign": lambda g, x: policy.gradient(
                        x, action, -weight
                    ),
                    "the entropy term is missing": lambda g, x: policy.gradient(x, action, 0.0),
                },
            )
        forward, gradient = getattr(policy, method.removesuffix("_gradient")), getattr(policy, method)
        rest = (action,) if "action" in inspect.signature(forward).parameters else ()
        return Problem(
            lambda x: forward(x, *rest), lambda x: gradient(x, *rest), (outputs,), kind="gradient"
        )

    return problem
