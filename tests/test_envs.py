import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from streamrl_np.envs import memory_chain
from streamrl_np.settings import SettingError


@pytest.mark.parametrize("settings", [{}, dict(length=1), dict(length=5, bits=3, distractors=2)])
def test_memory_chain_passes_gymnasiums_checker(settings):
    env = gymnasium.make("streamrl_np/MemoryChain-v0", **settings)
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("bits", [1, 3])
def test_memory_chain_episode(bits):
    env = memory_chain.Config(length=4, bits=bits).make()
    for seed in range(10):
        observation, _ = env.reset(seed=seed)
        cue = observation[2:]
        assert set(np.abs(cue)) == {1}
        for t in range(4):
            assert observation[0] == np.float32(1 - t / 4) and observation[1] == 0
            assert t == 0 or not observation[2:].any()
            observation, reward, terminated, truncated, _ = env.step(0)
            assert (reward, terminated, truncated) == (0, False, False)
        assert observation[0] == 0 and not observation[2:].any()
        asked = int(observation[1])
        right = int(cue[asked] > 0)
        action = right if seed % 2 else 1 - right
        _, reward, terminated, truncated, _ = env.step(action)
        assert (reward, terminated, truncated) == (1.0 if seed % 2 else -1.0, True, False)


def test_distractors_say_nothing_and_leave_the_rest_as_it_is():
    plain = memory_chain.Config(length=4, bits=2).make()
    env = memory_chain.Config(length=4, bits=2, distractors=3).make()
    seen = []
    for seed in range(100):
        observation, bare = env.reset(seed=seed)[0], plain.reset(seed=seed)[0]
        for _ in range(4):
            np.testing.assert_array_equal(observation[:4], bare)
            seen.append(observation[4:])
            observation, bare = env.step(0)[0], plain.step(0)[0]
        np.testing.assert_array_equal(observation[:4], bare)
    seen = np.array(seen)
    assert set(np.unique(seen)) == {-1, 1} and seen.shape == (400, 3)
    assert np.abs(seen.mean(0)).max() < 0.2
    assert len(np.unique(seen.reshape(100, -1), axis=0)) > 90


def test_memory_chain_cues_are_fair_and_seeded():
    env = memory_chain.Config().make()
    cues = [env.reset(seed=seed)[0][2] for seed in range(400)]
    assert abs(np.mean(cues)) < 0.2
    assert cues == [env.reset(seed=seed)[0][2] for seed in range(400)]


def test_length_is_checked():
    with pytest.raises(SettingError, match="length must be a whole number, at least 1, got 0"):
        gymnasium.make("streamrl_np/MemoryChain-v0", length=0)
