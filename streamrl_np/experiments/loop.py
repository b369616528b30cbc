"""The run loop: a generator of transitions. Logging, stopping and checkpoints live outside it."""

from typing import NamedTuple

import numpy as np


class Transition(NamedTuple):
    """One step of the environment and what the agent made of it."""

    episode: int
    reward: float  # as the environment gave it
    terminated: bool
    truncated: bool
    update: NamedTuple  # what the agent's update returned

    @property
    def done(self):
        """Whether the episode ended with this step."""
        return self.terminated or self.truncated


def episode_seed(seed, episode):
    """Derive the seed of one episode, so that a resumed run needs no simulator state."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def transitions(env, agent, observe, scale, seed, episode=0):
    """Let an agent live in an environment for ever, learning at every step.

    Parameters
    ----------
    env : gymnasium.Env
    agent : object
        With ``act(observation)`` and ``update(…)``, as in agents/actor_critic.py.
    observe : callable
        Normalises an observation.
    scale : callable
        Scales a reward: ``scale(reward, done)``.
    seed : int
        The run's seed.
    episode : int
        Number of the first episode.

    Yields
    ------
    Transition
    """
    while True:
        raw, _ = env.reset(seed=episode_seed(seed, episode))
        observation = observe(raw)
        done = False
        while not done:
            action = agent.act(observation)
            raw, reward, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
            following = observe(raw)
            scaled = scale(reward, done)
            update = agent.update(observation, action, scaled, following, terminated, truncated)
            yield Transition(episode, float(reward), terminated, truncated, update)
            observation = following
        episode += 1
