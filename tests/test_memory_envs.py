"""KMemoryChain, FlaggedRecall and trace conditioning."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from streamrl_np.envs import flagged_recall, k_memory_chain, memory_chain, trace_conditioning
from streamrl_np.experiments import configs, loop
from streamrl_np.settings import SettingError


@pytest.mark.parametrize(
    "name, settings",
    [
        ("KMemoryChain", {}),
        ("KMemoryChain", dict(delay=1)),
        ("FlaggedRecall", {}),
        ("FlaggedRecall", dict(length=1)),
        ("TraceConditioning", {}),
        ("TraceConditioning", dict(interval=80, trials=1)),
    ],
)
def test_gymnasiums_checker(name, settings):
    env = gymnasium.make(f"streamrl_np/{name}-v0", **settings)
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("delay", [1, 3])
@pytest.mark.parametrize("knows", [True, False])
def test_k_memory_chain_pays_for_the_bit_of_k_steps_ago(delay, knows):
    env = k_memory_chain.Config(delay=delay).make()
    observation, _ = env.reset(seed=delay)
    seen, rewards, terminated = [], [], False
    while not terminated:
        seen.append(observation[1])
        assert observation[0] == np.float32(1 - (len(seen) - 1) / (8 * delay))
        due = seen[-1 - delay] > 0 if len(seen) > delay else False
        observation, reward, terminated, truncated, _ = env.step(int(due == knows))
        rewards.append(reward)
        assert not truncated
    assert rewards == [0.0] * delay + [1.0 if knows else -1.0] * (7 * delay)
    assert set(np.abs(seen)) == {1.0}


def test_flagged_recall_pays_for_the_flagged_bit():
    env = flagged_recall.Config(length=5).make()
    flags, agreed = [], 0
    for seed in range(200):
        observation, _ = env.reset(seed=seed)
        shown = []
        for t in range(5):
            assert observation[0] == np.float32(1 - t / 5) and observation[1] == 0
            shown.append(observation[2:])
            observation, reward, terminated, _, _ = env.step(0)
            assert (reward, terminated) == (0.0, False)
        assert list(observation) == [0, 1, 0, 0]
        shown = np.array(shown)
        (flagged,) = np.flatnonzero(shown[:, 0])
        assert set(np.abs(shown[:, 1])) == {1.0}
        _, reward, terminated, truncated, _ = env.step(int(shown[flagged, 1] > 0))
        assert (reward, terminated, truncated) == (1.0, True, False)
        flags.append(flagged)
        agreed += shown[flagged, 1] == shown[(flagged + 1) % 5, 1]
    assert np.bincount(flags, minlength=5).min() > 20, "every step is flagged now and then"
    assert 70 < agreed < 130, "the other bits say nothing of the flagged one"


def test_trace_conditioning_has_the_intervals_it_says():
    env = trace_conditioning.Config(interval=10, trials=4).make()
    intervals, pauses = [], []
    for seed in range(100):
        observation, _ = env.reset(seed=seed)
        seen, rewards, truncated = [observation], [0.0], False
        while not truncated:
            observation, reward, terminated, truncated, _ = env.step(0)
            assert not terminated
            seen.append(observation)
            rewards.append(reward)
        seen = np.array(seen)
        assert (np.array(rewards) == seen[:, 1]).all(), "the reward is the US"
        rises = np.diff(seen, axis=0, prepend=0) == 1
        cs, us = np.flatnonzero(rises[:, 0]), np.flatnonzero(rises[:, 1])
        assert len(cs) == len(us) == 4 and seen.sum(0).tolist() == [16, 8]
        intervals += list(us - cs)
        pauses += [cs[0], *(cs[1:] - us[:-1] - 2)]
    assert set(intervals) == set(range(7, 14))
    assert set(pauses) == set(range(80, 121))


def test_what_an_environment_shows_is_a_copy():
    env = trace_conditioning.TraceConditioning(interval=7, trials=1)
    first, _ = env.reset(seed=0)
    first[:] = 9
    shown = env.step(0)[0]
    shown[:] = 9
    assert env.stimuli.max() == 1


def test_settings_are_checked():
    with pytest.raises(SettingError, match="delay must be a whole number, at least 1, got 0"):
        k_memory_chain.KMemoryChain(0)
    with pytest.raises(SettingError, match="interval must be a whole number, at least 7, got 3"):
        trace_conditioning.Config(interval=3)


def return_error(cell, steps=12_000, measured=3_000):
    """Let TD(λ) learn; the mean squared error of v by the true return, relative to its variance."""
    small = {"cell.name": cell, "cell.units": "32", "network.width": "16"}
    experiment = configs.build("trace-conditioning", {**small, "normalize.rewards": "false"})
    assert experiment.agent.discount == 1 - 1 / experiment.env.interval
    env = experiment.make_env()
    agent = experiment.make_agent(env, np.random.default_rng(0))
    live = loop.transitions(env, agent, *experiment.make_normalizers(2), seed=0)
    rewards, values = np.array(
        [(t.reward, t.update.value) for t in itertools.islice(live, steps)]
    ).T
    returns = np.zeros(steps + 1)
    for t in reversed(range(steps)):
        returns[t] = rewards[t] + experiment.agent.discount * returns[t + 1]
    last = slice(steps - 100 - measured, steps - 100)  # what follows is known for 100 steps
    return np.mean((values[last] - returns[last]) ** 2) / returns[last].var()


def test_td_with_a_memory_foresees_the_stimulus_and_without_one_it_cannot():
    assert return_error("rtu") < 0.4
    assert return_error("feedforward") > 0.9


def test_k_memory_chain_says_what_it_shows():
    env = k_memory_chain.KMemoryChain(delay=3)
    observation, _ = env.reset(seed=0)
    for _ in range(12):
        assert env.render() == f"{int(observation[1]):+d}"
        observation = env.step(0)[0]


def test_flagged_recall_says_what_it_shows():
    env = flagged_recall.FlaggedRecall(4)
    observation, _ = env.reset(seed=0)
    for _ in range(4):
        flag = " flagged" if observation[2] else ""
        assert env.render() == f"{int(observation[3]):+d}{flag}"
        observation = env.step(0)[0]
    assert env.render() == "which was flagged?"


def test_memory_chain_says_what_it_shows():
    env = memory_chain.MemoryChain(length=3)
    observation, _ = env.reset(seed=0)
    said = [env.render()]
    for _ in range(3):
        env.step(0)
        said.append(env.render())
    assert said == [f"cue {int(observation[2]):+d}", "2 to go", "1 to go", "bit 0?"]


def test_the_index_of_the_bit_that_is_asked_for_lies_in_the_space():
    env = memory_chain.MemoryChain(length=1, bits=5)
    for seed in range(20):
        env.reset(seed=seed)
        assert env.observation_space.contains(env.step(0)[0])


def test_trace_conditioning_says_what_it_shows():
    env = trace_conditioning.TraceConditioning(interval=7, trials=1)
    env.reset(seed=0)
    truncated, said = False, {env.render()}
    while not truncated:
        observation, _, _, truncated, _ = env.step(0)
        assert env.render() == {(0, 0): "nothing", (1, 0): "CS", (0, 1): "US"}[tuple(observation)]
        said.add(env.render())
    assert len(said) == 3
