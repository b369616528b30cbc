"""Any Gymnasium environment as the agents want it: numbers in, a choice or numbers out.

An observation becomes one flat vector (a choice among n is written one-hot); an action is
one choice or a vector of real numbers, which is clipped to the environment's box here.
"""

import dataclasses
import math

import numpy as np

from ..extras import MissingPackage, require
from ..settings import SettingError, check, setting

gymnasium = require("gymnasium")
spaces = gymnasium.spaces

CHOICES = 10_000  # most that an action may have


class UnsupportedSpace(SettingError):
    """An environment observes or acts in a space that the agents do not handle."""


def encoder(space, what="observation"):
    """Make the function that writes a sample of ``space`` as numbers.

    Parameters
    ----------
    space : gymnasium.spaces.Space
        Discrete, MultiDiscrete, MultiBinary, a Box of at most one axis, or a Tuple of these.
    what : str
        For the error.

    Returns
    -------
    size : int
        How many numbers a sample takes.
    write : callable
        ``write(sample, out)`` fills ``out`` (size,), which holds zeros. It raises a ValueError
        or TypeError for a sample of another shape, or a choice that is none.

    Raises
    ------
    UnsupportedSpace
    """
    if isinstance(space, spaces.Discrete):
        count, start = int(space.n), int(space.start)

        def write(sample, out):
            index = int(sample) - start
            if not 0 <= index < count:
                raise ValueError
            out[index] = 1.0

        return count, write
    if isinstance(space, spaces.MultiDiscrete):
        counts = np.ravel(space.nvec).astype(int)
        offsets, start = np.cumsum(counts) - counts, np.ravel(space.start).astype(int)

        def write(sample, out):
            choices = np.reshape(sample, counts.shape).astype(int) - start
            if ((choices < 0) | (choices >= counts)).any():
                raise ValueError
            out[offsets + choices] = 1.0

        return int(counts.sum()), write
    if isinstance(space, spaces.MultiBinary) or (
        isinstance(space, spaces.Box) and len(space.shape) < 2
    ):

        def write(sample, out):
            out[:] = np.reshape(sample, out.shape)

        return math.prod(space.shape), write
    if isinstance(space, spaces.Tuple):
        return sequence_encoder(space, what)
    raise UnsupportedSpace(f"the {what} space {name(space)} is not supported; {ADVICE[what]}")


ADVICE = {
    "observation": "it may be Discrete, MultiDiscrete, MultiBinary, a Box of one axis, or a Tuple "
    "of these (flatten others first)",
    "action": "it may be Discrete, MultiDiscrete or a Box of real numbers on one axis",
}


def sequence_encoder(space, what):
    """Make the encoder of a Tuple: its parts, one after the other."""
    parts = [encoder(part, what) for part in space.spaces]
    sizes = [size for size, _ in parts]
    ends = np.cumsum(sizes, dtype=int).tolist()
    slices = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]

    def write(sample, out):
        for value, where, (_, put) in zip(sample, slices, parts, strict=True):
            put(value, out[where])

    return sum(sizes), write


def name(space):
    """Name a space and what it is made of, shortly: ``Box(64, 64, 3)``, ``Discrete(5)``."""
    if isinstance(space, spaces.Discrete):
        inside = [space.n]
    elif isinstance(space, spaces.MultiDiscrete):
        inside = [space.nvec.tolist()]
    elif isinstance(space, spaces.Tuple):
        inside = map(name, space.spaces)
    else:
        inside = space.spaces if isinstance(space, spaces.Dict) else space.shape or ()
    return f"{type(space).__name__}({', '.join(map(str, inside))})"


def choice(space, *counts):
    """Make the space of one choice among all combinations of choices.

    Raises
    ------
    UnsupportedSpace
        If they are more than ``CHOICES``.
    """
    total = math.prod(map(int, counts))
    if total > CHOICES:
        raise UnsupportedSpace(
            f"the action space {name(space)} is not supported: it holds {total} actions, and may "
            f"hold at most {CHOICES}"
        )
    return spaces.Discrete(total)


class Flat(gymnasium.Wrapper):
    """An environment with a flat observation and a simple action.

    Parameters
    ----------
    env : gymnasium.Env
    history : bool
        Whether the last action (one-hot, or as it was clipped) and the last reward follow
        the observation; zeros at the first step of an episode.

    Attributes
    ----------
    raw : object
        The last observation as the environment gave it.
    taken : int or ndarray
        The last action as the history shows it.

    Raises
    ------
    UnsupportedSpace
        Also for an observation that is not of the space that the environment declares.
    """

    def __init__(self, env, history=False):
        super().__init__(env)
        for kind in "observation_space", "action_space":
            if not isinstance(getattr(env, kind, None), spaces.Space):
                raise UnsupportedSpace(
                    f"the environment has no {kind}: its __init__ must set self.{kind} to one of"
                    " gymnasium.spaces"
                )
        self.history, self.raw, self.taken, act = history, None, None, env.action_space
        self.size, self.write = encoder(env.observation_space)
        if not self.size:
            raise UnsupportedSpace(
                f"the observation space {name(env.observation_space)} is not supported: it holds "
                "no numbers"
            )
        if isinstance(act, spaces.Discrete):
            self.action_space, self.decode = choice(act, act.n), self.decode_choice
        elif isinstance(act, spaces.MultiDiscrete):
            self.action_space, self.decode = choice(act, *act.nvec.flat), self.decode_choices
        elif isinstance(act, spaces.Box) and len(act.shape) == 1 and act.dtype.kind == "f":
            self.action_space = act
            self.decode = self.clip
        else:
            kind = f" of {act.dtype}" if isinstance(act, spaces.Box) else ""
            raise UnsupportedSpace(
                f"the action space {name(act)}{kind} is not supported; {ADVICE['action']}"
            )
        self.actions, self.write_action = encoder(self.action_space, "action")
        self.dtype = np.float64 if contains_double(env.observation_space) else np.float32
        total = self.size + (self.actions + 1 if history else 0)
        self.observation_space = spaces.Box(-np.inf, np.inf, (total,), self.dtype)

    def reset(self, *, seed=None, options=None):
        """Begin an episode; returns (observation, info)."""
        began = self.env.reset(seed=seed, options=options)
        observation, info = parts("reset", began, "observation, info")
        return self.encode(observation), info

    def step(self, action):
        """Take one step."""
        action = self.decode(action)
        taken = self.env.step(action)
        form = "observation, reward, terminated, truncated, info"
        observation, reward, terminated, truncated, info = parts("step", taken, form)
        out = self.encode(observation)
        try:
            float(reward)
        except (TypeError, ValueError):
            words = f"the environment's reward must be a number, got {reward!r:.60}"
            raise UnsupportedSpace(words) from None
        if self.history:
            self.write_action(self.taken, out[self.size : -1])
            out[-1] = reward
        return out, reward, bool(terminated), bool(truncated), info

    def encode(self, observation):
        """Write an observation as one vector; what is left for the history stays zero."""
        self.raw = observation
        out = np.zeros(self.observation_space.shape, self.dtype)
        try:
            self.write(observation, out[: self.size])
        except (TypeError, ValueError, OverflowError):
            raise self.misfit(observation) from None
        return out

    def misfit(self, observation):
        """Make the error for an observation that does not fit the environment's own space."""
        shape = getattr(observation, "shape", ())
        seen = f"an array of shape {shape}" if shape else f"{observation!r:.60}"
        return UnsupportedSpace(
            f"the environment observes {seen}, which does not fit its observation space "
            f"{name(self.env.observation_space)}"
        )

    def decode_choice(self, action):
        """Turn 0 … n − 1 into the environment's own numbers."""
        self.taken = action
        return int(action) + int(self.env.action_space.start)

    def decode_choices(self, action):
        """Turn the number of a combination into the choices that it stands for."""
        self.taken = action
        space = self.env.action_space
        choices = np.unravel_index(int(action), tuple(np.ravel(space.nvec).tolist()))
        return np.array(choices, space.dtype).reshape(space.shape) + space.start

    def clip(self, action):
        """Keep an action within the environment's box."""
        box = self.env.action_space
        self.taken = np.clip(action, box.low, box.high).astype(box.dtype)
        return self.taken.copy()  # an environment may change what it is given


def parts(method, result, form):
    """Return what an environment's method returned; UnsupportedSpace if it has not that form."""
    count = form.count(",") + 1
    if not isinstance(result, tuple) or len(result) != count:
        got = f"{len(result)} values" if isinstance(result, tuple) else f"{result!r:.60}"
        raise UnsupportedSpace(f"the environment's {method} must return ({form}), got {got}")
    return result


def contains_double(space):
    """Whether observations carry more than single precision."""
    if isinstance(space, spaces.Tuple):
        return any(map(contains_double, space.spaces))
    if not isinstance(space, spaces.Box):
        return False
    return space.dtype == np.float64 or (space.dtype.kind in "iu" and space.dtype.itemsize >= 4)


def make(identifier, **options):
    """Make an environment by its Gymnasium id, or say in one sentence why not.

    Raises
    ------
    SettingError
    """
    error = gymnasium.error
    try:
        return gymnasium.make(identifier, disable_env_checker=True, **options)
    except error.DependencyNotInstalled as problem:
        raise SettingError(f"the environment {identifier} needs a package: {problem}") from None
    except MissingPackage:
        raise
    except (error.Error, ModuleNotFoundError) as problem:
        raise SettingError(f"there is no environment {identifier!r}: {problem}") from None
    except Exception as problem:  # whatever its module or its constructor raises
        words = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        raise SettingError(f"the environment {identifier!r} cannot be made: {words}") from None


@dataclasses.dataclass(frozen=True)
class Config:
    """Any Gymnasium environment by its id."""

    name: str = setting("gym", "the environment", choices=("gym",))
    id: str = setting("CartPole-v1", "the environment's id")
    history: bool = setting(False, "whether last action and reward follow the observation")
    max_steps: int | None = setting(
        None, "cuts episodes off (truncation); None leaves it to the environment", low=1
    )

    def __post_init__(self):
        check(self)

    def make(self, **options):
        """Make the environment; ``options`` go to Gymnasium (``render_mode``)."""
        if self.max_steps is not None:
            options["max_episode_steps"] = self.max_steps
        return Flat(make(self.id, **options), self.history)
