"""Layers without memory: each forward function has its vjp right below.

A vjp (vector–Jacobian product) takes g = ∂L/∂output and returns ∂L/∂input.
Every function works on the last axis, so the same line serves one sample (d,)
and a batch (batch, d). Numbers in brackets are equations in docs/derivations.md.
"""

# m outputs, d inputs; "..." is nothing for one sample, (batch,) for many

import numpy as np

LAYER_NORM_EPS = 1e-5
LEAK = 0.01


def outer(g, x, out=None):
    """Compute the outer product g xᵀ: (m,) and (d,) → (m, d).

    As a matrix product, which BLAS does faster than NumPy broadcasts; each entry is one product,
    so both round alike. What has another dtype is cast to that of ``out``.
    """
    if out is None:
        return np.dot(g[:, None], x[None, :])
    g, x = np.asarray(g, out.dtype), np.asarray(x, out.dtype)
    return np.dot(g[:, None], x[None, :], out=out)


def linear(x, W, b):
    """Compute W x + b.

    Parameters
    ----------
    x : (..., d) ndarray
    W : (m, d) ndarray
    b : (m,) ndarray

    Returns
    -------
    (..., m) ndarray
    """
    return x @ W.T + b  # (eq. L1)


def linear_vjp(g, x, W, gW=None):
    """Pull ``g`` back through :func:`linear`.

    Parameters
    ----------
    g : (..., m) ndarray
        ∂L/∂output.
    x : (..., d) ndarray
    W : (m, d) ndarray
    gW : (m, d) ndarray, optional
        Where ∂L/∂W goes, so that a step allocates nothing large.

    Returns
    -------
    gx : (..., d) ndarray
    gW : (m, d) ndarray
        Summed over the batch.
    gb : (m,) ndarray
        Summed over the batch; of one sample it is ``g`` itself, not a copy.
    """
    gx = g @ W  # ∂L/∂x = Wᵀ g   (eq. L2)
    if g.ndim == 1:
        return gx, outer(g, x, gW), g  # ∂L/∂W = g xᵀ   (eq. L2)
    g, x = g.reshape(-1, W.shape[0]), x.reshape(-1, W.shape[1])
    return gx, np.matmul(g.T, x, out=gW), g.sum(0)


def layer_norm(x):
    """Centre and scale the last axis to mean 0 and variance 1; no learned scale or shift.

    Returns
    -------
    y : (..., d) ndarray
    inv_std : (..., 1) ndarray
        1/sqrt(variance + ε), for :func:`layer_norm_vjp`.
    """
    d = x.shape[-1]
    centred = x - x.sum(-1, keepdims=True) / d
    variance = np.vecdot(centred, centred)[..., None] / d
    inv_std = 1.0 / np.sqrt(variance + LAYER_NORM_EPS)
    return centred * inv_std, inv_std  # (eq. L3)


def layer_norm_vjp(g, y, inv_std):
    """Pull ``g`` back through :func:`layer_norm`, given its two outputs.

    Returns
    -------
    (..., d) ndarray
        ∂L/∂x = (g − mean(g) − y mean(g y)) / std.
    """
    d = y.shape[-1]
    g_mean = g.sum(-1, keepdims=True) / d
    gy_mean = np.vecdot(g, y)[..., None] / d
    return inv_std * (g - g_mean - y * gy_mean)  # (eq. L4)


def leaky_relu(x):
    """Compute max(x, 0.01 x)."""
    return np.maximum(x, LEAK * x)  # (eq. L5)


def leaky_relu_vjp(g, x):
    """Pull ``g`` back through :func:`leaky_relu`; the slope at 0 is taken as 0.01."""
    return np.where(x > 0, g, LEAK * g)  # (eq. L5)


def tanh(x):
    """Compute the hyperbolic tangent."""
    return np.tanh(x)  # (eq. L6)


def tanh_vjp(g, y):
    """Pull ``g`` back through :func:`tanh`, given its output y."""
    return g * (1.0 - y * y)  # (eq. L6)


def sigmoid(x):
    """Compute 1/(1 + exp(−x)) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))  # (eq. L7)


def sigmoid_vjp(g, y):
    """Pull ``g`` back through :func:`sigmoid`, given its output y."""
    return g * y * (1.0 - y)  # (eq. L7)


def softplus(x):
    """Compute log(1 + exp(x)) without overflow."""
    return np.logaddexp(x, 0.0)  # (eq. L8)


def softplus_vjp(g, x):
    """Pull ``g`` back through :func:`softplus`."""
    return g * sigmoid(x)  # (eq. L8)


def softmax(x):
    """Compute exp(x)/Σ exp(x) over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)  # (eq. L9)


def softmax_vjp(g, y):
    """Pull ``g`` back through :func:`softmax`, given its output y."""
    return y * (g - np.vecdot(g, y)[..., None])  # (eq. L9)


def log_softmax(x):
    """Compute x − log Σ exp(x) over the last axis."""
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))  # (eq. L10)


def log_softmax_vjp(g, y):
    """Pull ``g`` back through :func:`log_softmax`, given its output y."""
    return g - np.exp(y) * g.sum(-1, keepdims=True)  # (eq. L10)


def sparse_init(rng, outputs, inputs, sparsity=0.9):
    """Draw a weight matrix whose rows are mostly zero.

    Each row keeps a random share, 1 − ``sparsity``, of its inputs and at least one, drawn from
    U(−1/√inputs, 1/√inputs) (Elsayed 2024, section 3.3).

    Parameters
    ----------
    rng : numpy.random.Generator
    outputs, inputs : int
    sparsity : float
        The share of zeros in a row.

    Returns
    -------
    (outputs, inputs) ndarray of float64
    """
    bound = 1.0 / np.sqrt(inputs)
    W = rng.uniform(-bound, bound, (outputs, inputs))
    # differs from Elsayed 2024: at least one input a row stays, or a net with few inputs is blind
    zeros = min(int(np.ceil(round(sparsity * inputs, 9))), inputs - 1)
    for row in W:
        row[rng.permutation(inputs)[:zeros]] = 0.0
    return W
