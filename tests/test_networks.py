import numpy as np
import pytest
from differences import assert_close, derivative

from streamrl_np import cells, networks
from streamrl_np.arrays import Views
from streamrl_np.cells import CELLS

INPUTS, OUTPUTS, UNITS = 3, 2, 4


def make(name="rtu", mode="rtrl", blocks=1, dtype=np.float64):
    rng = np.random.default_rng(0)
    config = networks.Config(width=5, blocks=blocks, sparsity=0.0)
    cell = cells.Config(name=name, units=UNITS, mode=mode)
    return networks.Network(INPUTS, OUTPUTS, config, cell, rng, dtype), rng


def run(net, flat, xs, resets, encoder=None):
    """Run a sequence with other parameters in another precision; returns the outputs."""
    twin = make_twin(net, flat)
    outputs = []
    for i, (x, reset) in enumerate(zip(xs, resets, strict=True)):
        if reset:
            twin.reset()
        if encoder is not None and i == len(xs) - 1:
            twin.p.encoder.flat[:] = encoder
        outputs.append(twin.forward(x.astype(flat.dtype))[0])
    return outputs


def make_twin(net, flat):
    twin = networks.Network.__new__(networks.Network)
    twin.__dict__.update(net.__dict__)
    twin.p = Views(net.p.layout, flat=flat.copy())
    twin.state = Views(net.state.layout, flat.dtype)
    return twin


@pytest.mark.parametrize("blocks", [0, 1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_gradient_on_the_second_episode(name, blocks):
    net, rng = make(name, blocks=blocks)
    xs, resets = rng.normal(size=(7, INPUTS)), [t in (0, 3) for t in range(7)]
    g = rng.normal(size=OUTPUTS)
    for x, reset in zip(xs, resets, strict=True):
        if reset:
            net.reset()
        _, cache = net.forward(x)
    net.vjp(cache, g)

    exact = derivative(lambda flat: g @ run(net, flat, xs, resets)[-1], net.p.flat)
    exact = Views(net.p.layout, flat=exact.astype(float))
    for group in net.p.layout:
        if group != "encoder":
            assert_close(net.grad[group].flat, exact[group].flat)

    # the encoder's gradient is declared to be one step's: earlier inputs stay as they are
    def last_step(encoder):
        return g @ run(net, net.p.flat.astype(encoder.dtype), xs, resets, encoder)[-1]

    assert_close(net.grad.encoder.flat, derivative(last_step, net.p.encoder.flat))


def test_gradient_of_the_observation():
    net, rng = make()
    net.forward(rng.normal(size=INPUTS))
    x, g = rng.normal(size=INPUTS), rng.normal(size=OUTPUTS)
    twin = make_twin(net, net.p.flat.astype(np.longdouble))
    twin.state.flat[:] = net.state.flat
    expected = derivative(lambda x: g @ twin.peek(x), x)
    _, cache = net.forward(x)
    assert_close(net.vjp(cache, g), expected)


@pytest.mark.parametrize("name", CELLS)
def test_peek_gives_the_numbers_of_forward_and_changes_nothing(name):
    net, rng = make(name)
    net.forward(rng.normal(size=INPUTS))
    x, before = rng.normal(size=INPUTS), net.state.flat.copy()
    value = net.peek(x)
    assert (net.state.flat == before).all()
    assert (net.forward(x)[0] == value).all()


@pytest.mark.parametrize("name", CELLS)
def test_reset_makes_the_second_episode_like_the_first(name):
    net, rng = make(name)
    xs = rng.normal(size=(6, INPUTS))

    def episode():
        net.reset()
        for x in xs:
            output, cache = net.forward(x)
        net.vjp(cache, np.ones(OUTPUTS))
        return output, net.grad.flat.copy()

    first, second = episode(), episode()
    assert (first[0] == second[0]).all() and (first[1] == second[1]).all()


@pytest.mark.parametrize("mode", cells.MODES)
@pytest.mark.parametrize("name", CELLS)
def test_everything_stays_float32(name, mode):
    net, rng = make(name, mode, dtype=np.float32)
    output, cache = net.forward(rng.normal(size=INPUTS).astype("f4"))
    gx = net.vjp(cache, np.ones(OUTPUTS, "f4"))
    assert output.dtype == gx.dtype == "f4"


@pytest.mark.parametrize("sparsity, zeros", [(0.0, 0), (0.5, 20), (0.9, 36)])
def test_the_first_weights_have_the_zeros_that_the_setting_says(sparsity, zeros):
    config, rng = networks.Config(width=40, sparsity=sparsity), np.random.default_rng(0)
    net = networks.Network(40, 2, config, cells.Config(units=20), rng)
    for name in "encoder", "block0", "head":
        assert ((net.p[name].W == 0).sum(1) == zeros).all()
