"""Running normalisation of observations and rewards (Welford; Elsayed 2024, section 3.2)."""

import dataclasses
import math

import numpy as np

from ..settings import check, setting

EPS = 1e-8


@dataclasses.dataclass(frozen=True)
class Config:
    """What is normalised."""

    observations: bool = setting(True, "subtract the running mean, divide by the running std")
    rewards: bool = setting(True, "divide by the running std of the discounted sum")

    def __post_init__(self):
        check(self)


class RunningMoments:
    """Mean and variance of all numbers seen so far, one pass, in float64.

    Parameters
    ----------
    shape : tuple of int

    Attributes
    ----------
    count, mean, M2 : ndarray
        Numbers seen; their mean; their summed squared distance from it.
    """

    def __init__(self, shape=()):
        self.count, self.mean, self.M2 = np.zeros(()), np.zeros(shape), np.zeros(shape)

    def update(self, x):
        """Step the moments in place by one more observation ``x``."""
        n = float(self.count) + 1.0
        mean, M2 = self.mean[()], self.M2[()]  # of no axis: numbers, far quicker than such arrays
        difference = x - mean
        mean = mean + difference / n  # (eq. N1)
        self.M2[...] = M2 + difference * (x - mean)  # (eq. N2)
        self.count[...], self.mean[...] = n, mean

    @property
    def variance(self):
        """The sample variance; 1 before there are two observations."""
        n = float(self.count)
        if n < 2:
            return np.ones_like(self.M2)
        return self.M2[()] / (n - 1.0)  # (eq. N3)


class ObservationNormalizer:
    """Bring every entry of an observation to mean 0 and variance 1.

    Parameters
    ----------
    size : int
    enabled : bool
        If not, observations only change their dtype.
    dtype : dtype
    """

    def __init__(self, size, enabled=True, dtype=np.float32):
        self.moments, self.enabled, self.dtype = RunningMoments((size,)), enabled, dtype

    def __call__(self, observation):
        """Step the moments by ``observation`` (size,) and return it normalised."""
        if self.enabled:
            observation = observation.astype(float)
            self.moments.update(observation)
        return self.look(observation)

    def look(self, observation):
        """Normalise ``observation`` (size,) by the moments as they are."""
        if not self.enabled:
            return observation.astype(self.dtype)
        m = self.moments
        return ((observation - m.mean) / np.sqrt(m.variance + EPS)).astype(self.dtype)  # (eq. N4)

    def arrays(self):
        """Name what a checkpoint must hold."""
        return {"count": self.moments.count, "mean": self.moments.mean, "M2": self.moments.M2}


class RewardScaler:
    """Divide rewards by the running standard deviation of their discounted sum.

    Parameters
    ----------
    discount : float
        γ.
    enabled : bool
    """

    def __init__(self, discount, enabled=True):
        self.discount, self.enabled = discount, enabled
        self.moments, self.u = RunningMoments(), np.zeros(())

    def __call__(self, reward, done):
        """Step the moments by one reward and return it scaled; its mean is not subtracted."""
        if not self.enabled:
            return float(reward)
        reward = float(reward)
        u = self.discount * (not done) * float(self.u) + reward  # (eq. N5)
        self.u[...] = u
        self.moments.update(u)
        return reward / math.sqrt(self.moments.variance + EPS)  # (eq. N6)

    def arrays(self):
        """Name what a checkpoint must hold."""
        m = self.moments
        return {"count": m.count, "mean": m.mean, "M2": m.M2, "u": self.u}
