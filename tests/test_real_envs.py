"""Real environments: POPGym, MuJoCo, any Gymnasium id; what agents see, and runs that resume."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from streamrl_np import cli
from streamrl_np.envs import flat, masked_mujoco, popgym
from streamrl_np.experiments import configs, results, runner
from streamrl_np.extras import MissingPackage
from streamrl_np.settings import SettingError

TASKS = popgym.tasks()


class Spaces(gymnasium.Env):
    """An environment of any two spaces."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action
        self.received = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        self.received.append(action)
        return self.observation_space.sample(), 0.5, False, False, {}


BOX = spaces.Box(-1, 1, (2,))


def first_of(space, sample):
    env = flat.Flat(Spaces(space, spaces.Discrete(2)))
    return env.encode(sample).tolist()


def test_observations_become_one_vector():
    assert first_of(spaces.Discrete(3, start=5), 6) == [0, 1, 0]
    assert first_of(spaces.MultiDiscrete([2, 3]), [1, 2]) == [0, 1, 0, 0, 1]
    assert first_of(spaces.MultiDiscrete([[2, 3]], start=[[1, 1]]), [[2, 1]]) == [0, 1, 1, 0, 0]
    assert first_of(spaces.MultiBinary(3), [1, 0, 1]) == [1, 0, 1]
    assert first_of(spaces.Box(0, 9, ()), 4) == [4]
    mixed = spaces.Tuple([spaces.Discrete(2), BOX, spaces.Tuple([spaces.Discrete(2)])])
    assert first_of(mixed, (1, [0.5, -0.5], (0,))) == [0, 1, 0.5, -0.5, 1, 0]


def test_last_action_and_reward_follow_and_are_zero_at_first():
    env = flat.Flat(Spaces(BOX, spaces.Discrete(3, start=1)), history=True)
    assert not env.reset(seed=0)[0][2:].any()
    assert env.step(2)[0][2:].tolist() == [0, 0, 1, 0.5]
    assert env.unwrapped.received == [3], "the environment counts from 1"
    assert not env.reset(seed=0)[0][2:].any()


def test_actions_are_clipped_for_the_environment_alone():
    inner = Spaces(BOX, spaces.Box(-2, 2, (2,)))
    env = flat.Flat(inner, history=True)
    action = np.array([5.0, -0.5], "f4")
    env.reset(seed=0)
    assert env.step(action)[0][2:].tolist() == [2, -0.5, 0.5]
    assert inner.received[0].tolist() == [2, -0.5] and action[0] == 5


def test_an_environment_may_change_the_action_that_it_is_given():
    class Halves(Spaces):
        def step(self, action):
            action *= 0.5
            return super().step(action)

    env = flat.Flat(Halves(BOX, spaces.Box(-2, 2, (1,))), history=True)
    env.reset(seed=0)
    assert env.step(np.ones(1, "f4"))[0][2:].tolist() == [1, 0.5]


def test_double_precision_is_kept_however_deep_it_lies():
    deep = spaces.Tuple([spaces.Discrete(2), spaces.Tuple([spaces.Box(-1, 1, (2,), np.float64)])])
    for space, dtype in (deep, np.float64), (spaces.Tuple([BOX]), np.float32):
        env = flat.Flat(Spaces(space, spaces.Discrete(2)))
        assert env.observation_space.dtype == env.reset(seed=0)[0].dtype == dtype


def test_a_combination_of_choices_is_one_choice():
    inner = Spaces(BOX, spaces.MultiDiscrete([2, 3]))
    env = flat.Flat(inner)
    assert env.action_space.n == 6
    for action in range(6):
        env.step(action)
    assert [tuple(a) for a in inner.received] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    "observation, action, words",
    [
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), spaces.Discrete(2), r"Box\(8, 8, 3\) is not"),
        (spaces.Dict(a=BOX), spaces.Discrete(2), r"observation space Dict\(a\) is not supported"),
        (BOX, spaces.MultiBinary(3), r"the action space MultiBinary\(3\) is not supported"),
        (BOX, spaces.Dict(a=BOX), r"the action space Dict\(a\) is not supported"),
        (BOX, spaces.Box(0, 9, (2,), int), r"Box\(2\) of int64 is not .* a Box of real numbers"),
        (BOX, spaces.MultiDiscrete([50] * 8), r"MultiDiscrete\(\[50, .* holds 39062500000000 act"),
        (BOX, spaces.MultiDiscrete([50] * 20), r"may hold at most 10000$"),
        (spaces.Tuple([]), spaces.Discrete(2), r"space Tuple\(\) is not .*: it holds no numbers"),
        (spaces.Box(-1, 1, (0,)), spaces.Discrete(2), r"Box\(0\) is not .*: it holds no numbers"),
    ],
)
def test_unsupported_spaces_are_refused_by_name(observation, action, words):
    with pytest.raises(flat.UnsupportedSpace, match=words):
        flat.Flat(Spaces(observation, action))


def test_an_environment_of_another_form_is_told_which_it_should_have():
    bare = gymnasium.Env()
    with pytest.raises(flat.UnsupportedSpace, match=r"no observation_space: its __init__ must set"):
        flat.Flat(bare)
    inner = Spaces(BOX, spaces.Discrete(2))
    env = flat.Flat(inner)
    inner.step = lambda action: (np.zeros(2), 0.0, False, {})
    with pytest.raises(flat.UnsupportedSpace, match=r"step must return \(obs.*\), got 4 values"):
        env.step(0)
    inner.reset = lambda **_: np.zeros(2)
    with pytest.raises(
        flat.UnsupportedSpace, match=r"reset must return \(observation, info\), got"
    ):
        env.reset(seed=0)


def test_ten_thousand_combinations_are_not_too_many():
    assert flat.Flat(Spaces(BOX, spaces.MultiDiscrete([10] * 4))).action_space.n == 10_000
    mixed = spaces.Tuple([spaces.Tuple([]), BOX])
    assert first_of(mixed, ((), [0.5, -0.5])) == [0.5, -0.5]


@pytest.mark.parametrize(
    "space, observation, words",
    [
        (
            BOX,
            np.zeros(3),
            r"observes an array of shape \(3,\), which .* observation space Box\(2\)",
        ),
        (BOX, 0.5, r"observes 0.5, which does not fit"),
        (BOX, None, r"observes None, which does not fit"),
        (spaces.MultiBinary(3), np.zeros((2, 2), int), r"shape \(2, 2\), .* MultiBinary\(3\)"),
        (spaces.Discrete(3), 3, r"observes 3, .* Discrete\(3\)"),
        (spaces.Discrete(3), -1, r"observes -1, .* Discrete\(3\)"),
        (spaces.MultiDiscrete([2, 3]), [2, 0], r"observes \[2, 0\], .* MultiDiscrete\(\[2, 3"),
        (
            spaces.MultiDiscrete([2, 3]),
            [0, -1],
            r"observes \[0, -1\], .* MultiDiscrete\(\[2, 3",
        ),
        (spaces.MultiDiscrete([2, 3]), [1], r"observes \[1\], .* MultiDiscrete\(\[2, 3"),
        (
            spaces.Tuple([BOX, BOX]),
            ([0, 0],),
            r"observes \(\[0, 0\],\), .* Tuple\(Box\(2\), Box",
        ),
        (spaces.Tuple([BOX, BOX]), 1, r"observes 1, .* Tuple\(Box\(2\), Box"),
    ],
)
def test_an_observation_that_does_not_fit_its_space_is_refused(space, observation, words):
    env = Spaces(space, spaces.Discrete(2))
    wrapped = flat.Flat(env)
    wrapped.reset(seed=0)
    env.step = lambda action: (observation, 0.0, False, False, {})
    with pytest.raises(flat.UnsupportedSpace, match=words):
        wrapped.step(0)
    env.reset = lambda **_: (observation, {})
    with pytest.raises(flat.UnsupportedSpace, match=words):
        wrapped.reset(seed=0)


@pytest.mark.parametrize("name", ["popgym/AutoencodeEasy", "popgym/RepeatFirstHard"])
@pytest.mark.filterwarnings("ignore:.*value is -?infinity")
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_they_pass_gymnasiums_checker(name):
    env = configs.build(name).make_env()
    check_env(env, skip_render_check=True)


def play(env, seed, steps):
    """Play random actions from a seeded reset; returns everything that was seen."""
    draw = np.random.default_rng(seed)
    seen = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        choice = draw.integers(getattr(env.action_space, "n", 1))
        numbers = draw.normal(size=env.action_space.shape).astype("f4")
        action = numbers if numbers.shape else int(choice)
        observation, reward, terminated, truncated, _ = env.step(action)
        seen += [observation, [reward]]
        if terminated or truncated:
            break
    return np.concatenate(seen)


EVERY = [popgym.Config(task=task) for task in TASKS]
EVERY += [masked_mujoco.Config(robot=robot) for robot in masked_mujoco.POSITIONS]
EVERY += [flat.Config(id="Pendulum-v1", history=True)]


@pytest.mark.parametrize("config", EVERY, ids=lambda c: list(vars(c).values())[1])
def test_an_episode_depends_on_its_seed_alone(config):
    """A resumed run relies on it: no simulator state is saved."""
    fresh, used = config.make(), config.make()
    play(used, 1, 120)
    play(used, 2, 7)  # and left in the middle
    assert fresh.reset(seed=3)[0].shape == fresh.observation_space.shape
    assert (play(fresh, 3, 60) == play(used, 3, 60)).all()


def test_the_papers_five_tasks_and_the_shapes_that_they_are_seen_in():
    # observation ⊕ one-hot action ⊕ reward
    shapes = {
        "RepeatFirstEasy": 4 + 4 + 1,
        "CountRecallEasy": 2 + 2 + 27 + 1,
        "AutoencodeEasy": 2 + 4 + 4 + 1,
        "ConcentrationEasy": 52 * 3 + 52 + 1,
        "HigherLowerEasy": 13 + 2 + 1,
    }
    assert tuple(shapes) == popgym.PAPER
    for task, size in shapes.items():
        assert popgym.Config(task=task).make().observation_space.shape == (size,)


@pytest.mark.parametrize(
    "robot, positions, velocities",
    [("Ant", 13, 14), ("HalfCheetah", 8, 9), ("Hopper", 5, 6), ("Walker2d", 8, 9)],
)
def test_masks_cut_the_state_in_two(robot, positions, velocities):
    """What is kept is what the simulator calls qpos and qvel."""
    seen, envs = {}, {}
    for mask in masked_mujoco.MASKS:
        envs[mask] = masked_mujoco.Config(robot=robot, mask=mask).make()
        envs[mask].reset(seed=0)
        seen[mask] = envs[mask].step(np.zeros(envs[mask].action_space.shape, "f4"))[0]
    assert seen["P"].size == positions and seen["V"].size == velocities
    assert (np.concatenate([seen["P"], seen["V"]]) == seen["F"]).all()
    data = envs["P"].unwrapped.data
    assert (seen["P"] == data.qpos[-positions:]).all()
    bound = 10 if robot in ("Hopper", "Walker2d") else np.inf  # theirs
    assert (seen["V"] == np.clip(data.qvel, -bound, bound)).all()


def test_a_mask_says_what_it_keeps():
    env = masked_mujoco.Mask(gymnasium.make("Pendulum-v1"), [2, 0])
    assert env.keep == (2, 0) and str(env).endswith("keeping entries 2, 0")
    assert env.observation_space.high.tolist() == [8, 1]
    full = env.unwrapped
    observation, _ = env.reset(seed=0)
    assert observation[1] == np.cos(full.state[0]).astype("f4")
    with pytest.raises(flat.UnsupportedSpace, match="cannot be masked"):
        masked_mujoco.Mask(Spaces(spaces.Discrete(3), spaces.Discrete(2)), [0])


def test_names_that_are_not_there():
    with pytest.raises(SettingError, match=r"task must be one of .*RepeatFirstEasy.*, got 'Zebra'"):
        configs.build("popgym/Zebra").make_env()
    with pytest.raises(SettingError, match="there is no environment 'Zebra-v0'"):
        configs.build("gym:Zebra-v0").make_env()
    with pytest.raises(SettingError, match="did you mean 'mujoco/Hopper-V'"):
        configs.build("mujoco/Hoper-V")
    assert configs.build("popgym/RepeatPreviousHard").make_env().observation_space.shape == (9,)


class Needy(Spaces):
    """An environment that cannot be made without arguments."""

    def __init__(self, size):
        super().__init__(BOX, spaces.Discrete(size))


@pytest.fixture
def ids(tmp_path, monkeypatch):
    """Register an environment that needs arguments, and write modules that cannot be imported."""
    spec = gymnasium.envs.registration.EnvSpec("Needy-v0", Needy)
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('no\\nlicence')\n")
    (tmp_path / "misspelt.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore:.*is out of date")
@pytest.mark.parametrize(
    "identifier, words",
    [
        ("Hopper-v2", "ImportError: The mujoco v2 and v3 based environments"),
        ("Hopper-v3", "ImportError: The mujoco v2 and v3 based environments"),
        ("Pusher-v4", "ImportError: `Pusher-v4` is only supported on"),
        ("GymV21Environment-v0", "ImportError: To use the gym compatibility environments"),
        ("Needy-v0", "TypeError: Needy.__init__() missing 1 required positional argument: 'size'"),
        ("breaks_on_import:X-v0", "RuntimeError: no licence"),
        ("misspelt:X-v0", "SyntaxError: "),
        ("a:b:c", "ValueError: too many values"),
    ],
)
def test_an_environment_that_cannot_be_made_gets_one_sentence(identifier, words, ids, capsys):
    assert cli.main(["run", f"gym:{identifier}", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"streamrl_np: the environment '{identifier}' cannot be made: {words}")
    assert error.count("\n") == 1


def test_what_is_said_of_a_package_that_an_environment_needs(monkeypatch):
    problem = gymnasium.error.DependencyNotInstalled("Box2D is not installed")

    def fail(*_, **__):
        raise problem

    monkeypatch.setattr(gymnasium, "make", fail)
    with pytest.raises(SettingError, match=r"^the environment X-v0 needs a package: Box2D is not"):
        flat.make("X-v0")
    problem = ModuleNotFoundError("No module named 'jax'")
    with pytest.raises(
        SettingError, match=r"^there is no environment 'X-v0': No module named 'jax"
    ):
        flat.make("X-v0")
    problem = MissingPackage("mujoco is not installed; get it with: …")
    with pytest.raises(MissingPackage, match=r"^mujoco is not installed; get it with"):
        flat.make("X-v0")


@pytest.mark.parametrize(
    "package, experiment, install",
    [
        ("popgym", "popgym/RepeatFirstEasy", "popgym"),
        ("mujoco", "mujoco/Hopper-P", "gymnasium[mujoco]"),
        ("imageio", "mujoco/Ant-F", "gymnasium[mujoco]"),
    ],
)
def test_a_missing_package_gets_one_sentence(
    package, experiment, install, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["run", experiment, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"streamrl_np: {package} is not installed") and error.count("\n") == 1
    assert f"python -m pip install '{install}'" in error


def test_mazes_need_one_package_more(monkeypatch):
    monkeypatch.setattr(popgym, "tasks", dict)
    monkeypatch.setitem(sys.modules, "mazelib", None)
    with pytest.raises(MissingPackage, match="mazelib is not installed; get it with"):
        configs.build("popgym/LabyrinthEscapeEasy").make_env()


def test_another_agent_brings_its_own_settings():
    experiment = configs.build(
        "popgym/CountRecallEasy", {"agent.name": "ppo", "agent.clip": "0.1", "agent.epochs": "2"}
    )
    assert experiment.agent.name == "ppo" and experiment.agent.clip == 0.1
    assert experiment.agent.discount == 0.0, "the task's"
    assert configs.from_dict(configs.to_dict(experiment)) == experiment
    with pytest.raises(SettingError, match=r"no setting 'agent.trace_decay'"):
        configs.build("memory-chain", {"agent.name": "ppo", "agent.trace_decay": "1"})
    with pytest.raises(SettingError, match=r"agent.name must be one of actor-critic, ppo where"):
        experiment = configs.build("gym:Pendulum-v1", {"agent.name": "qrc"})
        experiment.make_agent(experiment.make_env(), np.random.default_rng(0))


SMALL = {"cell.units": "16", "network.width": "16", "run.checkpoint_every": "400"}
SMALL_PPO = {"agent.name": "ppo", "agent.rollout": "256", "agent.minibatches": "4"}


@pytest.mark.parametrize(
    "name, settings",
    [
        ("popgym/RepeatFirstEasy", {}),
        ("popgym/ConcentrationEasy", {}),
        ("popgym/AutoencodeEasy", SMALL_PPO),
        ("popgym/CountRecallEasy", SMALL_PPO | {"agent.segment": "1"}),
        ("mujoco/Hopper-P", {}),
        ("mujoco/HalfCheetah-V", {"run.steps": "3000"}),
        ("mujoco/Hopper-V", SMALL_PPO),
        ("gym:Acrobot-v1", {"run.steps": "3000"}),
    ],
)
def test_a_run_broken_off_and_resumed_gives_the_same_bytes(name, settings, tmp_path):
    experiment = configs.build(name, {"run.steps": "2000", **SMALL, **settings})
    runner.execute(runner.begin(experiment, tmp_path / "whole", name), quiet=True)
    run = runner.begin(experiment, tmp_path / "broken", name)
    for stop in (900, 1500):
        steps = run.steps()
        while run.progress.step < stop:
            next(steps)
        steps.close()
        run.close()
        run = runner.resume(tmp_path / "broken")
        assert run.progress.step <= stop
    assert run.progress.step > 0, "no checkpoint was used"
    runner.execute(run, quiet=True)
    whole, broken = ((tmp_path / d / "episodes.csv").read_bytes() for d in ("whole", "broken"))
    assert whole == broken and whole.count(b"\n") > 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, settings, steps, goal",
    [
        ("gym:CartPole-v1", {"agent.name": "ppo"}, 70_000, 450),
        ("popgym/RepeatFirstEasy", {}, 50_000, 0.7),
    ],
)
def test_what_is_learned_soon(name, settings, steps, goal, tmp_path):
    experiment = configs.build(name, {"run.steps": str(steps), **settings})
    run = runner.begin(experiment, tmp_path / "run", name)
    runner.execute(run, quiet=True)
    returns = results.read_episodes(tmp_path / "run" / "episodes.csv").returns
    assert results.moving_average(returns, 20)[20:].max() >= goal


def test_episodes_can_be_cut_off():
    env = configs.build("gym:Pendulum-v1", {"env.max_steps": "7"}).make_env()
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(7)]
    assert ends == [(False, False)] * 6 + [(False, True)]
    with pytest.raises(SettingError, match=r"env.max_steps must be .*at least 1"):
        configs.build("gym:Pendulum-v1", {"env.max_steps": "0"})


def test_choices_are_counted_from_where_the_environment_counts_them():
    inner = Spaces(BOX, spaces.MultiDiscrete([2, 3], start=[5, -1]))
    env = flat.Flat(inner)
    for action in range(6):
        env.step(action)
    assert [tuple(a) for a in inner.received] == [(i, j) for i in (5, 6) for j in (-1, 0, 1)]


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8", "u8"])
def test_large_whole_numbers_keep_their_digits(dtype):
    for high in [2**31 - 1] + [2**40] * dtype.endswith("8"):
        space = spaces.Box(0, high, (1,), np.dtype(dtype).type)
        assert first_of(space, np.array([2**30 + 1], dtype)) == [2**30 + 1]


def test_last_action_and_reward_follow_where_they_are_asked_for():
    sizes = [
        configs.build("gym:CartPole-v1", {"env.history": history})
        .make_env()
        .observation_space.shape
        for history in ("false", "true")
    ]
    assert sizes == [(4,), (4 + 2 + 1,)]


def test_a_mask_keeps_the_bounds_of_what_it_keeps():
    box = masked_mujoco.Mask(gymnasium.make("Pendulum-v1"), [2, 0]).observation_space
    assert box.high.tolist() == [8, 1] and box.low.tolist() == [-8, -1]
