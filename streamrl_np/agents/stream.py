"""What all streaming agents share: networks with their traces, kept finite and checkpointed.

An agent's own module holds its update and nothing else.
"""

import math
from typing import NamedTuple

import numpy as np

from ..arrays import Views, flush_denormals, precision, require_all_finite, require_finite
from ..networks import Network

FLUSH_EVERY = 64  # steps; a trace that decays by 0.8 a step needs about 70 from tiny/eps to tiny


def acted(left):
    """Return what the last ``act`` left behind.

    Raises
    ------
    RuntimeError
        If it left nothing, or an update has used it already.
    """
    if left is None:
        raise RuntimeError("update needs an act before it: call act(observation) once for each")
    return left


class Learner(NamedTuple):
    """A network, the trace of its gradients, and the optimizer that moves it."""

    network: Network
    trace: Views
    optimizer: object


class StreamAgent:
    """Base of the streaming agents.

    Parameters
    ----------
    dtype : dtype

    Attributes
    ----------
    learners : dict of Learner
        Filled by :meth:`add`; the first one's units speak for the agent.
    updates : (1,) ndarray of int
        Updates so far.
    """

    def __init__(self, dtype):
        self.dtype = precision(dtype)
        self.learners = {}
        self.updates = np.zeros(1, np.int64)

    def add(self, name, network, trace, optimizer):
        """Register a network that learns, with its trace and optimizer."""
        self.learners[name] = Learner(network, trace, optimizer)

    def reset(self):
        """Step back to the start of an episode: h, S and z become zero."""
        for learner in self.learners.values():
            learner.network.reset()
            learner.trace.flat[:] = 0.0

    def count(self):
        """Step the number of updates; now and then, numbers too small to matter become zero."""
        self.updates += 1
        if self.updates[0] % FLUSH_EVERY == 0:
            for network, trace, optimizer in self.learners.values():
                for flat in network.p.flat, network.state.flat, trace.flat:
                    flush_denormals(flat)
                for array in optimizer.arrays().values():
                    flush_denormals(array)

    def acting_network(self):
        """Return the network whose memory the actions come from: the first."""
        return next(iter(self.learners.values())).network

    def retention(self):
        """Say how much of each unit of the first network survives one step, (n,)."""
        network = self.acting_network()
        return network.cell.retention(network.p.cell)

    def check_error(self, delta, reward, observation, next_observation):
        """Raise NonFiniteError, naming what made it so, unless the TD error is finite."""
        if math.isfinite(delta):
            return
        require_finite("the reward", float(reward))
        require_finite("the observation", observation)
        require_finite("the next observation", next_observation)
        self.require_finite()
        require_finite("the TD error", delta)

    def require_finite(self):
        """Raise NonFiniteError if a parameter, state or trace holds a NaN or an infinity."""
        require_all_finite(self.parts())

    def parts(self):
        """Name the Views that change as the agent learns."""
        return {
            f"{name}_{what}": views
            for name, (network, trace, _) in self.learners.items()
            for what, views in (
                ("parameters", network.p),
                ("state", network.state),
                ("trace", trace),
            )
        }

    def arrays(self):
        """Name every array that a checkpoint must hold; they are the live ones."""
        named = {name: views.flat for name, views in self.parts().items()}
        for name, learner in self.learners.items():
            held = learner.optimizer.arrays()
            named |= {f"{name}_optimizer.{key}": array for key, array in held.items()}
        return named | {"updates": self.updates}
