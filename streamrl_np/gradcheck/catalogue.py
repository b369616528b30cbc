"""What is checked: one entry for each derivative of the package.

To add one, write a function of ``rng`` that returns a :class:`Problem` under ``@entry``, with
the names of the derivatives that it covers. Cells and the networks made of them are found in
``cells.CELLS``; a policy takes one line in ``POLICIES``.
"""

# n units, d inputs, k outputs, T steps

import copy
import inspect
import re

import numpy as np

from .. import cells, layers, networks, policies
from ..agents import ppo
from ..arrays import Views
from ..cells import CELLS
from . import behaviour, plain_ppo, recurrent
from .check import Problem
from .registry import Check

ENTRIES = []


def entry(name, *covers, **options):
    """Register a function of ``rng`` that makes a Problem."""

    def register(problem):
        ENTRIES.append(Check(name, covers, problem, options=options))
        return problem

    return register


def everything():
    """List all checks, in reading order."""
    yield from (check for check in ENTRIES if check.name.startswith("layers"))
    for name in CELLS:
        yield from recurrent.cell_checks(name)
    for name in CELLS:
        yield from recurrent.network_checks(name)
    yield from (check for check in ENTRIES if check.name.startswith("policies"))
    yield from policy_checks()
    early = ("layers", "policies")
    yield from (check for check in ENTRIES if not check.name.startswith(early))
    yield from behaviour_checks()


def behaviour_checks():
    """List the checks of optimizers and agents, each beside the same thing written plainly."""
    yield Check("optimizers.accumulate", run_=behaviour.trace_run)
    yield Check("optimizers.ObGD", run_=behaviour.bounded_run)
    yield Check("optimizers.AdaptiveObGD", run_=behaviour.adaptive_run)
    yield Check("optimizers.Adam", run_=behaviour.adam_run)
    yield Check("agents.TD, beside a plain one", run_=behaviour.td_run)
    for policy, cell in ("Categorical", "rtu"), ("Gaussian", "mingru"):
        run = behaviour.actor_critic_run(policy, cell)
        yield Check(f"agents.ActorCritic, {policy}, {cell}, beside a plain one", run_=run)
    yield Check("agents.StreamQ, beside a plain one", run_=behaviour.q_run)
    yield Check("agents.QRC, beside a plain one", run_=behaviour.qrc_run)
    yield Check("agents.PPO, beside a plain one", run_=plain_ppo.run)


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
        _, inv_std = layers.layer_norm(x)
        return inv_std * (g - g.mean(-1, keepdims=True))

    def still_mean(g, x):
        y, inv_std = layers.layer_norm(x)
        return inv_std * (g - y * (g * y).mean(-1, keepdims=True))

    return Problem(
        lambda x: layers.layer_norm(x)[0],
        lambda g, x: layers.layer_norm_vjp(g, *layers.layer_norm(x)),
        (x,),
        suspects={
            "ε is added to the standard deviation, not to the variance": outside,
            "ε is forgotten": without,
            "the standard deviation is held still": still_std,
            "the mean is held still": still_mean,
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


def by_output(name):
    """Register a layer whose vjp takes the layer's output: one sample and a batch."""

    @entry(f"layers.{name}", f"layers.{name}_vjp")
    def problem(rng):
        forward, vjp = getattr(layers, name), getattr(layers, f"{name}_vjp")
        x = rng.normal(size=(2, 6))
        return Problem(forward, lambda g, x: vjp(g, forward(x)), (x,))


for layer in ("tanh", "sigmoid", "softmax", "log_softmax"):
    by_output(layer)

POLICIES = {
    "Categorical": lambda: policies.Categorical(5),
    "Gaussian": lambda: policies.Gaussian(3),
}


def policy_checks():
    """List the checks of every policy: each method ``X_gradient`` against its method ``X``."""
    for name, make in POLICIES.items():
        for method, function in inspect.getmembers(getattr(policies, name), inspect.isfunction):
            if re.fullmatch("(.*_)?gradient", method):
                covers = (f"policies.{function.__qualname__}",)
                yield Check(f"policies.{name}.{method}", covers, policy_problem(make, method))


def policy_problem(make, method):
    """Make the Problem of one gradient of a policy, at an action that it draws itself."""

    def problem(rng):
        policy = make()
        outputs = rng.normal(size=policy.outputs)
        action = policy.sample(outputs, rng)
        if method == "gradient":
            return policy_objective(policy, outputs, action, -0.3)
        forward, gradient = getattr(policy, method[: -len("_gradient")]), getattr(policy, method)
        rest = (action,) if "action" in inspect.signature(forward).parameters else ()
        return Problem(
            lambda x: forward(x, *rest), lambda x: gradient(x, *rest), (outputs,), kind="gradient"
        )

    return problem


def policy_objective(policy, outputs, action, weight):
    """Make the Problem of what an actor climbs: log π(a) + weight · H(π)."""

    def with_weight(w):
        return lambda g, x: policy.gradient(x, action, w)

    return Problem(
        lambda x: policy.log_prob(x, action) + weight * policy.entropy(x),
        lambda x: policy.gradient(x, action, weight),
        (outputs,),
        kind="gradient",
        suspects={
            "the entropy term has the wrong sign": with_weight(-weight),
            "the entropy term is missing": with_weight(0.0),
        },
    )


@entry("policies.Gaussian.moments", "policies.Gaussian.moments_vjp")
def gaussian_moments(rng):
    """Mean and standard deviation."""
    policy = policies.Gaussian(3)
    return Problem(policy.moments, policy.moments_vjp, (rng.normal(size=6),))


@entry("agents.ppo.policy_loss", "agents.ppo.policy_loss_gradient")
def ppo_policy_loss(rng):
    """Both signs of the advantage, inside the clip and outside it on either side."""
    log_ratio = np.tile([-0.5, -0.05, 0.05, 0.5], 2)
    advantage = np.repeat([1.0, -1.0], 4) * rng.uniform(0.5, 2.0, 8)
    return Problem(
        lambda log_pi: ppo.policy_loss(np.exp(log_pi), advantage, 0.2),
        lambda log_pi: ppo.policy_loss_gradient(np.exp(log_pi), advantage, 0.2),
        (log_ratio,),
        kind="gradient",
    )


def ppo_value_problem(clip):
    """Make the Problem of PPO's value loss: near the old values and far, on both sides."""

    def problem(rng):
        v_old, target = rng.normal(size=8), rng.normal(size=8)
        v = v_old + np.tile([-0.5, -0.05, 0.05, 0.5], 2)
        target[:4], target[4:] = v_old[:4] + 1.0, v_old[4:] - 1.0
        return Problem(
            lambda v: ppo.value_loss(v, v_old, target, clip),
            lambda v: ppo.value_loss_gradient(v, v_old, target, clip),
            (v,),
            kind="gradient",
        )

    return problem


for clip in (0.2, None):
    name = "agents.ppo.value_loss" + ("" if clip else ", no clip")
    ENTRIES.append(Check(name, ("agents.ppo.value_loss_gradient",), ppo_value_problem(clip)))


@entry("agents.ppo.PPO.gradient", "agents.ppo.PPO.gradient", entries=8, directions=1)
def ppo_minibatch(rng):
    """Both losses of one minibatch, segments that begin from a still state."""
    config = ppo.Config(rollout=12, segment=3, minibatches=1, entropy=0.1, value_clip=None)
    network = networks.Config(width=4, blocks=1, sparsity=0.0)
    policy = policies.Categorical(3)
    agent = ppo.PPO(3, policy, rng, config, network, cells.Config(units=3), np.float64)
    T, m = 3, 2
    batch = {
        "observations": rng.normal(size=(T, m, 3)),
        "starts": np.zeros((T, m), bool),
        "actions": rng.integers(3, size=(T, m)),
        "log_probs": np.log(rng.uniform(0.2, 0.5, (T, m))),
        "advantages": rng.normal(size=(T, m)),
        "values": rng.normal(size=(T, m)),
    }
    inputs = Views({"actor": agent.actor.p.layout, "critic": agent.critic.p.layout})
    inputs.flat[:] = np.concatenate([agent.actor.p.flat, agent.critic.p.flat])
    inputs.flat[:] += 0.1 * rng.normal(size=inputs.flat.size)

    def twins(v):
        """Put the parameters v into the agent's networks; the state they begin from is zero."""
        own = copy.copy(agent)
        own.actor, own.critic = (recurrent.twin(getattr(agent, k), v[k]) for k in v.layout)
        memory = {k: np.zeros((m, *a.shape), a.dtype) for k, a in own.actor.state.items()}
        return own, batch | {"observations": batch["observations"].astype(v.flat.dtype)}, memory

    def loss(v):
        own, steps, memory = twins(v)
        outputs, _ = own.actor.unroll(steps["observations"], memory, batch["starts"])
        values, _ = own.critic.unroll(steps["observations"], memory, batch["starts"])
        ratio = np.exp(policy.log_prob(outputs, batch["actions"]) - batch["log_probs"])
        A = ppo.standardize(batch["advantages"])
        error = values[..., 0] - (batch["advantages"] + batch["values"])
        bonus = config.entropy * policy.entropy(outputs).mean()
        return ppo.policy_loss(ratio, A, config.clip) - bonus + 0.5 * (error**2).mean()

    def gradient(v):
        own, steps, memory = twins(v)
        own.gradient(steps, memory, memory)
        found = v.like()
        found.flat[:] = np.concatenate(own.gradients())
        return found

    return Problem(loss, gradient, inputs, kind="gradient")
