import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np import layers

rng = np.random.default_rng(0)


def layer_norm_vjp(g, x):
    return layers.layer_norm_vjp(g, *layers.layer_norm(x))


# forward, vjp as a function of (g, input)
ELEMENTWISE = {
    "layer_norm": (lambda x: layers.layer_norm(x)[0], layer_norm_vjp),
    "leaky_relu": (layers.leaky_relu, layers.leaky_relu_vjp),
    "tanh": (layers.tanh, lambda g, x: layers.tanh_vjp(g, layers.tanh(x))),
    "sigmoid": (layers.sigmoid, lambda g, x: layers.sigmoid_vjp(g, layers.sigmoid(x))),
    "softplus": (layers.softplus, layers.softplus_vjp),
    "softmax": (layers.softmax, lambda g, x: layers.softmax_vjp(g, layers.softmax(x))),
    "log_softmax": (
        layers.log_softmax,
        lambda g, x: layers.log_softmax_vjp(g, layers.log_softmax(x)),
    ),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("shape", [(7,), (4, 7)])
def test_vjp_of_layers_without_weights(name, shape):
    forward, vjp = ELEMENTWISE[name]
    x, g = rng.normal(size=shape), rng.normal(size=shape)
    expected = derivative(lambda flat: (g * forward(flat.reshape(shape))).sum(), x.ravel())
    assert_close(vjp(g, x).ravel(), expected)


@pytest.mark.parametrize("batch", [(), (4,)])
def test_linear_vjp(batch):
    x, W, b = rng.normal(size=(*batch, 5)), rng.normal(size=(3, 5)), rng.normal(size=3)
    g = rng.normal(size=(*batch, 3))
    gx, gW, gb = layers.linear_vjp(g, x, W)

    def loss(x, W, b):
        return (g * layers.linear(x, W, b)).sum()

    assert_close(gx.ravel(), derivative(lambda f: loss(f.reshape(x.shape), W, b), x.ravel()))
    assert_close(gW.ravel(), derivative(lambda f: loss(x, f.reshape(W.shape), b), W.ravel()))
    assert_close(gb, derivative(lambda f: loss(x, W, f), b))


def test_linear_vjp_writes_where_it_is_told():
    W = np.zeros((3, 5))
    out = np.empty_like(W)
    _, gW, _ = layers.linear_vjp(np.ones(3), np.ones(5), W, out)
    assert gW is out and (out == 1).all()


@pytest.mark.parametrize("dtype", ["f4", "f8", np.longdouble])
def test_outer_rounds_as_broadcasting_does(dtype):
    g, x = rng.normal(size=7).astype(dtype), rng.normal(size=5).astype(dtype)
    out = np.empty((7, 5), dtype)
    assert layers.outer(g, x, out) is out
    assert np.array_equal(out, np.outer(g, x)) and np.array_equal(layers.outer(g, x), out)


def test_outer_casts_to_where_it_writes():
    out = layers.outer(np.ones(2), np.full(3, 0.1), np.empty((2, 3), np.float32))
    assert out.dtype == np.float32 and (out == np.float32(0.1)).all()


def test_layer_norm_has_mean_zero_and_variance_one():
    y, _ = layers.layer_norm(rng.normal(3.0, 5.0, size=1000))
    assert abs(y.mean()) < 1e-12 and abs(y.var() - 1) < 1e-5


@pytest.mark.parametrize("function", [layers.softplus, layers.sigmoid, layers.softmax])
def test_no_overflow_at_the_ends(function):
    with np.errstate(over="raise", invalid="raise"):
        assert np.isfinite(function(np.array([-1e4, 0.0, 1e4]))).all()


def test_float32_stays_float32():
    x = np.ones(4, np.float32)
    y, inv_std = layers.layer_norm(x)
    outputs = [y, layers.leaky_relu(x), layers.softplus(x), layers.softmax(x)]
    outputs += [layers.layer_norm_vjp(x, y, inv_std), layers.sigmoid(x), layers.log_softmax(x)]
    assert {a.dtype for a in outputs} == {np.dtype("f4")}


def test_sparse_init():
    W = layers.sparse_init(np.random.default_rng(1), 50, 40)
    assert ((W == 0).sum(1) == 36).all()
    assert np.abs(W).max() <= 1 / np.sqrt(40)
    few = layers.sparse_init(np.random.default_rng(1), 50, 3)
    assert ((few != 0).sum(1) == 1).all(), "every row keeps an input"


def test_sparse_weights_are_uniform():
    W = layers.sparse_init(np.random.default_rng(0), 400, 100)
    w = 10 * W[W != 0]
    assert np.abs(w).max() > 0.99 and abs(w.mean()) < 0.05 and abs(w.std() - 3**-0.5) < 0.03


def test_a_share_of_zeros_is_not_rounded_up_by_a_last_digit():
    assert 0.07 * 100 > 7
    W = layers.sparse_init(np.random.default_rng(0), 50, 100, 0.07)
    assert ((W == 0).sum(1) == 7).all()


def test_every_row_keeps_inputs_of_its_own():
    W = layers.sparse_init(np.random.default_rng(0), 200, 40)
    assert (W != 0).any(0).all(), "no input is one that no row looks at"
