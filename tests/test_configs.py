"""Presets and agents by name: each of them runs, breaks off and resumes to the same numbers."""

import dataclasses

import numpy as np
import pytest

from streamrl_np import cells, layers, networks
from streamrl_np.agents import actor_critic, ppo, qrc, stream_q, td
from streamrl_np.cells import rtu
from streamrl_np.experiments import bench, configs, runner
from streamrl_np.networks import Network
from streamrl_np.settings import SettingError

SMALL = {"cell.units": "4", "network.width": "6", "run.checkpoint_every": "200"}
SMALL_PPO = {"agent.rollout": "64", "agent.segment": "8", "agent.minibatches": "2"}
SHORT = {
    "memory-chain": {"env.length": "3"},
    "flagged-recall": {"env.length": "3"},
    "k-memory-chain": {"env.delay": "2"},
    "trace-conditioning": {"env.interval": "7", "env.trials": "1"},
}


@pytest.mark.parametrize("agent", configs.AGENTS)
@pytest.mark.parametrize("name", SHORT)
def test_every_agent_lives_in_every_environment_and_resumes_bit_by_bit(name, agent, tmp_path):
    settings = {**SMALL, **SHORT[name], "agent.name": agent, "run.metrics_every": "50"}
    if agent == "ppo":
        settings |= SMALL_PPO
    settings = configs.build(name, settings | {"run.steps": "900"})
    assert configs.from_dict(configs.to_dict(settings)) == settings
    whole = runner.begin(settings, tmp_path / "whole", name)
    runner.execute(whole, quiet=True)
    broken = runner.begin(settings, tmp_path / "broken", name)
    for step in broken.steps():
        if step == 650:
            break
    broken.close()
    resumed = runner.resume(tmp_path / "broken")
    assert 0 < resumed.progress.step <= 650
    runner.execute(resumed, quiet=True)
    left, right = whole.agent.arrays(), resumed.agent.arrays()
    assert all(np.array_equal(left[key], right[key]) for key in left)
    assert whole.agent.updates[0] == resumed.agent.updates[0] == 900
    rows = (metrics(tmp_path / "whole"), metrics(tmp_path / "broken"))
    assert len(rows[0]) == 19 and rows[0] == rows[1]


def metrics(directory):
    """Read metrics.csv without the last column, which is the speed."""
    lines = (directory / "metrics.csv").read_text().splitlines()
    return [line.rpartition(",")[0] for line in lines]


def test_normalisers_and_agent_follow_the_settings():
    settings = {"agent.discount": "0.7", "normalize.observations": "false", "run.dtype": "float64"}
    experiment = configs.build("gym:CartPole-v1", settings)
    observe, scale = experiment.make_normalizers(4)
    assert scale.discount == 0.7 and not observe.enabled and observe.dtype == np.float64
    agent = experiment.make_agent(experiment.make_env(), np.random.default_rng(0))
    assert {views.flat.dtype for views in agent.parts().values()} == {np.dtype("f8")}


@pytest.mark.parametrize("agent", configs.AGENTS)
def test_a_frozen_recurrence_stays_as_it_was_drawn_and_the_rest_learns(agent, tmp_path):
    settings = {**SMALL, "agent.name": agent, "cell.mode": "frozen", "run.steps": "300"}
    if agent == "ppo":
        settings |= SMALL_PPO
    run = runner.begin(configs.build("memory-chain", settings), tmp_path / agent)
    networks = [part for part in vars(run.agent).values() if isinstance(part, Network)]
    before = [network.p.copy() for network in networks]
    runner.execute(run, quiet=True)
    for network, old in zip(networks, before, strict=True):
        assert np.array_equal(network.p.cell.flat, old.cell.flat)
        assert not np.array_equal(network.p.head.W, old.head.W)


def test_numpys_numbers_are_numbers():
    one = actor_critic.Config(discount=np.float32(0.5), trace_decay=np.int64(1), step_size=2)
    two = actor_critic.Config(discount=0.5, trace_decay=1.0, step_size=2.0)
    assert one == two and repr(one) == repr(two)
    assert type(cells.Config(units=np.int64(8)).units) is int
    experiment = configs.build("memory-chain")
    left, right = (dataclasses.replace(experiment, agent=a) for a in (one, two))
    assert configs.fingerprint(left) == configs.fingerprint(right)
    for wrong in (True, np.bool_(True), "0.5", np.nan, np.array([0.5])):
        with pytest.raises(SettingError, match="discount must be a number in"):
            actor_critic.Config(discount=wrong)
    for wrong in (8.0, np.float64(8), True):
        with pytest.raises(SettingError, match="units must be a whole number, at least 1"):
            cells.Config(units=wrong)


def test_every_preset_is_tried():
    assert set(SHORT) == {name for name in configs.PRESETS if "/" not in name}


def test_another_agent_keeps_what_the_preset_says_of_the_task():
    build = configs.build
    preset = build("k-memory-chain").agent
    told = build("k-memory-chain", {"agent.name": "qrc", "agent.step_size": "0.5"}).agent
    assert (told.name, told.discount, told.step_size) == ("qrc", preset.discount, 0.5)
    assert build("memory-chain", {"agent.name": "qrc"}).agent.trace_decay == 0.95, "QRC's own"
    told = build("popgym/CountRecallEasy", {"agent.name": "qrc"}).agent
    assert (told.discount, told.optimizer) == (0.0, "sgd"), "how to learn is the agent's own matter"


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"agent.name": "dqn"}, "agent.name must be one of actor-critic, .*, got .dqn"),
        ({"agent.name": "qrc", "agent.kappa": "1"}, "there is no setting 'agent.kappa'"),
        ({"agent.name": "qrc", "env.lenght": "1"}, "did you mean 'env.length'"),
        ({"agent.name": "qrc", "agent.epsilon_end": "2"}, "agent.epsilon_end must be a number in"),
    ],
)
def test_wrong_settings_of_another_agent(settings, words):
    with pytest.raises(SettingError, match=words):
        configs.build("memory-chain", settings)


def test_settings_follow_the_task_that_is_asked_for():
    for name, other, same in (
        ("mujoco/Hopper-P", {"env.robot": "HalfCheetah"}, "mujoco/HalfCheetah-P"),
        ("popgym/RepeatFirstEasy", {"env.task": "ConcentrationEasy"}, "popgym/ConcentrationEasy"),
    ):
        assert configs.build(name, other) == configs.build(same)


def test_the_defaults_are_those_that_the_pages_list():
    """docs/details.md; a changed default would make other runs under the same fingerprint."""
    assert (layers.LAYER_NORM_EPS, layers.LEAK) == (1e-5, 0.01)
    network, cell = networks.Config(), cells.Config()
    assert (network.width, network.blocks, network.sparsity) == (64, 1, 0.9)
    assert (cell.units, cell.r_min, cell.r_max, cell.max_phase) == (192, 0.9, 1.0, 6.28)
    for agent in actor_critic, stream_q, td:
        c = agent.Config()
        assert (c.discount, c.trace_decay, c.step_size, c.optimizer) == (0.99, 0.8, 1.0, "obgd")
    c = actor_critic.Config()
    assert (c.kappa_policy, c.kappa_value, c.entropy) == (3.0, 2.0, 0.01)
    c = qrc.Config()
    assert (c.discount, c.trace_decay, c.beta, c.optimizer) == (0.99, 0.95, 1.0, "sgd")
    assert (c.step_size, c.step_size_auxiliary) == (1e-4, 1e-5)
    for c in qrc.Config(), stream_q.Config():
        assert (c.epsilon_start, c.epsilon_end, c.epsilon_steps) == (1.0, 0.01, 50_000)
    c = ppo.Config()
    assert (c.rollout, c.segment, c.minibatches, c.epochs) == (2048, 16, 32, 4)
    assert (c.discount, c.advantage_decay, c.clip, c.value_clip) == (0.99, 0.95, 0.2, 0.2)
    assert (c.step_size, c.max_norm, c.entropy) == (3e-4, 0.5, 0.0)


def test_whole_rollouts_are_timed():
    settings = {**SMALL, **SMALL_PPO, "agent.name": "ppo"}
    found = bench.measure_experiment(configs.build("k-memory-chain", settings), 70)
    assert found["steps"] == 128


def test_the_parts_of_a_step_are_no_more_than_the_whole():
    settings = {"cell.units": "4", "network.width": "6"}
    found = bench.measure_experiment(configs.build("k-memory-chain", settings), 50)
    parts = sum(found[name] for name in ("environment", "normalisation", "agent"))
    assert 0 < parts <= found["whole"] and found["agent_ratio"] >= 1


def test_presets_are_as_the_pages_say():
    agent = configs.build("k-memory-chain").agent
    assert (agent.discount, agent.trace_decay) == (0.5, 0.0)
    agent = configs.build("trace-conditioning").agent
    assert (agent.discount, agent.trace_decay) == (0.9, 0.9)
    assert configs.build("memory-chain").agent.kappa_policy == 2.0
    for name, key in (
        ("memory-chain", "length"),
        ("k-memory-chain", "delay"),
        ("flagged-recall", "length"),
        ("trace-conditioning", "interval"),
    ):
        assert configs.build(name, {f"env.{key}": "48"}).cell.r_min == rtu.ring(48), name


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("key", ["run.stop_return", "agent.step_size"])
def test_a_number_without_bounds_is_finite_all_the_same(key, value):
    with pytest.raises(SettingError, match=f"{key} must be a number.*, got {value}"):
        configs.build("memory-chain", {key: value})


@pytest.mark.parametrize("text", ["none", "None"])
def test_none_may_be_written_as_python_does(text):
    assert configs.build("memory-chain", {"run.stop_return": text}).run.stop_return is None
