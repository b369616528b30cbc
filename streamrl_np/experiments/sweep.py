"""Many runs at once: skip what is finished, go on with what was killed, name what failed.

A job is a named experiment. :func:`execute` gives each to a worker of a pool, and any pool with
the interface of ``concurrent.futures`` will do; the local one is one process a core.
"""

import concurrent.futures
import contextlib
import multiprocessing.connection
import os
import threading
from pathlib import Path
from typing import NamedTuple

from ..extras import require
from ..settings import SettingError
from . import configs, runner
from .results import RunDirectoryError, hold, read_json

ATTEMPTS = 3  # for a run whose process was lost


class Job(NamedTuple):
    """One run to make; its directory bears its name."""

    name: str
    experiment: configs.Experiment
    preset: str


def run_job(job, directory):
    """Make one run, or go on with it, or leave it if it is finished.

    Parameters
    ----------
    job : Job
    directory : pathlib.Path
        Where the run's own directory lies or will lie.

    Returns
    -------
    dict
        The run's summary.

    Raises
    ------
    RunDirectoryError
        If the directory holds a run with other settings, or another process makes this run.
    """
    path = Path(directory) / job.name
    path.mkdir(parents=True, exist_ok=True)
    with hold(path):
        return begin_or_go_on(job, path)


def begin_or_go_on(job, path):
    """Do the work of :func:`run_job` in a directory that no other process writes to."""
    if not (path / "config.json").exists():
        for leftover in path.glob(".config.json.part"):  # of a process killed at once
            leftover.unlink()
        return runner.execute(runner.Run(job.experiment, path, job.preset), quiet=True)
    if read_json(path / "config.json")["settings"] != configs.to_dict(job.experiment):
        raise RunDirectoryError(f"{path} holds a run with other settings: name another directory")
    if (path / "summary.json").exists():
        summary = read_json(path / "summary.json")
        if summary["complete"]:
            return summary
    return runner.execute(runner.load(path), quiet=True)


def end_with_parent():
    """Let this process end as soon as the one that started it is gone, however that ended.

    Otherwise a worker would finish its run unseen, while the sweep that is started again in
    the meantime goes on with the same run.
    """

    def watch():
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def local_pool(workers):
    """Open a pool of processes, each with one thread for linear algebra."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # inherited by the processes that start now
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def dask_pool(address):
    """Open the pool of a running Dask scheduler, whose workers see the same directories.

    A worker that dies loses nothing but the steps since its run's last checkpoint: Dask gives
    the run to another one.

    Parameters
    ----------
    address : str
        ``tcp://host:port`` of the scheduler.

    Raises
    ------
    MissingPackage, SettingError
    """
    distributed = require("distributed")
    try:
        client = distributed.Client(address, timeout="10s")
    except (OSError, ValueError, TypeError) as problem:
        raise SettingError(f"there is no Dask scheduler at {address!r}: {problem}") from None
    with client, client.get_executor(pure=False) as pool:
        yield pool


def execute(jobs, directory, pool=None, quiet=False, finished=None):
    """Make many runs.

    Parameters
    ----------
    jobs : sequence of Job
        Taken in this order.
    directory : pathlib.Path
    pool : callable, optional
        Opens a pool, as a context manager; by default :func:`local_pool` with a worker a core.
    quiet : bool
        Show no progress bar.
    finished : callable, optional
        ``finished(job, summary)``, called here as each run ends.

    Returns
    -------
    summaries : dict
        Name to summary of the runs that ended well.
    failures : dict
        Name to what went wrong, of the others; one failing run takes no other down.
    """
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        raise ValueError("two jobs have the same name")
    pool = pool or (lambda: local_pool(os.cpu_count()))
    summaries, failures, waiting = {}, {}, list(jobs)
    with require("tqdm").tqdm(total=len(jobs), unit=" runs", disable=quiet) as bar:
        for attempt in range(ATTEMPTS):
            lost = []
            for job, outcome in outcomes(waiting, directory, pool):
                if isinstance(outcome, concurrent.futures.BrokenExecutor):
                    lost.append(job)  # this or another run's process died: all begin anew
                    if attempt < ATTEMPTS - 1:
                        continue
                if finished and not isinstance(outcome, BaseException):
                    try:
                        finished(job, outcome)
                    except RunDirectoryError as damage:
                        outcome = damage
                bar.update()
                if isinstance(outcome, BaseException):
                    failures[job.name] = f"{type(outcome).__name__}: {outcome}"
                    bar.set_postfix_str(f"{len(failures)} failed")
                else:
                    summaries[job.name] = outcome
            waiting = lost
            if not waiting:
                break
    return summaries, failures


def outcomes(jobs, directory, pool):
    """Yield ``(job, summary or exception)`` as runs end."""
    if not jobs:
        return
    with pool() as workers:
        futures = {workers.submit(run_job, job, directory): job for job in jobs}
        for future in concurrent.futures.as_completed(futures):
            yield futures[future], future.exception() or future.result()
