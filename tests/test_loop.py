"""The run loop: what an agent is given at every step, and what a transition says of it."""

import gymnasium
import numpy as np

from streamrl_np.experiments import loop


class Script(gymnasium.Env):
    """Six steps in three episodes; the second and the last terminate, the fourth is cut off."""

    ENDS = (
        (False, False),
        (True, False),
        (False, False),
        (False, True),
        (False, False),
        (True, False),
    )

    def __init__(self):
        self.t, self.seeds = 0, []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return np.array([100.0 + self.t]), {}

    def step(self, action):
        ends = self.ENDS[self.t]
        self.t += 1
        return np.array([float(self.t)]), 10.0 * self.t, *ends, {}


class Recorder:
    """An agent that learns nothing and writes down what it is given."""

    def __init__(self):
        self.seen, self.given = [], []

    def act(self, observation):
        self.seen.append(observation[0])
        return 0

    def update(self, observation, action, reward, following, terminated, truncated):
        self.given.append((observation[0], reward, following[0], terminated, truncated))


def test_what_the_agent_is_given_and_what_a_transition_says():
    env, agent, looked, scaled = Script(), Recorder(), [], []

    def observe(raw):
        looked.append(raw[0])
        return -raw

    def scale(reward, done):
        scaled.append((reward, done))
        return reward / 2

    life = loop.transitions(env, agent, observe, scale, seed=5, episode=3)
    taken = [next(life) for _ in range(6)]
    assert agent.given == [
        (-100.0, 5.0, -1.0, False, False),
        (-1.0, 10.0, -2.0, True, False),
        (-102.0, 15.0, -3.0, False, False),
        (-3.0, 20.0, -4.0, False, True),
        (-104.0, 25.0, -5.0, False, False),
        (-5.0, 30.0, -6.0, True, False),
    ]
    assert agent.seen == [before for before, *_ in agent.given]
    assert looked == [100, 1, 2, 102, 3, 4, 104, 5, 6], "every observation counts, and once"
    dones = [False, True, False, True, False, True]
    assert scaled == [(10.0 * t, done) for t, done in enumerate(dones, 1)]
    assert [t.reward for t in taken] == [10, 20, 30, 40, 50, 60], "as the environment gave them"
    assert [t.episode for t in taken] == [3, 3, 4, 4, 5, 5]
    assert [(t.terminated, t.truncated) for t in taken] == list(Script.ENDS)
    assert [t.done for t in taken] == dones


def test_every_episode_has_a_seed_of_its_own():
    env, agent = Script(), Recorder()
    life = loop.transitions(env, agent, lambda raw: raw, lambda reward, done: reward, 5, 3)
    for _ in range(6):
        next(life)
    assert env.seeds == [loop.episode_seed(5, episode) for episode in (3, 4, 5)]
    assert len({loop.episode_seed(seed, e) for seed in range(20) for e in range(20)}) == 400


def test_an_episodes_seed_is_hashed_from_the_runs_and_its_number():
    expected = int(np.random.SeedSequence([5, 3]).generate_state(1)[0])
    assert loop.episode_seed(5, 3) == expected != loop.episode_seed(3, 5)
