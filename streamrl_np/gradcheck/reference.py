"""Reference networks: the network once more, made of twins, all gradients by complex steps.

What an agent does with its gradients (traces, look-ahead, resets, bounded steps) is checked
by running it beside an agent written plainly on these. Everything is real, float64, slow and
apart from ``networks`` and ``cells``.
"""

# n units, k outputs, N real parameters of a network, C of them its cell's, M numbers in h

import numpy as np

from .. import layers
from . import twins


def dense(p, name, x):
    """Compute linear → layer norm → leaky ReLU for numbers that may be complex."""
    a = p[f"{name}.W"] @ x + p[f"{name}.b"]
    a = a - a.mean()
    a = a / np.sqrt((a * a).mean() + layers.LAYER_NORM_EPS)
    return np.where(a.real > 0, a, layers.LEAK * a)


class ReferenceNetwork:
    """A plain twin of a ``networks.Network``.

    Parameters
    ----------
    network : streamrl_np.networks.Network
        In float64; its parameters are copied.

    Attributes
    ----------
    p : Views
        Parameters, of which :meth:`step` changes the copy.
    h : (M,) ndarray
        Hidden state, [Re; Im] where the cell's is complex.
    S : (M, C) ndarray
        ∂h/∂(cell parameters).
    """

    def __init__(self, network):
        self.twin = twins.twin(network.cell_name)
        self.mode, self.blocks = network.mode, network.blocks
        self.p = network.p.copy()
        units = network.cell.feature_count(1)  # features a unit
        features = network.p[self.blocks[0] if self.blocks else "head"].W.shape[1]
        self.h = np.zeros(self.twin.parts * (features // units))
        self.entries = list(twins.entries(self.p))
        self.in_cell = np.array([part.startswith("cell.") for part, _ in self.entries])
        self.S = np.zeros((self.h.size, self.in_cell.sum()))

    def apply(self, p, h, x):
        """Compute (h_t, output) from a dict of arrays that may be complex."""
        u = dense(p, "encoder", x)
        cell = {k.removeprefix("cell."): a for k, a in p.items() if k.startswith("cell.")}
        h, y = self.twin.step(cell, h, u)
        for name in self.blocks:
            y = dense(p, name, y)
        return h, p["head.W"] @ y + p["head.b"]

    def differentiate(self, x):
        """Differentiate one step from the present state.

        Returns
        -------
        h, output : ndarray
        gradient : (k, N) ndarray
            ∂output/∂p: through the whole past for the cell, by way of S, through this step for
            all else.
        S : (M, C) ndarray
            The sensitivities after the step.
        """
        p = {name: a.astype(complex) for name, a in twins.split(self.p).items()}
        columns = twins.complex_slopes(
            lambda p: np.concatenate(self.apply(p, self.h, x)), p, self.entries
        )
        by_h = twins.complex_slopes(
            lambda h: np.concatenate(self.apply(p, h["h"], x)),
            {"h": self.h.astype(complex)},
            (("h", i) for i in range(self.h.size)),
        )
        M, direct = self.h.size, columns.T  # (M + k, N)
        through = by_h.T.reshape(len(direct), M)  # (M + k, M)
        past = self.S if self.mode == "rtrl" else np.zeros_like(self.S)
        direct[:, self.in_cell] += through @ past  # (eq. G10)
        h, output = (a.real for a in self.apply(p, self.h, x))
        return h, output, direct[M:], direct[:M, self.in_cell]

    def forward(self, x):
        """Advance by one step; returns (output (k,), gradient (k, N))."""
        self.h, output, gradient, self.S = self.differentiate(x)
        return output, gradient

    def peek(self, x):
        """Compute what :meth:`forward` would return, changing nothing."""
        _, output, gradient, _ = self.differentiate(x)
        return output, gradient

    def step(self, change):
        """Step the parameters in place by ``change`` (N,)."""
        self.p.flat += change

    def reset(self):
        """Step back to the start of an episode."""
        self.h, self.S = np.zeros_like(self.h), np.zeros_like(self.S)


def bounded(z, delta, alpha, kappa):
    """Compute ObGD's change of the parameters, α_eff δ z (eq. O2, O3)."""
    return delta * z * alpha / max(1.0, alpha * kappa * max(abs(delta), 1.0) * np.abs(z).sum())
