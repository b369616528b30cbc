"""Named sweeps and their figures: what is run, what is drawn, on processes and on Dask."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from streamrl_np import cli
from streamrl_np.experiments import configs, curves, curves_report, grids, sweep
from streamrl_np.experiments.results import Episodes, RunDirectoryError
from streamrl_np.settings import SettingError

SMALL = ["cell.units=4", "network.width=6", "run.checkpoint_every=200"]


@pytest.mark.parametrize(
    "text, seeds", [("0-3", [0, 1, 2, 3]), ("4", [4]), ("0,7-8, 2", [0, 2, 7, 8])]
)
def test_seeds(text, seeds):
    assert grids.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1"])
def test_seeds_that_are_none(text):
    with pytest.raises(SettingError, match="seeds must look like 0-9"):
        grids.parse_seeds(text)


NAMES = [*grids.SWEEPS, *(f"search:popgym/{task}" for task in grids.PAPER)]
NAMES += ["search-ppo:popgym/AutoencodeEasy", "gym:CartPole-v1"]


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_can_be_run_and_no_two_are_the_same(name):
    arms = grids.find(name)
    jobs = grids.jobs(arms, [0, 1])
    assert len({job.name for job in jobs}) == len({job.experiment for job in jobs}) == len(jobs)
    assert {job.experiment.run.seed for job in jobs} == {0, 1}
    if name in grids.SWEEPS:
        for experiment in {arm.experiment for arm in arms}:
            ceilings = [a for a in arms if a.experiment == experiment and a.label == "memoryless"]
            assert [a.settings["cell.name"] for a in ceilings] == ["feedforward"]


def test_a_search_varies_one_setting_at_a_time():
    arms = grids.find("search:popgym/CountRecallEasy")
    preset = configs.build("popgym/CountRecallEasy", arms[0].settings)
    base = {key: getattr(section, field.name) for key, section, field in configs.keys(preset)}
    for arm in arms[1:]:
        other = configs.build(arm.experiment, arm.settings)
        changed = [k for k, s, f in configs.keys(other) if getattr(s, f.name) != base[k]]
        assert len(changed) == 1, arm.label


def test_unknown_sweep(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments, words in (
        (["sweep", "zebra"], "sweep must be one of ring-16, "),
        (["sweep", "memory-chain", "--seeds", "x"], "seeds must look like"),
        (["sweep", "memory-chain", "--workers", "0"], "workers must be a whole number"),
        (["sweep", "memory-chain", "--set", "env.lenght=3"], "did you mean 'env.length'"),
        (
            ["sweep", "mujoco", "--only", "zebra"],
            "match one of mujoco-Hopper-P/stream-",
        ),
        (["sweep", "mujoco", "--only", "("], "only must be a regular expression, got '('"),
        (["sweep", "mujoco", "--only", "seed"], "only must match one of"),
        (["sweep", "ppo", "--dask", "tcp://x:1", "--workers", "2"], "--dask has workers of its"),
        (["plot", "nowhere"], "nowhere holds no sweep"),
    ):
        assert cli.main([*arguments]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_only_sees_the_names_that_it_lists(tmp_path):
    made = []

    def pool():
        raise AssertionError("nothing is to be run")

    arms = [arm for arm in grids.find("mujoco-rest") if arm.directory(0).endswith("RTRL/seed0")]
    made = [arm.directory(0) for arm in arms]
    pattern = r"stream-AC,-RTU,-RTRL$"
    grids.run("mujoco-rest", tmp_path, [0], pool, {}, pattern, True, {}, made)


def test_interquartile_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 3))
    assert np.allclose(curves.iqm(values), np.sort(values, axis=0)[2:6].mean(0))
    repeated = np.repeat(values[:3], 4, axis=0)  # 12 values: the middle 6 of them
    assert np.allclose(curves.iqm(values[:3]), np.sort(repeated, axis=0)[3:9].mean(0))
    assert curves.iqm(np.array([7.0])) == 7


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        low, high = curves.interval(rng.normal(size=20), rng)
        hits += low <= 0 <= high
    assert 48 <= hits <= 60


def test_the_interval_of_few_seeds_is_from_the_least_to_the_greatest():
    values = np.array([3.0, 1.0, 2.0, 9.0])
    assert curves.interval(values, np.random.default_rng(0)) == (1.0, 9.0)


def test_a_curve_averages_within_parts_and_repeats_where_nothing_ended():
    step = np.array([10, 20, 1000, 1001])
    episodes = Episodes(step, np.arange(4), np.array([1.0, 3.0, 5.0, 7.0]), np.ones(4, int))
    values = curves.curve(episodes, 10_000)
    assert values[0] == 2 and (values[1:9] == 2).all() and values[9] == 5 and values[10] == 7
    assert np.isnan(values[11:]).all()


def test_the_published_scale():
    assert curves.normalised("popgym/RepeatFirstEasy", 0.0) == 0.5
    assert curves.normalised("popgym/HigherLowerEasy", 0.507) == 1
    assert curves_report.PUBLISHED["mujoco/Hopper-P"].streaming == 1550


def test_a_sweep_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "sweep"
    arguments = [
        "sweep",
        "popgym",
        "--only",
        "HigherLower.*(AC.*RTRL|memoryless)",
        "--seeds",
        "0-1",
    ]
    arguments += ["--workers", "2", "--steps", "500", "--quiet", "--out", str(out)]
    arguments += ["--set", *SMALL]
    (out / "popgym-HigherLowerEasy" / "memoryless" / "seed1").mkdir(parents=True)
    (out / "popgym-HigherLowerEasy" / "memoryless" / "seed1" / "mine").touch()
    assert cli.main(arguments) == 1, "one run's directory is another's"
    printed = capsys.readouterr()
    assert "3 of 4 runs finished" in printed.out
    assert "failed: popgym-HigherLowerEasy/memoryless/seed1: RunDirectory" in printed.err
    (out / "popgym-HigherLowerEasy" / "memoryless" / "seed1" / "mine").unlink()
    assert cli.main(arguments) == 0
    assert "4 of 4 runs finished" in capsys.readouterr().out
    assert cli.main(["plot", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "| popgym/HigherLowerEasy | memoryless | 2 | 500 |" in shown
    assert (out / "popgym-HigherLowerEasy.png").read_bytes().startswith(b"\x89PNG")
    rows = (out / "curves.csv").read_text().splitlines()
    assert len(rows) == 5 and len(rows[1].rpartition(",")[2].split()) == curves.POINTS

    # what was committed suffices to go on: only the new seed is run, and the table is of all
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(out / "curves.csv", elsewhere)
    arguments[arguments.index("0-1")], arguments[arguments.index(str(out))] = "0-2", str(elsewhere)
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "2 of 2 runs finished\n4 finished runs were known" in shown
    assert len(list(elsewhere.glob("*/*/*/episodes.csv"))) == 2
    assert "| memoryless | 3 | 500 |" in (elsewhere / "table.md").read_text()
    assert (elsewhere / "curves.csv").read_text().splitlines()[1] in rows
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    shutil.copy(out / "curves.csv", fresh)
    arguments[arguments.index(str(elsewhere))] = str(fresh)
    assert cli.main([*arguments, "cell.units=5"]) == 2, "other settings are other runs"
    assert "with other settings: name another directory with --out" in capsys.readouterr().err
    assert [path.name for path in fresh.iterdir()] == ["curves.csv"]


def test_arms_stand_in_the_sweeps_order_whichever_ran_first(tmp_path):
    arms = grids.find("mujoco")[:3]
    row = "{},{},0,f,100,1,1.0,1.0," + " ".join(["1"] * curves.POINTS) + "\n"
    lines = [row.format(arm.experiment, f'"{arm.label}"') for arm in reversed(arms)]
    header = "experiment,arm,seed,settings,steps,finished,speed,final,curve\n"
    (tmp_path / "curves.csv").write_text(header + "".join(lines))
    backwards = [arm.label for arm in reversed(arms)]
    assert [row.arm for row in curves.rows(tmp_path)[0]] == backwards, "the file is all there is"
    grids.write_index(tmp_path, "mujoco", arms[1:2], [0])
    assert [row.arm for row in curves.rows(tmp_path)[0]] == [arm.label for arm in arms]


def test_a_damaged_file_of_curves_is_named(tmp_path):
    header = "experiment,arm,seed,settings,steps,finished,speed,final,curve\n"
    for text in "experiment,arm\nx,y\n", f"{header}x,y,0", f"{header}x,y,0,f,1,1,1,1,0.5 0.5\n":
        (tmp_path / "curves.csv").write_text(text)
        with pytest.raises(RunDirectoryError, match=r"curves\.csv is damaged"):
            curves.rows(tmp_path)


def tiny_sweep(directory, seeds, *arguments):
    line = ["sweep", "memory-chain", "--seeds", seeds, "--quiet", "--out", str(directory)]
    return cli.main([*line, "--steps", "600", "--set", *SMALL, "env.length=3", *arguments])


@pytest.mark.slow
def test_a_damaged_run_is_left_out_and_named(tmp_path, capsys):
    assert tiny_sweep(tmp_path, "0-4") == 0
    seeds = [tmp_path / "memory-chain" / "agent" / f"seed{i}" for i in range(5)]
    (seeds[0] / "config.json").write_text("[]")
    (seeds[1] / "summary.json").write_text("{}")
    (seeds[2] / "episodes.csv").write_bytes(b"\0" * 5000)
    lines = (seeds[3] / "episodes.csv").read_text().splitlines(keepends=True)
    (seeds[3] / "episodes.csv").write_text("".join(lines[:-1]))
    capsys.readouterr()
    assert cli.main(["plot", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("left out: ") == 4 and len(shown.err) < 3000
    assert "config.json is damaged: it holds no names" in shown.err
    assert "| memory-chain | agent | 1 | 600 |" in shown.out
    assert tiny_sweep(tmp_path, "0-4") == 1
    shown = capsys.readouterr()
    assert "1 of 5 runs finished" in shown.out
    assert "has lost episodes: delete it and run it again" in shown.err
    (seeds[4] / "config.json").write_text('{"experiment": "memory-chain", "settings": {}}')
    assert cli.main(["plot", str(tmp_path)]) == 2, "nothing is left"
    assert "config.json does not describe a run: KeyError('env')" in capsys.readouterr().err
    for text, words in ("{}", "it lacks runs"), ("[]", "it holds no names with values"):
        (tmp_path / "sweep.json").write_text(text)
        assert cli.main(["plot", str(tmp_path)]) == 2
        assert f"sweep.json is damaged: {words}" in capsys.readouterr().err


def test_a_run_that_lost_episodes_is_made_again_when_it_is_deleted(tmp_path, capsys):
    assert tiny_sweep(tmp_path, "0-1") == 0
    right = (tmp_path / "curves.csv").read_text()
    seed = tmp_path / "memory-chain" / "agent" / "seed0"
    lines = (seed / "episodes.csv").read_text().splitlines(keepends=True)
    (seed / "episodes.csv").write_text("".join(lines[: len(lines) // 2]))
    assert tiny_sweep(tmp_path, "0-1") == 1
    shutil.rmtree(seed)
    assert tiny_sweep(tmp_path, "0-1") == 0
    again = (tmp_path / "curves.csv").read_text()
    without_speed = lambda text: [row.split(",")[7:] for row in text.splitlines()]  # noqa: E731
    assert without_speed(again) == without_speed(right)


def test_a_sweep_names_the_arm_that_a_setting_is_not_for(tmp_path):
    with pytest.raises(
        SettingError, match=r"PPO.*: there is no setting 'agent.kappa_policy'.*--only"
    ):
        grids.jobs(grids.find("popgym"), [0], {"agent.kappa_policy": "0.1"})


@pytest.mark.parametrize(
    "name, key, value",
    [
        ("popgym/RepeatFirstEasy", "env.task", "HigherLowerEasy"),
        ("mujoco/Hopper-P", "env.mask", "F"),
        ("gym:CartPole-v1", "env.id", "Acrobot-v1"),
    ],
)
def test_a_setting_may_not_contradict_the_experiments_name(tmp_path, capsys, name, key, value):
    arguments = ["--quiet", "--steps", "100", "--out", str(tmp_path / "out"), "--set"]
    for command in "run", "sweep":
        assert cli.main([command, name, *arguments, f"{key}={value}"]) == 2
        assert f"{key} is " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_directory_may_hold_dollars(tmp_path):
    (tmp_path / "x$_$y").mkdir()
    assert tiny_sweep(tmp_path / "x$_$y", "0") == 0
    assert (tmp_path / "x$_$y" / "memory-chain.png").exists()


@pytest.mark.slow
def test_runs_of_other_settings_or_lengths_are_no_seeds_of_one_arm(tmp_path, capsys):
    assert tiny_sweep(tmp_path, "0") == 0
    for more in ["cell.units=5"], ["run.dtype=float64"]:
        assert tiny_sweep(tmp_path, "1", *more) == 2
        assert "with other settings: name another directory" in capsys.readouterr().err
    assert tiny_sweep(tmp_path, "0", "run.seed=5") == 2
    assert "run.seed is what --seeds sets" in capsys.readouterr().err
    run = tmp_path / "memory-chain" / "agent" / "seed0"
    assert cli.main(["run", "--resume", str(run), "--steps", "900", "--quiet"]) == 0
    assert cli.main(["plot", str(tmp_path)]) == 2
    assert "differ in their settings" in capsys.readouterr().err
    (tmp_path / "curves.csv").unlink()
    assert cli.main(["plot", str(tmp_path)]) == 0
    assert "| memory-chain | agent | 1 | 900 |" in capsys.readouterr().out


def test_two_sweeps_keep_each_others_runs_in_the_index(tmp_path):
    def write(seed):
        grids.write_index(tmp_path, "memory-chain", grids.find("memory-chain"), [seed])

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads((tmp_path / "sweep.json").read_text())["runs"]) == 12


def test_a_sweep_in_which_no_episode_ended_is_no_error(tmp_path, capsys):
    assert tiny_sweep(tmp_path, "0", "env.length=1000") == 0
    shown = capsys.readouterr()
    assert "1 of 1 runs finished" in shown.out
    assert "not drawn" in shown.err and "no run in which an episode has ended" in shown.err


@pytest.mark.slow
def test_an_unfinished_run_counts_as_one(tmp_path, capsys):
    assert tiny_sweep(tmp_path, "0-1") == 0
    run = tmp_path / "memory-chain" / "agent" / "seed1"
    lines = (run / "episodes.csv").read_text().splitlines(keepends=True)
    (run / "episodes.csv").write_text("".join(lines[:10]))
    (run / "summary.json").unlink()
    (tmp_path / "curves.csv").unlink()
    capsys.readouterr()
    ((arm,),) = curves.lines_of(curves.rows(tmp_path)[0]).values()
    assert (arm.finished, arm.unfinished, len(arm.finals)) == (1, 1, 1)
    assert not np.isnan(arm.curves).any()
    assert cli.main(["plot", str(tmp_path)]) == 0
    assert "| agent | 1 + 1 unfinished | 600 |" in capsys.readouterr().out
    (tmp_path / "memory-chain" / "agent" / "seed0" / "summary.json").unlink()
    (tmp_path / "curves.csv").unlink()
    assert cli.main(["plot", str(tmp_path)]) == 0
    assert "| agent | 0 + 2 unfinished | 600 | | | |" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "memory-chain")
    (tmp_path / "curves.csv").unlink()
    assert cli.main(["plot", str(tmp_path)]) == 2
    assert "holds no run in which an episode has ended" in capsys.readouterr().err


def test_a_fingerprint_tells_settings_apart_but_not_seeds():
    make = lambda **settings: configs.fingerprint(configs.build("memory-chain", settings))  # noqa: E731
    assert make() == make(**{"run.seed": "3"})
    others = {"env.length": "3"}, {"run.steps": "5"}, {"agent.name": "qrc"}, {"cell.name": "gru"}
    assert len({make(), *(make(**settings) for settings in others)}) == 5
    agents = [{"agent.name": name} for name in ("actor-critic", "ppo", "td")]
    assert len({configs.fingerprint(configs.build("gym:CartPole-v1", a)) for a in agents}) == 3


def test_published_numbers_stand_in_the_table(tmp_path):
    grids.run(
        "popgym/RepeatFirstEasy",
        tmp_path,
        [0],
        partial(sweep.local_pool, 1),
        {"run.steps": "300", "cell.units": "4", "network.width": "6"},
        quiet=True,
    )
    curves_report.draw(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert "| popgym/RepeatFirstEasy | *published, best streaming* |  | 10 M |  |  | 0.48 |" in text
    assert all(row.count("|") == 8 for row in text.splitlines() if row.startswith("|"))


def dask(*arguments):
    """Start a part of Dask in a process of its own, on the loopback."""
    line = [sys.executable, "-W", "ignore", "-m", *map(str, arguments), "--no-dashboard"]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


@pytest.fixture
def cluster(tmp_path):
    """Start a scheduler and two workers; gives its address and the workers."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    parts = [
        dask(
            "distributed.cli.dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            0,
            "--scheduler-file",
            file,
        )
    ]
    wait_for(lambda: file.exists() and file.read_text().endswith("}"))
    address = json.loads(file.read_text())["address"]
    parts += [
        dask(
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            1,
            "--no-nanny",
            "--death-timeout",  # it ends even if the test is killed
            30,
            "--local-directory",
            tmp_path,
        )
        for _ in range(2)
    ]
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    yield address, parts[1:]
    for part in parts:
        part.kill()
        part.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what Dask says while it starts and stops is not ours
def test_a_sweep_on_dask_survives_a_killed_worker_bit_for_bit(cluster, tmp_path):
    address, workers = cluster
    settings = dict(item.split("=") for item in [*SMALL, "env.length=3", "run.steps=4000"])
    out, seeds, result = tmp_path / "dask", range(3), []

    def work():
        pool = partial(sweep.dask_pool, address)
        result.append(grids.run("memory-chain", out, seeds, pool, settings, quiet=True))

    thread = threading.Thread(target=work)
    thread.start()
    begun = lambda: list(out.glob("memory-chain/agent/*/checkpoint.npz"))  # noqa: E731
    wait_for(lambda: len(begun()) >= 2)
    assert not list(out.glob("**/summary.json")), "a run was over before the kill"
    workers[0].send_signal(signal.SIGKILL)
    thread.join(120)
    summaries, failures = result[0]
    assert not failures and len(summaries) == 3

    local = partial(sweep.local_pool, 2)
    grids.run("memory-chain", tmp_path / "local", seeds, local, settings, quiet=True)
    for name in summaries:
        ours, theirs = (tmp_path / d / name / "episodes.csv" for d in ("dask", "local"))
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_sweep_on_dask_begins_no_further_run(cluster, tmp_path):
    address, _ = cluster
    run = lambda name: (time.sleep(0.3), (tmp_path / name).touch())  # noqa: E731
    with pytest.raises(KeyboardInterrupt), sweep.dask_pool(address) as pool:
        first, *_ = [pool.submit(run, f"run{i}") for i in range(12)]
        first.result()
        raise KeyboardInterrupt
    time.sleep(1.0)  # those that had begun end
    begun = len(list(tmp_path.glob("run*")))
    time.sleep(1.0)
    assert 1 <= len(list(tmp_path.glob("run*"))) == begun < 12


@pytest.mark.filterwarnings("ignore")
def test_no_scheduler_gets_one_sentence():
    pytest.importorskip("distributed")
    with (
        pytest.raises(SettingError, match="there is no Dask scheduler at 'zebra'"),
        sweep.dask_pool("zebra"),
    ):
        pass


def test_committed_curves_are_of_the_settings_that_the_code_has():
    """What goes on from a committed result goes on with the same runs."""
    compared = 0
    for path in (Path(__file__).parent.parent / "docs/results").glob("*/curves.csv"):
        arms = {(arm.experiment, arm.label): arm for arm in grids.find(path.parent.name)}
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            arm = arms.get((row["experiment"], row["arm"]))
            if arm:  # Stable-Baselines3's are none of ours
                made = configs.build(arm.experiment, arm.settings)
                assert configs.fingerprint(made) == row["settings"], (path, row["arm"])
                compared += 1
    assert compared > 100


def test_the_scales_on_which_returns_are_compared():
    ends = {name: curves.RANGES[f"popgym/{name}Easy"] for name in ("Autoencode", "Concentration")}
    assert ends == {"Autoencode": (-1, 1), "Concentration": (-1, 0.816)}
    assert curves.last_fifth(np.array([9.0] * 8 + [1.0, 3.0] + [np.nan] * 90)) == 2.0
    values = np.random.default_rng(1).normal(size=9)
    draws = np.random.default_rng(0).integers(9, size=(curves.DRAWS, 9))
    expected = np.percentile(curves.iqm(values[draws], axis=1), [2.5, 97.5])
    assert np.allclose(curves.interval(values, np.random.default_rng(0)), expected)


def test_every_arm_gets_its_first_seed_before_any_gets_its_second():
    jobs = grids.jobs(grids.find("ring-16"), [3, 5])
    assert [job.experiment.run.seed for job in jobs] == [3, 3, 3, 5, 5, 5]


def test_what_is_asked_for_goes_before_what_an_arm_has():
    jobs = grids.jobs(grids.find("ppo"), [0], {"run.steps": "64000"})
    assert {job.experiment.run.steps for job in jobs} == {64_000}
