"""Watching a trained agent: what is shown, and that nothing of the run is touched."""

import io
import types
import warnings

import numpy as np
import pytest

from streamrl_np import cli
from streamrl_np.experiments import configs, runner, watch
from streamrl_np.experiments.results import RunDirectoryError
from streamrl_np.settings import SettingError

SMALL = {"cell.units": "6", "network.width": "8", "run.steps": "600"}
SMALL_PPO = {"agent.name": "ppo", "agent.rollout": "256", "agent.minibatches": "4"}


def make_run(directory, name, **settings):
    experiment = configs.build(name, {**SMALL, **settings})
    runner.execute(runner.begin(experiment, directory, name), quiet=True)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize(
    "name, settings, words",
    [
        ("memory-chain", {}, ["sees    cue", "to go", "h in ±", "return  +1"]),
        ("popgym/RepeatFirstEasy", SMALL_PPO, ["sees    ", "reward  +0.0196", "┼"]),
        ("memory-chain", {"cell.name": "mingru", "agent.name": "qrc"}, ["──", "h in ±"]),
        ("memory-chain", {"cell.name": "feedforward"}, ["(no memory)"]),
        ("gym:Pendulum-v1", {}, ["sees    [", "does    ["]),
    ],
)
def test_text(name, settings, words, tmp_path):
    before = make_run(tmp_path / "run", name, **settings)
    out = io.StringIO()
    returns = watch.tell(watch.Player(tmp_path / "run", seed=3), 4, 60, out=out)
    for word in words:
        assert word in out.getvalue()
    assert len(returns) == 4
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}


def test_the_player_sees_and_does_what_the_trained_agent_would(tmp_path):
    make_run(tmp_path / "run", "memory-chain")
    run, player = runner.resume(tmp_path / "run"), watch.Player(tmp_path / "run")
    run.close()
    rest = run.env, tmp_path / "run", np.random.default_rng(0)
    agent, observe, _ = runner.trained_agent(run.experiment, *rest)
    moments = list(player.play())
    assert len(moments) == 17 and moments[-1].total in (-1, 1)
    raw, _ = run.env.reset(seed=watch.episode_seed(0, 0))
    for moment in moments:
        agent.act(observe.look(raw))
        assert (moment.memory == agent.actor.state.h).all()
        raw = run.env.step(moment.action)[0]


def test_looking_does_not_teach_the_normaliser():
    observe, _ = configs.build("memory-chain").make_normalizers(2)
    for x in np.random.default_rng(0).normal(size=(5, 2)):
        seen = observe(x)
    count = float(observe.moments.count)
    assert (observe.look(x) == seen).all() and float(observe.moments.count) == count


def test_a_gymnasium_environment_draws_itself_in_words(tmp_path):
    make_run(tmp_path / "run", "gym:FrozenLake-v1")
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.tell(watch.Player(tmp_path / "run"), 1, 1, out=out)
    lines = out.getvalue().splitlines()
    assert lines[1].startswith("sees    \x1b[41mS\x1b[0mFFF ")
    assert lines[2].startswith("        FHFH ") and watch.UNTRAINED not in out.getvalue()
    axis = {watch.COLOUR.sub("", line).find("│") for line in lines if "│" in line}
    assert len(axis) == 1, "colours take no room"


def test_long_lines_are_cut():
    red = "\x1b[31mred\x1b[0m"
    assert watch.wrap(red, 3) == [red] and watch.wrap(red, 2) == ["re", "d"]
    assert watch.wrap("abcdef\n\ng", 4) == ["abcd", "ef", "", "g"] and watch.wrap("") == [""]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_agent_that_has_not_learned_yet_is_announced(tmp_path):
    runner.begin(configs.build("memory-chain", SMALL), tmp_path / "run", "memory-chain").close()
    player, out, terminal = watch.Player(tmp_path / "run"), io.StringIO(), Terminal()
    watch.tell(player, 2, 3, out=out)
    watch.tell(player, 1, 3, 0, out=terminal)
    assert out.getvalue().count(watch.UNTRAINED) == 1
    assert out.getvalue().startswith(watch.UNTRAINED)
    assert watch.UNTRAINED in terminal.getvalue().split("\x1b[J")[-1], "it stays on the screen"


def test_a_film_of_an_agent_that_has_not_learned_yet(tmp_path, capsys):
    pytest.importorskip("PIL.Image")
    seen = watch.Moment(0, None, 0, 1.0, 1.0, np.ones(2, complex), np.zeros((4, 4, 3), "u1"))
    player = types.SimpleNamespace(
        play=lambda: iter([seen]),
        note=watch.UNTRAINED,
        agent=types.SimpleNamespace(retention=lambda: np.ones(2)),
        env=types.SimpleNamespace(unwrapped=types.SimpleNamespace(dt=0.01)),
    )
    assert watch.film(player, tmp_path / "x.gif") == 1
    assert capsys.readouterr().out == watch.UNTRAINED
    assert [path.name for path in tmp_path.iterdir()] == ["x.gif"]


def test_a_film_needs_a_file_to_go_to(tmp_path):
    for path in tmp_path, tmp_path / "missing" / "x.gif":
        with pytest.raises(SettingError, match=f"out must name a file in .* got {path}$"):
            watch.film(None, path)
    assert not list(tmp_path.iterdir()) and not list(tmp_path.parent.glob(".*.part"))


def test_the_plane():
    lines = watch.plane(np.array([1, 1j, -1, 0, 0]), 9, 5)
    assert lines[0] == "    .    " and lines[2] == ".───:───." and lines[4] == "    │    "
    assert lines[5].strip() == "h in ±1"


def test_a_gif_of_mujoco(tmp_path, capsys):
    Image = pytest.importorskip("PIL.Image")
    make_run(tmp_path / "run", "mujoco/Hopper-P", **{"run.steps": "200"})
    if cli.main(["watch", str(tmp_path / "run"), "--steps", "12"]):
        assert "MuJoCo cannot draw here" in capsys.readouterr().err
        pytest.skip("no OpenGL")
    assert "watch.gif" in capsys.readouterr().out
    with Image.open(tmp_path / "run" / "watch.gif") as gif:
        assert gif.format == "GIF" and gif.n_frames >= 2
        first = np.asarray(gif.convert("RGB"), int)
        gif.seek(gif.n_frames - 1)
        last = np.asarray(gif.convert("RGB"), int)
    half = first.shape[1] // 2
    assert np.ptp(first[:, :half]) > 100, "the robot's half is not blank"
    assert (np.abs(first - last)[:, :half] > 30).any() and (
        np.abs(first - last)[:, half:] > 30
    ).any()


def test_what_cannot_be_watched(tmp_path, capsys):
    assert cli.main(["watch", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
    make_run(tmp_path / "run", "memory-chain")
    assert cli.main(["watch", str(tmp_path / "run"), "--steps", "0"]) == 2
    capsys.readouterr()
    assert cli.main(["watch", str(tmp_path / "run"), "--seed", "-1"]) == 2
    error = capsys.readouterr().err
    assert error == "streamrl_np: seed must be a whole number, at least 0, got -1\n"
    for delay in "-1", "nan", "1e99":
        assert cli.main(["watch", str(tmp_path / "run"), "--delay", delay]) == 2
        assert "delay must be a number of seconds in [0, 60], got" in capsys.readouterr().err
    assert cli.main(["watch", str(tmp_path / "run"), "--out", str(tmp_path / "a.gif")]) == 2
    assert "--out is for the GIF of a MuJoCo run" in capsys.readouterr().err
    (tmp_path / "run" / "checkpoint.npz").unlink()
    (tmp_path / "run" / "final.npz").unlink()
    assert cli.main(["watch", str(tmp_path / "run")]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", "3", '{"settings": {}}', '{"settings": {"env": 1}}']
)
def test_a_configuration_that_describes_no_run(text, tmp_path):
    make_run(tmp_path / "run", "memory-chain", **{"run.steps": "20"})
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(
        RunDirectoryError, match=r"config.json (does not describe a run|is damaged)"
    ):
        watch.Player(tmp_path / "run")


def test_the_players_second_episode_begins_from_nothing(tmp_path):
    make_run(tmp_path / "run", "memory-chain")
    once, twice = (watch.Player(tmp_path / "run") for _ in range(2))
    list(twice.play(0))
    assert (next(twice.play(1)).memory == next(once.play(1)).memory).all()


def test_a_film_takes_as_long_as_what_it_shows(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    moments = [
        watch.Moment(t, None, 0, 1.0, t + 1.0, np.full(2, t, complex), np.full((4, 4, 3), t, "u1"))
        for t in range(9)
    ]
    player = types.SimpleNamespace(
        play=lambda: iter(moments),
        note="",
        agent=types.SimpleNamespace(retention=lambda: np.ones(2)),
        env=types.SimpleNamespace(unwrapped=types.SimpleNamespace(dt=0.01)),
    )
    assert watch.film(player, tmp_path / "x.gif") == 9
    with Image.open(tmp_path / "x.gif") as gif:
        assert (gif.n_frames, gif.info["duration"]) == (3, 40), "steps 0, 4 and 8"


def test_a_seed_plays_the_same_again(tmp_path):
    make_run(tmp_path / "run", "memory-chain", **{"run.steps": "10"})

    def actions():
        player = watch.Player(tmp_path / "run", seed=3)
        return [moment.action for episode in range(20) for moment in player.play(episode)]

    first = actions()
    assert first == actions() and len(set(first)) == 2


def test_every_episode_that_is_told_is_another_one():
    asked = []
    seen = watch.Moment(0, None, 0, 1.0, 1.0, np.ones(2, complex), None)
    player = types.SimpleNamespace(note="", play=lambda n=0: asked.append(n) or iter([seen]))
    assert watch.tell(player, 3, out=io.StringIO()) == [1.0] * 3
    assert asked == [0, 1, 2]


@pytest.mark.parametrize("drawn", [False, True])
def test_what_is_asked_for_is_played(drawn, tmp_path, monkeypatch):
    asked = []

    def play(player, *arguments):
        asked.extend(arguments)
        return 0.0

    monkeypatch.setattr(
        watch, "Player", lambda *a: asked.extend(a) or types.SimpleNamespace(drawn=drawn)
    )
    monkeypatch.setattr(watch, "film" if drawn else "tell", play)
    arguments = ["watch", str(tmp_path), "--seed", "5", "--steps", "7"]
    arguments += [] if drawn else ["--episodes", "3", "--delay", "0.5"]
    assert cli.main(arguments) == 0
    played = [tmp_path / "watch.gif", 7] if drawn else [3, 7, 0.5]
    assert asked == [tmp_path, 5, *played]
