"""Our gradients against a differentiation library that we did not write (HIPS autograd).

Skipped where it is not installed: ``python -m pip install -e .[autodiff]``.
"""

import numpy as np
import pytest

autograd = pytest.importorskip("autograd")
import autograd.numpy as anp  # noqa: E402

from streamrl_np import cells, layers, networks, policies  # noqa: E402
from streamrl_np.agents import ppo  # noqa: E402
from streamrl_np.cells import CELLS  # noqa: E402
from streamrl_np.gradcheck import sequence, twins  # noqa: E402
from streamrl_np.gradcheck.recurrent import make_cell  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # the other library's
N, D, T, STARTS = 4, 3, 12, (0, 5, 8)


def close(actual, expected, tolerance=1e-12):
    error = np.max(np.abs(np.asarray(actual) - expected)) / np.max(np.abs(expected))
    assert error < tolerance, f"{error:.1e}"


def rtu(p, h, x, inside):
    """One step; h is complex. ``inside``: the activation is part of the recurrence."""
    nu, theta = anp.exp(p["nu_log"]), anp.exp(p["theta_log"])
    lam, gamma = anp.exp(-nu + 1j * theta), anp.sqrt(1 - anp.exp(-2 * nu))
    a = lam * h + gamma * ((p["B_re"] + 1j * p["B_im"]) @ x)
    bounded = anp.tanh(anp.real(a)) + 1j * anp.tanh(anp.imag(a))
    h = bounded if inside else a
    return h, anp.concatenate([anp.real(bounded), anp.imag(bounded)])


def sigmoid(a):
    return 1 / (1 + anp.exp(-a))


def mingru(p, h, x):
    u, a = sigmoid(p["W_u"] @ x + p["b_u"]), p["W_c"] @ x + p["b_c"]
    h = (1 - u) * h + u * anp.where(a >= 0, a + 0.5, sigmoid(a))
    return h, h


def gru(p, h, x):
    (W, b, U) = p["W"], p["b"], p["U"]
    r, z = sigmoid(W[0] @ x + b[0] + U[0] @ h), sigmoid(W[1] @ x + b[1] + U[1] @ h)
    h = z * h + (1 - z) * anp.tanh(W[2] @ x + b[2] + r * (U[2] @ h))
    return h, h


STEP = {
    "rtu": lambda p, h, x: rtu(p, h, x, False),
    "rtu_nonlinear": lambda p, h, x: rtu(p, h, x, True),
    "mingru": mingru,
    "gru": gru,
    "feedforward": lambda p, h, x: (h, anp.tanh(p["W"] @ x)),
}


@pytest.mark.parametrize("name", CELLS)
def test_cells_over_three_episodes(name):
    rng = np.random.default_rng(0)
    cell, p = make_cell(name, "rtrl", rng, N, D)
    xs, gs = rng.normal(size=(T, D)), rng.normal(size=(T, cell.feature_count(N)))
    ours = sequence.by_rtrl(sequence.Sequence(name, N, p, xs, gs, STARTS)).sum(0)

    def loss(p):
        total = 0.0
        for t in range(T):
            h = np.zeros(N) if t in STARTS else h  # noqa: F821
            h, y = STEP[name](p, h, xs[t])
            total = total + gs[t] @ y
        return total

    theirs = twins.join(autograd.grad(loss)(twins.split(p)), p)
    close(ours, theirs.flat)


def dense(x, W, b):
    a = W @ x + b
    a = a - anp.mean(a)
    a = a / anp.sqrt(anp.mean(a * a) + layers.LAYER_NORM_EPS)
    return anp.where(a > 0, a, layers.LEAK * a)


@pytest.mark.parametrize("name", CELLS)
def test_networks_with_the_encoders_past_held_still(name):
    rng = np.random.default_rng(1)
    config = networks.Config(width=5, blocks=2, sparsity=0.0)
    net = networks.Network(3, 2, config, cells.Config(name=name, units=N), rng, np.float64)
    net.p.flat[:] += 0.1 * rng.normal(size=net.p.flat.size)
    xs, g = rng.normal(size=(6, 3)), rng.normal(size=2)
    for t, x in enumerate(xs):
        if t in (0, 2):
            net.reset()
        _, cache = net.forward(x)
    net.vjp(cache, g)
    still = net.p.encoder.copy()

    def output(p):
        cell = {k[len("cell.") :]: a for k, a in p.items() if k.startswith("cell.")}
        for t, x in enumerate(xs):
            h = np.zeros(N) if t in (0, 2) else h  # noqa: F821
            last = t == len(xs) - 1
            W, b = (p["encoder.W"], p["encoder.b"]) if last else (still.W, still.b)
            h, y = STEP[name](cell, h, dense(x, W, b))
        for block in ("block0", "block1"):
            y = dense(y, p[f"{block}.W"], p[f"{block}.b"])
        return g @ (p["head.W"] @ y + p["head.b"])

    theirs = twins.join(autograd.grad(output)(twins.split(net.p)), net.p)
    close(net.grad.flat, theirs.flat)


def test_categorical_policy():
    rng = np.random.default_rng(2)
    logits, policy = rng.normal(size=5), policies.Categorical(5)

    def objective(x):
        log_pi = x - anp.log(anp.sum(anp.exp(x)))
        return log_pi[3] - 0.7 * anp.sum(anp.exp(log_pi) * log_pi)

    close(policy.gradient(logits, 3, 0.7), autograd.grad(objective)(logits))


def test_gaussian_policy():
    rng = np.random.default_rng(3)
    outputs, policy = rng.normal(size=6), policies.Gaussian(3)
    action = policy.sample(outputs, rng)

    def objective(x):
        std = anp.log(1 + anp.exp(x[3:])) + policies.STD_MIN
        log_prob = -0.5 * ((action - x[:3]) / std) ** 2 - anp.log(std)
        return anp.sum(log_prob) + 0.7 * anp.sum(anp.log(std))

    close(policy.gradient(outputs, action, 0.7), autograd.grad(objective)(outputs))


def test_the_losses_of_ppo():
    rng = np.random.default_rng(4)
    log_ratio, A = rng.normal(size=20) / 3, rng.normal(size=20)

    def surrogate(x):
        ratio = anp.exp(x)
        return -anp.mean(anp.minimum(ratio * A, anp.clip(ratio, 0.8, 1.2) * A))

    theirs = autograd.grad(surrogate)(log_ratio)
    close(ppo.policy_loss_gradient(np.exp(log_ratio), A, 0.2), theirs)
