"""Runs on disk: the same bytes from the same seed, killed or not; errors that say what is wrong."""

import csv
import errno
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from streamrl_np import cli
from streamrl_np.agents import qrc
from streamrl_np.arrays import NonFiniteError
from streamrl_np.experiments import checkpoint, configs, results, runner, sweep
from streamrl_np.files import atomic_write

SMALL = {"cell.units": "8", "network.width": "8", "env.length": "4", "run.metrics_every": "200"}


def small(steps=3000, **settings):
    return configs.build("memory-chain", {**SMALL, "run.steps": str(steps), **settings})


def finish(directory, experiment, **options):
    return runner.execute(
        runner.begin(experiment, directory, "memory-chain", **options), quiet=True
    )


def episodes(directory):
    return (directory / "episodes.csv").read_bytes()


def checkpointed(directory):
    """Say which step the checkpoint is of."""
    return checkpoint.load(directory / "checkpoint.npz")[1]["progress"]["step"]


class Lengthening(gymnasium.Env):
    """Twenty episodes of 5 steps, then one that does not end."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)
    begun = 0

    def reset(self, *, seed=None, options=None):
        self.t, self.begun = 0, self.begun + 1
        return np.zeros(2, "f4"), {}

    def step(self, action):
        self.t += 1
        return np.zeros(2, "f4"), 1.0, self.t == 5 and self.begun <= 20, False, {}


def contents(directory):
    """Read all files of a run but the lock."""
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.name != results.LOCK}


def metrics(directory):
    """Read metrics.csv without its last column, which is a speed."""
    lines = (directory / "metrics.csv").read_text().splitlines()
    return [line.rpartition(",")[0] for line in lines]


def test_a_run_leaves_everything_behind(tmp_path):
    summary = finish(tmp_path / "run", small())
    names = {path.name for path in (tmp_path / "run").iterdir()}
    written = {"config.json", "episodes.csv", "metrics.csv", "summary.json", "curve.png"}
    assert names == written | {"checkpoint.npz", "final.npz"}
    assert summary["steps"] == 3000 and summary["episodes"] == 600 and summary["complete"]
    config = results.read_json(tmp_path / "run" / "config.json")
    assert config["settings"]["env"]["length"] == 4 and config["seed"] == 0
    assert config["versions"]["numpy"] == np.__version__
    table = results.read_episodes(tmp_path / "run" / "episodes.csv")
    assert summary["final_return"] == pytest.approx(table.returns[-100:].mean())
    assert list(table.step[:2]) == [5, 10] and (table.length == 5).all()
    assert len(metrics(tmp_path / "run")) == 1 + 3000 // 200


def test_an_episode_that_does_not_end_leaves_the_agent_all_the_same(tmp_path, capsys):
    experiment = small(900, **{"env.length": "5000", "run.checkpoint_every": "300"})
    summary = finish(tmp_path / "run", experiment)
    assert summary["complete"] and summary["episodes"] == 0
    assert "an episode has lasted 301 steps: nothing of it can be saved" in capsys.readouterr().err
    env, rng = experiment.make_env(), np.random.default_rng(0)
    agent, _, meta = runner.trained_agent(experiment, env, tmp_path / "run", rng)
    assert agent.updates[0] == meta["progress"]["step"] == 900
    assert not agent.actor.state.flat.any() and not agent.z_pi.flat.any()


def test_what_the_last_step_left_has_the_same_bits_after_a_stop(tmp_path):
    held = []
    for name, stop in ("whole", None), ("stopped", 500):
        path = tmp_path / name
        if stop:
            finish(path, small(stop))
            runner.execute(runner.resume(path, 1203), quiet=True)
        else:
            finish(path, small(1203))
        held.append(checkpoint.load(path / "final.npz")[0])
    assert all(array.tobytes() == held[1][key].tobytes() for key, array in held[0].items())


def test_no_two_processes_write_to_one_run(tmp_path, capsys):
    finish(tmp_path / "run", small(500))
    with results.hold(tmp_path / "run"):
        assert cli.main(["run", "--resume", str(tmp_path / "run"), "--steps", "900"]) == 2
        assert "another process is writing to" in capsys.readouterr().err
        job, done = sweep.Job("run", small(500), "memory-chain"), []
        thread = threading.Thread(target=lambda: done.append(sweep.run_job(job, tmp_path)))
        thread.start()
        thread.join(0.5)
        assert not done, "a sweep waits"
    thread.join(30)
    assert done[0]["complete"]
    assert cli.main(["run", "--resume", str(tmp_path / "run"), "--steps", "900", "--quiet"]) == 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        finish(tmp_path / name, small(**{"run.seed": seed}))
    assert episodes(tmp_path / "a") == episodes(tmp_path / "b") != episodes(tmp_path / "c")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


@pytest.mark.parametrize("optimizer", ["obgd", "adaptive_obgd"])
def test_a_run_broken_off_and_resumed_gives_the_same_bytes(tmp_path, optimizer):
    settings = {"agent.optimizer": optimizer, "run.checkpoint_every": "500"}
    finish(tmp_path / "whole", small(**settings))
    run = runner.begin(small(**settings), tmp_path / "broken", "memory-chain")
    for stop in (737, 1400, 2999):
        steps = run.steps()
        while run.progress.step < stop:
            next(steps)
        steps.close()
        run.close()  # as a dying process does; the rows past the checkpoint are on the disk
        run = runner.resume(tmp_path / "broken")
        assert run.progress.step <= stop
    runner.execute(run, quiet=True)
    assert episodes(tmp_path / "whole") == episodes(tmp_path / "broken")
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "broken")


def test_a_finished_run_can_be_given_more_steps(tmp_path):
    finish(tmp_path / "long", small(2000))
    finish(tmp_path / "short", small(1003))
    runner.execute(runner.resume(tmp_path / "short", steps=2000), quiet=True)
    assert episodes(tmp_path / "long") == episodes(tmp_path / "short")


def command(*arguments):
    """Start the command line in a process of its own."""
    line = [sys.executable, "-m", "streamrl_np", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def complete(*arguments):
    """Run the command line to its end, which must be a good one."""
    process = command(*arguments)
    _, error = process.communicate()
    assert process.returncode == 0, error


def settings_of_small(**more):
    pairs = {**SMALL, "run.checkpoint_every": "300", **more}
    return ["--set", *(f"{key}={value}" for key, value in pairs.items())]


def wait_for(path, seconds=30):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


@pytest.mark.slow
def test_kills_at_random_moments_change_no_byte(tmp_path):
    arguments = ["--steps", 8_000, "--quiet", *settings_of_small()]
    complete("run", "memory-chain", "--out", tmp_path / "whole", *arguments)
    draw = random.Random(0)
    killed = command("run", "memory-chain", "--out", tmp_path / "killed", *arguments)
    held = tmp_path / "killed" / "checkpoint.npz"
    kills, last = 0, None
    for _ in range(4):
        while killed.poll() is None and (not held.exists() or held.stat().st_mtime_ns == last):
            time.sleep(0.01)  # until it has come on
        time.sleep(draw.uniform(0.0, 0.3))
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        kills += checkpoint.load(held)[1]["progress"]["step"] < 8_000  # in the middle of its steps
        last = held.stat().st_mtime_ns
        killed = command("run", "--resume", tmp_path / "killed", "--quiet")
    _, error = killed.communicate()
    assert killed.returncode == 0, error
    assert kills >= 2, "the run was killed before or after its steps, not among them"
    assert episodes(tmp_path / "whole") == episodes(tmp_path / "killed")


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_run_goes_on_later(tmp_path):
    arguments = ["--steps", 20_000, "--quiet", *settings_of_small()]
    complete("run", "memory-chain", "--out", tmp_path / "whole", *arguments)
    run = command("run", "memory-chain", "--out", tmp_path / "run", *arguments)
    wait_for(tmp_path / "run" / "checkpoint.npz")
    first = (tmp_path / "run" / "checkpoint.npz").stat().st_mtime_ns  # of step 0
    while (tmp_path / "run" / "checkpoint.npz").stat().st_mtime_ns == first:
        assert run.poll() is None
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGINT)
    out, error = run.communicate()
    assert run.returncode == 130 and "--resume" in out and "Traceback" not in error
    assert not results.read_json(tmp_path / "run" / "summary.json")["complete"]
    complete("run", "--resume", tmp_path / "run", "--quiet")
    assert episodes(tmp_path / "whole") == episodes(tmp_path / "run")


def test_a_second_ctrl_c_ends_at_once_and_says_what_is_lost(tmp_path):
    arguments = ["--steps", 200_000, "--set", "cell.units=8", "env.length=100000"]
    run = command("run", "memory-chain", "--out", tmp_path / "run", *arguments)
    assert "steps" in run.stderr.read(200)  # the bar is drawn: it runs, and heeds Ctrl-C
    os.kill(run.pid, signal.SIGINT)
    for line in run.stderr:
        if "stopping at the episode's end; Ctrl-C again stops at once" in line:
            os.kill(run.pid, signal.SIGINT)
            break
    _, error = run.communicate()
    assert run.returncode == 130 and "Traceback" not in error
    assert f"go on with: python -m streamrl_np run --resume {tmp_path / 'run'}" in error


def test_stopping_at_a_return(tmp_path):
    settings = {"env.length": "1", "run.stop_return": "0.6", "cell.units": "32"}
    summary = finish(tmp_path / "run", small(60_000, **settings))
    assert summary["complete"] and summary["steps"] < 60_000 and summary["final_return"] >= 0.6


def test_a_run_that_reached_its_return_has_nothing_left_to_do(tmp_path):
    settings = {"env.length": "1", "run.stop_return": "-1.0"}
    summary = finish(tmp_path / "run", small(**settings))
    assert summary["complete"] and summary["episodes"] == 100
    (tmp_path / "run" / "summary.json").unlink()  # as if killed right after its last checkpoint
    before = episodes(tmp_path / "run")
    assert runner.execute(runner.resume(tmp_path / "run"), quiet=True)["steps"] == summary["steps"]
    assert episodes(tmp_path / "run") == before


def test_metrics_keep_their_signs(tmp_path):
    settings = {"cell.units": "8", "network.width": "8", "run.metrics_every": "200"}
    experiment = configs.build("gym:Pendulum-v1", {**settings, "run.steps": "200"})
    run = runner.begin(experiment, tmp_path / "r")
    run.agent.actor.p.head.b[1] = -6.0  # so narrow a Gaussian has a negative entropy
    runner.execute(run, quiet=True)
    with open(tmp_path / "r" / "metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["entropy"]) < 0 < float(row["td_error"])


def test_an_overflow_in_an_optimizer_stops_the_run(tmp_path):
    settings = {"agent.optimizer": "adaptive_obgd", "run.checkpoint_every": "500"}
    run = runner.begin(small(1500, **settings), tmp_path / "run", "memory-chain")
    with pytest.raises(
        NonFiniteError, match=r"after step 1000: the array agent\.critic_optimizer\.v"
    ):
        for step in run.steps():
            if step == 590:
                run.agent.optimizer_v.v[3] = np.inf


def spoiled(tmp_path, when=1500):
    run = runner.begin(small(**{"run.checkpoint_every": "500"}), tmp_path / "run", "memory-chain")
    for step in run.steps():
        if step == when:
            run.agent.critic.p.cell.B[3, 2] = complex(0, np.nan)


def test_a_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(NonFiniteError) as error:
        spoiled(tmp_path)
    words = str(error.value)
    assert words.startswith("after step 1500: the critic parameters: cell.B[3, 2].imag is nan")
    assert "checkpoint.npz, of step 1500" in words
    loaded, _ = checkpoint.load(tmp_path / "run" / "checkpoint.npz")
    assert all(np.isfinite(array).all() for array in loaded.values())
    again = runner.resume(tmp_path / "run")
    assert again.progress.step == 1500
    again.close()


@pytest.mark.parametrize("first", [1, 3, 7])  # 3 is no reset's
def test_an_environment_that_gives_a_nan_is_named_and_not_the_agent(first, tmp_path):
    run = runner.begin(small(), tmp_path / "run")
    look, seen = run.observe.look, itertools.count(1)

    class Spoiled(type(run.observe)):
        def __call__(self, raw):
            return look(raw) * (np.nan if next(seen) == first else 1.0)

    run.observe.__class__ = Spoiled
    words = "the next observation" if first == 3 else "the observation"
    with pytest.raises(NonFiniteError, match=rf"after step \d+: {words}"):
        runner.execute(run, quiet=True)


def test_a_refused_resume_changes_nothing(tmp_path, capsys):
    finish(tmp_path / "run", small(802, **{"run.metrics_every": "401"}))  # a row after its last
    before = contents(tmp_path / "run")  # checkpoint
    for arguments, words in (
        (["distractors", "--steps", "900"], "holds a run of memory-chain, not of distractors"),
        (["--steps", "100"], "steps must be at least the 802 that are done, got 100"),
        (["--steps", "801"], "steps must be at least the 802 that are done, got 801"),
    ):
        assert cli.main(["run", *arguments, "--resume", str(tmp_path / "run")]) == 2
        assert words in capsys.readouterr().err
        assert contents(tmp_path / "run") == before


def test_a_run_cut_off_in_an_episode_keeps_what_its_last_whole_one_taught(tmp_path):
    settings = {"cell.units": "8", "network.width": "8", "run.steps": "300"}
    finish(tmp_path / "run", configs.build("gym:CartPole-v1", settings))
    table = results.read_episodes(tmp_path / "run" / "episodes.csv")
    assert table.step[-1] < 300 and table.length[-1] < table.length.max()
    _, meta = checkpoint.load(tmp_path / "run" / "checkpoint.npz")
    assert meta["progress"]["step"] == table.step[-1]
    assert meta["progress"]["episodes"] == len(table.step)


def test_an_episode_that_crosses_a_checkpoints_step_at_the_end_loses_nothing(tmp_path):
    settings = {"cell.units": "8", "network.width": "8", "env.length": "16"}
    experiment = configs.build("memory-chain", {**settings, "run.steps": "10010"})
    finish(tmp_path / "run", experiment)
    _, meta = checkpoint.load(tmp_path / "run" / "checkpoint.npz")
    assert meta["progress"]["step"] == 9996 and meta["progress"]["episodes"] == 588


def test_a_summary_does_not_outlive_the_steps_that_it_is_of(tmp_path, capsys):
    finish(tmp_path / "run", small(500))
    run = runner.resume(tmp_path / "run", steps=2000)
    assert not (tmp_path / "run" / "summary.json").exists()
    run.close()
    assert cli.main(["show", str(tmp_path / "run")]) == 0
    assert "unfinished: 100 episodes in 500 steps" in capsys.readouterr().out


@pytest.mark.parametrize("summary", ["[]", '{"steps": "x", "final_return": "a"}'])
def test_a_damaged_summary_is_no_traceback(summary, tmp_path):
    finish(tmp_path / "run", small(500))
    (tmp_path / "run" / "summary.json").write_text(summary)
    assert cli.main(["show", str(tmp_path / "run")]) in (0, 2)
    resume = ["run", "--resume", str(tmp_path / "run"), "--steps", "600", "--quiet"]
    assert cli.main(resume) in (0, 2)


def test_a_run_broken_off_within_an_episode_does_not_go_on_as_if_it_were_not(tmp_path):
    run = runner.begin(small(500), tmp_path / "run")
    for step in run.steps():
        if step == 52:
            break
    with pytest.raises(results.RunDirectoryError, match="was broken off within an episode"):
        next(run.steps())
    run.close()


def test_the_speed_after_a_resume_is_of_the_steps_made_since(tmp_path):
    finish(tmp_path / "run", small(990, **{"run.metrics_every": "1000"}))
    runner.execute(runner.resume(tmp_path / "run", steps=2000), quiet=True)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        first, second = (float(row["steps_per_second"]) for row in csv.DictReader(file))
    assert first < 20 * second


def test_a_run_killed_before_its_first_checkpoint_can_be_killed_again(tmp_path):
    finish(tmp_path / "whole", small(700))
    run = runner.begin(small(700), tmp_path / "run", "memory-chain")
    run.close()
    for name in "checkpoint.npz", "episodes.csv", "metrics.csv":
        (tmp_path / "run" / name).unlink()  # only config.json was written
    run = runner.resume(tmp_path / "run")
    for step in run.steps():
        if step == 500:
            break
    run.close()
    runner.execute(runner.resume(tmp_path / "run"), quiet=True)
    assert episodes(tmp_path / "run") == episodes(tmp_path / "whole")


def test_a_run_that_was_given_more_steps_keeps_them(tmp_path):
    finish(tmp_path / "run", small(500))
    more = runner.resume(tmp_path / "run", steps=1500)
    for step in more.steps():
        if step == 900:
            break
    more.close()
    summary = runner.execute(runner.resume(tmp_path / "run"), quiet=True)
    assert summary["steps"] == 1500 and summary["complete"]
    finish(tmp_path / "whole", small(1500))
    assert episodes(tmp_path / "run") == episodes(tmp_path / "whole")


def test_a_directory_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(results.RunDirectoryError, match="is not empty"):
        runner.begin(small(), tmp_path)
    assert cli.main(["run", "memory-chain", "--out", str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_directory_is_left_alone_by_a_run_that_is_refused(tmp_path):
    settings = ["agent.name=ppo", "cell.name=gru"]  # has no BPTT
    command = ["run", "gym:CartPole-v1", "--out", str(tmp_path), "--set", *settings]
    assert cli.main(command) == 2
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


def test_what_a_killed_beginning_left_does_not_stand_in_the_way(tmp_path):
    (tmp_path / ".config.json.part").write_text("{")
    assert finish(tmp_path, small(200))["complete"]
    assert not (tmp_path / ".config.json.part").exists()


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    def full(file):
        file.write(b"a")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OSError, match=r"No space left on device: .*mine\.txt"):
        atomic_write(tmp_path / "mine.txt", full)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_file_where_a_directory_belongs_is_named(tmp_path, capsys):
    path = tmp_path / "file"
    path.write_text("mine")
    for command in (["show"], ["watch"], ["run", "--resume"]):
        assert cli.main([*command, str(path)]) == 2
        assert f"{path} holds no run: config.json is missing" in capsys.readouterr().err
    assert cli.main(["run", "memory-chain", "--out", str(path)]) == 2
    assert "cannot be a directory: a file is there" in capsys.readouterr().err
    assert path.read_text() == "mine"


def test_damaged_checkpoints_are_refused(tmp_path):
    run = tmp_path / "run"
    finish(run, small(400))
    path, whole = run / "checkpoint.npz", (run / "checkpoint.npz").read_bytes()
    draw = random.Random(0)
    for _ in range(40):
        damaged = bytearray(whole)
        if draw.random() < 0.3:
            damaged = damaged[: draw.randrange(len(damaged))]
        else:
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded, _ = checkpoint.load(path)
        except checkpoint.CheckpointError:
            continue
        path.write_bytes(whole)  # a bit of the zip's own margin: the content must be untouched
        original, _ = checkpoint.load(path)
        assert all((loaded[name] == original[name]).all() for name in original)


@pytest.mark.parametrize("offset, bits", [(6, 255), (8, 1)])  # a later ZIP; encrypted
def test_a_checkpoint_that_looks_like_another_kind_of_archive_is_refused(tmp_path, offset, bits):
    checkpoint.save(tmp_path / "c.npz", {"a": np.arange(3)}, {})
    content = bytearray((tmp_path / "c.npz").read_bytes())
    content[content.index(b"PK\x01\x02") + offset] |= bits
    (tmp_path / "c.npz").write_bytes(content)
    with pytest.raises(checkpoint.CheckpointError, match="is damaged or no checkpoint"):
        checkpoint.load(tmp_path / "c.npz")


def test_foreign_checkpoints_are_refused(tmp_path):
    finish(tmp_path / "run", small(400))
    path = tmp_path / "run" / "checkpoint.npz"
    np.savez(path, json=np.array('{"format": "another"}'))
    with pytest.raises(checkpoint.CheckpointError, match="not a checkpoint of this version"):
        runner.resume(tmp_path / "run")
    np.savez(path, secret=np.array([object()], dtype=object))
    with pytest.raises(checkpoint.CheckpointError, match="damaged or no checkpoint"):
        runner.resume(tmp_path / "run")
    finish(tmp_path / "other", small(400, **{"cell.units": "9"}))
    path.write_bytes((tmp_path / "other" / "checkpoint.npz").read_bytes())
    with pytest.raises(checkpoint.CheckpointError, match="belongs to another run"):
        runner.resume(tmp_path / "run")


@pytest.mark.parametrize("name", ["config.json", "episodes.csv"])
def test_missing_and_damaged_files_are_named(tmp_path, name):
    finish(tmp_path / "run", small(400))
    (tmp_path / "run" / name).write_text("{")
    with pytest.raises(results.RunDirectoryError, match=name):
        runner.resume(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(results.RunDirectoryError, match=f"{name} is missing"):
        runner.resume(tmp_path / "run")


def test_a_row_that_was_not_written_to_its_end_does_not_count(tmp_path):
    finish(tmp_path / "run", small(400))
    path = tmp_path / "run" / "episodes.csv"
    before = results.read_episodes(path)
    with path.open("a") as file:
        file.write("999,99,0.5")
    assert np.array_equal(results.read_episodes(path).step, before.step)
    path.write_bytes(path.read_bytes() + b"\n" + b"\0" * 200_000 + b"\n")
    with pytest.raises(results.RunDirectoryError, match=r"episodes\.csv is damaged"):
        results.read_episodes(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
def test_a_full_disk_is_named():
    table = results.Table("/dev/full", ["step"])
    for end in table.sync, table.close:
        with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
            end()


def test_a_run_whose_checkpoint_was_deleted_keeps_its_episodes(tmp_path):
    finish(tmp_path / "run", small(400))
    (tmp_path / "run" / "checkpoint.npz").unlink()
    before = episodes(tmp_path / "run")
    with pytest.raises(results.RunDirectoryError, match=r"checkpoint.npz is missing"):
        runner.resume(tmp_path / "run")
    assert episodes(tmp_path / "run") == before


def test_moving_average():
    assert list(results.moving_average(np.array([1.0, 3, 5, 7]), 2)) == [1, 2, 4, 6]
    assert len(results.moving_average(np.array([]))) == 0


def test_retentions_are_logged_under_their_names(tmp_path):
    finish(tmp_path / "run", small(400, **{"run.metrics_every": "100"}))
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            least, mean, most = (float(row[f"retention_{k}"]) for k in ("min", "mean", "max"))
            assert 0 < least < mean < most < 1


def test_a_last_episode_longer_than_all_before_costs_few_steps(tmp_path, monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("Lengthening-v0", Lengthening)
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    monkeypatch.setattr(runner, "SNAPSHOT_EVERY", 10)
    settings = {"cell.units": "4", "network.width": "6", "run.steps": "300"}
    finish(tmp_path / "run", configs.build("gym:Lengthening-v0", settings))
    assert checkpointed(tmp_path / "run") == 100


def test_of_errors_the_sizes_are_logged():
    run = runner.Run(small(**{"agent.name": "qrc"}))
    for sign in 1.0, -1.0:
        run.add_metrics(qrc.Update(sign * 1.0, sign * 2.0, sign * 3.0, sign * 4.0, 0.5))
    assert run.progress.sums == [2.0, 0.0, 6.0, 8.0, 1.0]


def test_a_return_that_is_reached_exactly_is_reached():
    run = runner.Run(small(**{"run.stop_return": "1.0"}))
    run.progress.recent.extend([1.0] * 99)
    assert not run.solved()
    run.progress.recent.append(1.0)
    assert run.solved()


def test_rows_are_on_the_disk_before_the_checkpoint_that_knows_them(tmp_path, monkeypatch):
    done, sync, save = [], results.Table.sync, checkpoint.save
    monkeypatch.setattr(results.Table, "sync", lambda self: (done.append("rows"), sync(self)))
    monkeypatch.setattr(checkpoint, "save", lambda *given: (done.append("all"), save(*given)))
    finish(tmp_path / "run", small(1000, **{"run.checkpoint_every": "400"}))
    assert done == ["rows", "rows", "all"] * (len(done) // 3) and len(done) >= 9


def test_the_agent_of_fewer_steps_is_not_taken_for_that_of_more(tmp_path):
    finish(tmp_path / "run", small(500))
    run = runner.resume(tmp_path / "run", steps=2000)
    for step in run.steps():
        if step == 900:
            break
    run.save()
    run.close()
    assert not (tmp_path / "run" / "final.npz").exists()


def test_after_a_run_ctrl_c_does_what_it_did_before(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    finish(tmp_path / "run", small(100))
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_saves_the_episode_that_it_waited_for(tmp_path):
    run = runner.begin(small(), tmp_path / "run", "memory-chain")
    own = run.steps

    def steps():
        for step in own():
            if step == 1002:
                signal.raise_signal(signal.SIGINT)
            yield step

    run.steps = steps
    summary = runner.execute(run, quiet=True)
    assert (summary["steps"], summary["complete"]) == (1005, False)
    assert checkpointed(tmp_path / "run") == 1005


def test_the_time_of_a_resumed_run_is_that_of_all_its_steps(tmp_path):
    finish(tmp_path / "run", small(500))
    run = runner.resume(tmp_path / "run", steps=1000)
    run.progress.seconds += 1000.0
    assert runner.execute(run, quiet=True)["seconds"] > 1000


def test_a_snapshot_does_not_take_the_place_of_a_later_checkpoint(tmp_path):
    finish(tmp_path / "run", small(1008, **{"run.checkpoint_every": "1003"}))
    assert checkpointed(tmp_path / "run") == 1005


def test_the_mean_retention_is_a_mean(tmp_path):
    run = runner.begin(small(200), tmp_path / "run", "memory-chain")
    runner.execute(run, quiet=True)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    kept = run.agent.retention()
    for name in "min", "mean", "max":
        assert float(row[f"retention_{name}"]) == pytest.approx(getattr(kept, name)())


def test_checkpoints_come_at_the_same_steps_after_a_resume(tmp_path):
    finish(tmp_path / "run", small(1300, **{"run.checkpoint_every": "500"}))
    run, seen = runner.resume(tmp_path / "run", steps=3000), []
    own = run.save
    run.save = lambda: (seen.append(run.progress.step), own())
    runner.execute(run, quiet=True)
    assert seen == [1500, 2000, 2500, 3000]


def test_an_array_of_another_precision_is_another_runs():
    live = {"a": np.zeros(3, "f4")}
    with pytest.raises(checkpoint.CheckpointError, match=r"a is float64 \(3,\), expected float32"):
        checkpoint.restore("c.npz", live, {"a": np.ones(3)})
    assert not live["a"].any()
