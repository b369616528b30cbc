"""Sweeps: finished runs are skipped, killed ones go on, a failure stays alone."""

import concurrent.futures
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from streamrl_np.experiments import configs, sweep
from streamrl_np.experiments.results import read_json

SMALL = {"cell.units": "4", "network.width": "6", "env.length": "3", "run.checkpoint_every": "200"}


def job(seed, steps=600, **settings):
    settings = {**SMALL, "run.seed": str(seed), "run.steps": str(steps), **settings}
    return sweep.Job(f"seed{seed}", configs.build("memory-chain", settings), "memory-chain")


def two_workers():
    return sweep.local_pool(2)


def test_runs_are_made_once_and_a_failure_stays_alone(tmp_path):
    (tmp_path / "seed1").mkdir()
    (tmp_path / "seed1" / "mine").write_text("something else")
    seen = []
    jobs = [job(seed) for seed in range(3)]
    summaries, failures = sweep.execute(
        jobs, tmp_path, two_workers, quiet=True, finished=lambda job, _: seen.append(job.name)
    )
    assert sorted(summaries) == sorted(seen) == ["seed0", "seed2"]
    assert list(failures) == ["seed1"] and "is not empty" in failures["seed1"]
    assert all(summary["steps"] == 600 for summary in summaries.values())

    stamp = (tmp_path / "seed0" / "episodes.csv").stat().st_mtime_ns
    again, _ = sweep.execute(jobs, tmp_path, two_workers, quiet=True)
    assert again == summaries
    assert (tmp_path / "seed0" / "episodes.csv").stat().st_mtime_ns == stamp


def test_a_run_that_follows_another_does_not_wait_for_the_others(tmp_path, monkeypatch):
    last_began, asked = threading.Event(), []

    def run_job(job, directory):
        if job.name == "seed2":
            last_began.set()
        return {"complete": job.name != "seed0" or last_began.wait(60)}

    def following(running):
        asked.append(running)
        return [job(2)] if len(asked) == 1 else []

    monkeypatch.setattr(sweep, "run_job", run_job)
    pool = lambda: concurrent.futures.ThreadPoolExecutor(2)  # noqa: E731
    jobs = [job(0), job(1)]
    summaries, _ = sweep.execute(jobs, tmp_path, pool, quiet=True, following=following)
    assert set(summaries) == {"seed0", "seed1", "seed2"}
    assert asked[0] == 1 and asked[-1] == 0


def test_a_sweep_gives_the_bytes_of_a_single_run(tmp_path):
    sweep.execute([job(0)], tmp_path / "pool", two_workers, quiet=True)
    sweep.run_job(job(0), tmp_path / "alone")
    pooled, alone = (tmp_path / where / "seed0" / "episodes.csv" for where in ("pool", "alone"))
    assert pooled.read_bytes() == alone.read_bytes()


def test_a_setting_that_was_added_later_makes_no_other_run(tmp_path):
    sweep.run_job(job(0), tmp_path)
    path = tmp_path / "seed0" / "config.json"
    held = json.loads(path.read_text())
    del held["settings"]["env"]["distractors"]
    path.write_text(json.dumps(held))
    assert sweep.run_job(job(0), tmp_path)["complete"]


def test_a_directory_with_other_settings_is_refused(tmp_path):
    sweep.run_job(job(0), tmp_path)
    other = job(0, **{"agent.trace_decay": "0.5"})
    _, failures = sweep.execute([other], tmp_path, two_workers, quiet=True)
    assert "holds a run with other settings" in failures["seed0"]


def alive(pid):
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
def test_workers_end_with_the_sweep_that_is_killed(tmp_path):
    line = [sys.executable, "-m", "streamrl_np", "sweep", "memory-chain", "--seeds", "0-1"]
    line += ["--workers", "2", "--quiet", "--out", str(tmp_path), "--steps", "10000000"]
    parent = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(list(tmp_path.rglob("checkpoint.npz"))) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    tasks = Path(f"/proc/{parent.pid}/task").glob("*/children")
    workers = [child for task in tasks for child in task.read_text().split()]
    assert len(workers) >= 2 and all(map(alive, workers))
    parent.kill()
    parent.wait()
    while any(map(alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_worker_costs_no_run(tmp_path):
    settings = {"run.checkpoint_every": "400"}
    jobs = [job(seed, steps=6000, **settings) for seed in range(2)]
    killed = []

    def kill_one():
        end = time.monotonic() + 60
        while not (tmp_path / "seed0" / "checkpoint.npz").exists() and time.monotonic() < end:
            time.sleep(0.01)
        for child in multiprocessing.active_children()[:1]:
            child.kill()
            killed.append(list(tmp_path.rglob("summary.json")))

    killer = threading.Thread(target=kill_one)
    killer.start()
    summaries, failures = sweep.execute(jobs, tmp_path, two_workers, quiet=True)
    killer.join()
    assert killed == [[]], "no run was over"
    assert not failures
    sweep.run_job(jobs[0], tmp_path / "alone")
    assert sorted(summaries) == ["seed0", "seed1"]
    both = (tmp_path / "seed0", tmp_path / "alone" / "seed0")
    first, second = ((path / "episodes.csv").read_bytes() for path in both)
    assert first == second
    assert read_json(tmp_path / "seed1" / "summary.json")["complete"]


def crash_or_not(job, directory):
    """Stand in for a run; the one of seed 0 takes its process with it."""
    if job.experiment.run.seed == 0:
        os._exit(139)
    return {"complete": True}


@pytest.mark.slow
def test_a_run_that_always_takes_its_process_down_takes_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "run_job", crash_or_not)
    jobs = [job(seed) for seed in range(4)]
    summaries, failures = sweep.execute(jobs, tmp_path, two_workers, quiet=True)
    assert sorted(summaries) == ["seed1", "seed2", "seed3"]
    assert list(failures) == ["seed0"] and "BrokenProcessPool" in failures["seed0"]


def test_a_run_that_exits_takes_no_other_down(tmp_path, monkeypatch):
    def run_job(job, directory):
        if job.name == "seed1":
            sys.exit("licence lost")
        return {"complete": True}

    monkeypatch.setattr(sweep, "run_job", run_job)
    pool = lambda: concurrent.futures.ThreadPoolExecutor(1)  # noqa: E731
    jobs = [job(seed) for seed in range(3)]
    summaries, failures = sweep.execute(jobs, tmp_path, pool, quiet=True)
    assert set(summaries) == {"seed0", "seed2"}
    assert failures == {"seed1": "SystemExit: licence lost"}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals a group of processes")
def test_ctrl_c_begins_no_further_run_and_the_same_command_goes_on(tmp_path):
    line = [sys.executable, "-m", "streamrl_np", "sweep", "memory-chain", "--seeds", "0-3"]
    line += ["--workers", "2", "--quiet", "--out", str(tmp_path), "--steps", "40000", "--set"]
    line += ["cell.units=4", "network.width=6", "env.length=3"]
    heed = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    parent = subprocess.Popen(
        line, start_new_session=True, preexec_fn=heed, stderr=subprocess.PIPE, text=True
    )
    end, stamps = time.monotonic() + 60, {}
    while sum(len(seen) > 1 for seen in stamps.values()) < 2:  # both are past their first steps
        assert time.monotonic() < end
        time.sleep(0.05)
        for path in tmp_path.rglob("checkpoint.npz"):
            stamps.setdefault(path, set()).add(path.stat().st_mtime_ns)
    os.killpg(parent.pid, signal.SIGINT)
    error = parent.communicate()[1]
    assert parent.returncode == 130
    assert "interrupted: the same command goes on where this one stopped" in error
    runs = [path.parent for path in tmp_path.rglob("config.json")]
    assert len(runs) == 2
    assert not any(read_json(path / "summary.json")["complete"] for path in runs)


def test_names_must_differ(tmp_path):
    with pytest.raises(ValueError, match="same name"):
        sweep.execute([job(0), job(0)], tmp_path, two_workers)


def test_processes_of_a_pool_have_one_thread_each(monkeypatch):
    names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
    for name in names:
        monkeypatch.setenv(name, "7")
        monkeypatch.delenv(name)
    with sweep.local_pool(1):
        assert [os.environ[name] for name in names] == ["1", "1", "1"]


def test_a_pool_has_a_worker_a_core(tmp_path, monkeypatch):
    asked, own = [], sweep.local_pool
    monkeypatch.setattr(sweep.os, "cpu_count", lambda: 3)
    monkeypatch.setattr(sweep, "local_pool", lambda n: (asked.append(n), own(n))[1])
    experiment = configs.build("memory-chain", {**SMALL, "run.steps": "20"})
    sweep.execute([sweep.Job("a", experiment, "memory-chain")], tmp_path, quiet=True)
    assert asked == [3]
