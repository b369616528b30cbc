"""A recurrent network on one flat vector: encoder → cell → block(s) → head.

``forward`` takes a step, ``peek`` looks ahead without taking it, ``vjp`` writes the
gradient. What is exact: head and blocks always; the cell through its whole past in mode
"rtrl" while parameters stand still. The encoder gets a one-step gradient only: an exact
one would need a sensitivity of every unit to every encoder weight.
"""

# n units, d = width, k outputs

import copy
import dataclasses

import numpy as np

from . import layers
from .arrays import Views
from .cells import CELLS
from .settings import at_least, check, instance, setting


@dataclasses.dataclass(frozen=True)
class Config:
    """The layers around the cell."""

    width: int = setting(64, "d, width of the encoder and of each block", low=2)
    blocks: int = setting(1, "blocks between cell and head", low=0, high=16)
    sparsity: float = setting(0.9, "share of zeros in a row of initial weights", low=0, high=1)

    def __post_init__(self):
        check(self)


def dense(x, p):
    """Compute linear → layer norm → leaky ReLU; returns (output, cache)."""
    normed, inv_std = layers.layer_norm(layers.linear(x, p.W, p.b))
    return layers.leaky_relu(normed), (x, normed, inv_std)


def dense_vjp(g, cache, p, grad):
    """Pull ``g`` back through :func:`dense`: write ``grad``, return ∂L/∂x."""
    x, normed, inv_std = cache
    g = layers.layer_norm_vjp(layers.leaky_relu_vjp(g, normed), normed, inv_std)
    gx, _, grad.b[:] = layers.linear_vjp(g, x, p.W, grad.W)
    return gx


class Network:
    """One recurrent network with its parameters, gradient and state.

    Parameters
    ----------
    inputs, outputs : int
    config : Config
    cell : streamrl_np.cells.Config
    rng : numpy.random.Generator
        Draws the weights.
    dtype : dtype

    Raises
    ------
    SettingError
        For fewer than one input or output, or an ``rng`` that is no generator.

    Attributes
    ----------
    p, grad : Views
        Parameters and gradient, in one layout: ``encoder.W``, ``cell.B``, ``head.b``, …
    state : Views
        Hidden state and sensitivities of the cell.
    """

    def __init__(self, inputs, outputs, config, cell, rng, dtype=np.float32):
        at_least(1, inputs=inputs, outputs=outputs)
        instance(np.random.Generator, rng=rng)
        d, n = config.width, cell.units
        self.cell_name, self.cell, self.mode = cell.name, CELLS[cell.name], cell.mode
        features = self.cell.feature_count(n)
        self.blocks = [f"block{i}" for i in range(config.blocks)]
        sizes = {"encoder": (d, inputs)}
        sizes |= {name: (d, features if i == 0 else d) for i, name in enumerate(self.blocks)}
        sizes["head"] = (outputs, d if self.blocks else features)
        layout = {name: {"W": (m, k), "b": (m,)} for name, (m, k) in sizes.items()}
        layout["cell"] = self.cell.layout(n, d)

        self.p = Views(layout, dtype)
        self.grad = self.p.like()
        self.state = Views(self.cell.state_layout(n, d, cell.mode), dtype)
        for name, (m, k) in sizes.items():
            self.p[name].W = layers.sparse_init(rng, m, k, config.sparsity)
        for name, value in self.cell.init(rng, n, d, cell).items():
            setattr(self.p.cell, name, value)

    def forward(self, x):
        """Advance the state by one step.

        Parameters
        ----------
        x : (inputs,) ndarray

        Returns
        -------
        output : (outputs,) ndarray
        cache : tuple
            For :meth:`vjp`, which must come before the next ``forward``.
        """
        u, encoder_cache = dense(x, self.p.encoder)  # (eq. L11)
        cell_cache = self.cell.advance(self.p.cell, self.state, u, self.mode)
        output, readout_cache = self.readout(cell_cache.y)
        return output, (encoder_cache, cell_cache, readout_cache)

    def peek(self, x):
        """Compute the output that :meth:`forward` would give, changing nothing."""
        u, _ = dense(x, self.p.encoder)
        output, _ = self.readout(self.cell.peek(self.p.cell, self.state, u))
        return output

    def readout(self, y):
        """Compute the blocks and the head from the cell's features; returns (output, cache)."""
        caches = []
        for name in self.blocks:
            y, cache = dense(y, self.p[name])
            caches.append(cache)
        return layers.linear(y, self.p.head.W, self.p.head.b), (y, caches)

    def vjp(self, cache, g):
        """Write the gradient of g · output to ``self.grad``.

        Parameters
        ----------
        cache : tuple
            What the last :meth:`forward` returned.
        g : (outputs,) ndarray

        Returns
        -------
        (inputs,) ndarray
            ∂(g · output)/∂x of this step alone.
        """
        encoder_cache, cell_cache, readout_cache = cache
        gy = self.readout_vjp(readout_cache, g)
        gu = self.cell.vjp(self.p.cell, self.state, cell_cache, gy, self.grad.cell)
        return dense_vjp(gu, encoder_cache, self.p.encoder, self.grad.encoder)

    def readout_vjp(self, cache, g):
        """Pull ``g`` back through :meth:`readout`: write the gradient, return ∂L/∂features."""
        p, grad = self.p, self.grad
        y, block_caches = cache
        g, _, grad.head.b[:] = layers.linear_vjp(g, y, p.head.W, grad.head.W)
        for name, block_cache in zip(reversed(self.blocks), reversed(block_caches), strict=True):
            g = dense_vjp(g, block_cache, p[name], grad[name])
        return g

    def unroll(self, x, memory, starts):
        """Take T steps in m sequences side by side; the network's own state is not touched.

        Parameters
        ----------
        x : (T, m, inputs) ndarray
        memory : dict of ndarray
            What :meth:`replay` kept of the state before the first step: ``h`` (m, n) and,
            in mode "rtrl", the sensitivities.
        starts : (T, m) bool ndarray
            Where an episode starts.

        Returns
        -------
        output : (T, m, outputs) ndarray
        cache : tuple
            For :meth:`unroll_vjp`.
        """
        u, encoder_cache = dense(x, self.p.encoder)
        cell_cache = self.cell.unroll(self.p.cell, memory.get("h"), u, starts)
        output, readout_cache = self.readout(cell_cache.y)
        return output, (memory, encoder_cache, cell_cache, readout_cache)

    def unroll_vjp(self, cache, g):
        """Write the gradient of the sum of g · output, (T, m, outputs) each, to ``self.grad``.

        Within the T steps it is exact (BPTT). What the first state owes to the cell's
        parameters is added in mode "rtrl" and left out in mode "tbptt1".
        """
        memory, encoder_cache, cell_cache, readout_cache = cache
        p, grad = self.p, self.grad
        gy = self.readout_vjp(readout_cache, g)
        gu, gh = self.cell.unroll_vjp(p.cell, cell_cache, gy, grad.cell)
        if self.mode == "rtrl":
            self.cell.sensitivity_vjp(memory, gh, grad.cell)
        elif self.mode == "frozen":
            grad.cell.flat[:] = 0.0
        dense_vjp(gu, encoder_cache, p.encoder, grad.encoder)

    def replay(self, x, starts, every):
        """Advance the state through a stored sequence, keeping it before every ``every``-th step.

        Parameters
        ----------
        x : (T, inputs) ndarray
        starts : (T,) bool ndarray
        every : int
            A divisor of T.

        Returns
        -------
        dict of ndarray
            ``h``, if the cell has one, and in mode "rtrl" the sensitivities, with a leading
            axis of length T // every.
        """
        u, _ = dense(x, self.p.encoder)
        mode, kept = "frozen", ("h",)
        if self.mode == "rtrl":
            mode, kept = "rtrl", ("h", *(k for k in self.state.layout if k.startswith("S_")))
        live = {name: self.state[name] for name in kept if name in self.state.layout}
        count = len(x) // every
        memory = {name: np.empty((count, *a.shape), a.dtype) for name, a in live.items()}
        for t in range(len(x)):
            if starts[t]:
                self.reset()
            if t % every == 0:
                for name, array in live.items():
                    memory[name][t // every] = array
            self.cell.advance(self.p.cell, self.state, u[t], mode)
        return memory

    def acting_twin(self):
        """Make a network with the same parameters and an h of its own, in mode "frozen"."""
        twin = copy.copy(self)
        layout = {name: shape for name, shape in self.state.layout.items() if name == "h"}
        twin.mode, twin.state = "frozen", Views(layout, self.state.flat.dtype)
        return twin

    def reset(self):
        """Step back to the start of an episode: hidden state and sensitivities become zero."""
        self.state.flat[:] = 0.0

    def __getstate__(self):
        """Copy and pickle without the cell: modules cannot be, but have a name."""
        return {**self.__dict__, "cell": None}

    def __setstate__(self, state):
        self.__dict__.update(state, cell=CELLS[state["cell_name"]])
