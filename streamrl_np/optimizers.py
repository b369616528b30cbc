"""Eligibility traces and the optimizers that follow them, on flat vectors.

ObGD (Elsayed 2024) takes a step along the trace that is short enough not to overshoot
the error it answers: one number, the step size, replaces the usual tuning.
"""

import math

import numpy as np

from .arrays import require_finite


def accumulate(z, gradient, decay):
    """Step the eligibility trace ``z`` in place: z ← decay · z + gradient."""
    z *= decay
    z += gradient  # (eq. O1)


class Workspace:
    """Vectors that ObGD overwrites every step.

    Optimizers that take turns may share one: it then stays in the processor's cache.

    Parameters
    ----------
    size : int
        Length of the longest parameter vector.
    dtype : dtype
    """

    def __init__(self, size, dtype=np.float32):
        self.scratch, self.scaled = np.empty(size, dtype), np.empty(size, dtype)
        self.ones = np.ones(size, dtype)  # this one is only read


class ObGD:
    """Overshooting-bounded gradient descent.

    Parameters
    ----------
    size : int
        Length of the flat parameter vector.
    step_size : float
        α, the step taken where the bound does not bite.
    kappa : float
        κ, how far below the bound to stay.
    dtype : dtype
    workspace : Workspace, optional
        One to share; its own when not given.
    """

    def __init__(self, size, step_size, kappa, dtype=np.float32, workspace=None):
        self.step_size, self.kappa = step_size, kappa
        workspace = workspace or Workspace(size, dtype)
        self.scratch, self.ones = workspace.scratch[:size], workspace.ones[:size]

    def bound(self, delta, norm):
        """Compute the effective step size for an error ``delta`` and ‖z‖₁ = ``norm``."""
        alpha, kappa = self.step_size, self.kappa
        return alpha / max(1.0, alpha * kappa * max(abs(delta), 1.0) * norm)  # (eq. O2)

    def l1_norm(self, z):
        """Compute ‖z‖₁, or raise NonFiniteError."""
        np.abs(z, out=self.scratch)
        norm = float(self.scratch @ self.ones)  # a sum, by the fastest route NumPy has
        if not math.isfinite(norm):
            require_finite("the eligibility trace", z)
            require_finite("the norm of the eligibility trace", norm)
        return norm

    def step(self, w, z, delta):
        """Step the parameters ``w`` in place along the trace ``z``.

        Parameters
        ----------
        w, z : (size,) ndarray
        delta : float
            TD error.

        Returns
        -------
        step_size, norm : float
            α_eff and ‖z‖₁.

        Raises
        ------
        NonFiniteError
            If the trace holds a NaN or an infinity.
        """
        norm = self.l1_norm(z)
        alpha = self.bound(delta, norm)
        np.multiply(z, alpha * delta, out=self.scratch)
        w += self.scratch  # w ← w + α_eff δ z   (eq. O3)
        return alpha, norm

    def arrays(self):
        """Name what a checkpoint must hold: nothing."""
        return {}


class AdaptiveObGD(ObGD):
    """ObGD with a step size for each parameter: z is divided by the root of a mean of (δ z)².

    Parameters
    ----------
    size, step_size, kappa, dtype, workspace
        As for :class:`ObGD`.
    beta2 : float
        Decay of that mean.
    eps : float
        Keeps the division finite.
    """

    def __init__(
        self, size, step_size, kappa, dtype=np.float32, workspace=None, beta2=0.999, eps=1e-8
    ):
        workspace = workspace or Workspace(size, dtype)
        super().__init__(size, step_size, kappa, dtype, workspace)
        self.scaled = workspace.scaled[:size]
        self.beta2, self.eps = beta2, eps
        self.v = np.zeros(size, dtype)
        self.t = np.zeros(1)  # steps taken

    def step(self, w, z, delta):
        """Step as in :meth:`ObGD.step`; the norm returned is that of the scaled trace."""
        self.t += 1.0
        v, scaled, beta2 = self.v, self.scaled, self.beta2
        np.multiply(z, delta, out=scaled)
        scaled *= scaled
        scaled *= 1.0 - beta2
        v *= beta2
        v += scaled  # v ← β₂ v + (1 − β₂)(δ z)²   (eq. O4)
        correction = 1.0 - beta2 ** float(self.t[0])
        np.divide(v, correction, out=scaled)
        np.sqrt(scaled, out=scaled)
        scaled += self.eps  # differs from Elsayed 2024: ε is under the root there
        np.divide(z, scaled, out=scaled)  # z / √v̂   (eq. O5)
        norm = self.l1_norm(scaled)
        alpha = self.bound(delta, norm)
        scaled *= alpha * delta
        w += scaled
        return alpha, norm

    def arrays(self):
        """Name what a checkpoint must hold."""
        return {"v": self.v, "t": self.t}


class Adam:
    """Adam (Kingma 2015): descend a gradient, each entry at a speed that its own size sets.

    Parameters
    ----------
    size : int
        Length of the flat parameter vector.
    step_size : float
        α.
    beta1, beta2 : float
        Decay of the mean of the gradient, and of the mean of its square.
    eps : float
        Keeps the division finite.
    dtype : dtype
    """

    def __init__(self, size, step_size, beta1=0.9, beta2=0.999, eps=1e-8, dtype=np.float32):
        self.step_size, self.beta1, self.beta2, self.eps = step_size, beta1, beta2, eps
        self.m, self.v = np.zeros(size, dtype), np.zeros(size, dtype)
        self.scratch = np.empty(size, dtype)  # overwritten every step
        self.t = np.zeros(1)  # steps taken

    def step(self, w, gradient):
        """Step the parameters ``w`` in place against ``gradient``, (size,) each."""
        self.t += 1.0
        m, v, scratch, t = self.m, self.v, self.scratch, float(self.t[0])
        np.multiply(gradient, 1.0 - self.beta1, out=scratch)
        m *= self.beta1
        m += scratch  # m ← β₁ m + (1 − β₁) g   (eq. O6)
        np.multiply(gradient, gradient, out=scratch)
        scratch *= 1.0 - self.beta2
        v *= self.beta2
        v += scratch  # v ← β₂ v + (1 − β₂) g²   (eq. O7)
        np.divide(v, 1.0 - self.beta2**t, out=scratch)
        np.sqrt(scratch, out=scratch)
        scratch += self.eps
        np.divide(m, scratch, out=scratch)
        scratch *= self.step_size / (1.0 - self.beta1**t)
        w -= scratch  # w ← w − α m̂ / (√v̂ + ε)   (eq. O8)

    def arrays(self):
        """Name what a checkpoint must hold."""
        return {"m": self.m, "v": self.v, "t": self.t}


class SGD:
    """A plain step against a gradient.

    Parameters
    ----------
    size : int
        Length of the flat parameter vector.
    step_size : float
        α.
    dtype : dtype
    """

    def __init__(self, size, step_size, dtype=np.float32):
        self.step_size = step_size
        self.scratch = np.empty(size, dtype)  # overwritten every step

    def step(self, w, gradient):
        """Step the parameters ``w`` in place against ``gradient``, (size,) each."""
        np.multiply(gradient, self.step_size, out=self.scratch)
        w -= self.scratch  # w ← w − α g   (eq. O9)

    def arrays(self):
        """Name what a checkpoint must hold: nothing."""
        return {}


# two families: those that follow a trace and an error, and those that descend a gradient
OPTIMIZERS = {"obgd": ObGD, "adaptive_obgd": AdaptiveObGD}
GRADIENT_OPTIMIZERS = {"sgd": SGD, "adam": Adam}
