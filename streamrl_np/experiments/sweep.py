"""Many runs at once: skip what is finished, go on with what was killed, name what failed.

A job is a named experiment. :func:`execute` gives each to a worker of a pool, and any pool with
the interface of ``concurrent.futures`` will do; the local one is one process a core.
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import threading
from concurrent.futures import FIRST_COMPLETED
from pathlib import Path
from typing import NamedTuple

from ..extras import require
from ..processes import end_with_parent
from ..settings import SettingError
from . import configs, runner
from .results import RunDirectoryError, hold, make_directory, read_episodes, read_summary

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
        If the directory holds a run with other settings.
    """
    path = make_directory(Path(directory) / job.name)
    with hold(path, wait=True):  # for one that was orphaned, or another sweep's
        return begin_or_go_on(job, path)


def begin_or_go_on(job, path):
    """Do the work of :func:`run_job` in a directory that no other process writes to."""
    if not (path / "config.json").exists():
        return runner.execute(runner.begin(job.experiment, path, job.preset), quiet=True)
    if runner.read_config(path)[1] != job.experiment:
        raise RunDirectoryError(f"{path} holds a run with other settings: name another directory")
    if (path / "summary.json").exists():
        summary = read_summary(path, read_episodes(path / "episodes.csv"))
        if summary["complete"]:
            return summary
    return runner.execute(runner.resume(path), quiet=True)


class Processes(concurrent.futures.ThreadPoolExecutor):
    """An executor that gives each run a process of its own, so that one that dies dies alone.

    A run whose process died is taken up again, ``ATTEMPTS`` times in all; one that was
    interrupted is the last to begin.
    """

    def __init__(self, workers):
        super().__init__(workers)
        self.stopped = threading.Event()

    def submit(self, function, *arguments):
        """Schedule ``function(*arguments)``, which returns a run's summary."""
        return super().submit(self.call, function, arguments)

    def call(self, function, arguments):
        """Call a function in a new process."""
        context = multiprocessing.get_context("spawn")
        for attempt in range(ATTEMPTS):
            if self.stopped.is_set():
                raise concurrent.futures.CancelledError
            process = concurrent.futures.ProcessPoolExecutor(1, context, end_with_parent)
            try:
                with process:
                    summary = process.submit(function, *arguments).result()
            except concurrent.futures.BrokenExecutor:
                if attempt == ATTEMPTS - 1:
                    raise
            else:
                if not summary["complete"]:
                    self.stopped.set()
                return summary

    def shutdown(self, wait=True, *, cancel_futures=False):
        """Begin no further run; runs that have begun go on to their end."""
        self.stopped.set()
        super().shutdown(wait, cancel_futures=cancel_futures)


@contextlib.contextmanager
def local_pool(workers):
    """Open a pool of processes, each with one thread for linear algebra."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # inherited by the processes that start now
    pool = Processes(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


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
    with client:
        pool = client.get_executor(pure=False)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False)  # what has not begun never will
            raise
        pool.shutdown()


def execute(jobs, directory, pool=None, quiet=False, finished=None, following=None):
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
    following : callable, optional
        ``following(running)`` lists further jobs; it is called when runs have ended and
        ``running`` others go on.

    Returns
    -------
    summaries : dict
        Name to summary of the runs that ended well.
    failures : dict
        Name to what went wrong, of the others; one failing run takes no other down.

    Raises
    ------
    KeyboardInterrupt
        If a run was interrupted; no further one begins.
    """
    names = [job.name for job in jobs]
    if len(set(names)) < len(names):
        raise ValueError("two jobs have the same name")
    pool = pool or (lambda: local_pool(os.cpu_count()))
    summaries, failures = {}, {}
    if not jobs:
        return summaries, failures
    total = None if following else len(jobs)
    bar = require("tqdm").tqdm(total=total, unit=" runs", disable=quiet)
    try:
        with bar, pool() as workers:
            running = {workers.submit(run_job, job, directory): job for job in jobs}
            while running:
                for future in concurrent.futures.wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    try:
                        summary = future.result()
                        if not summary["complete"]:
                            raise KeyboardInterrupt  # in the run's own process
                        if finished:
                            finished(job, summary)
                        summaries[job.name] = summary
                    except concurrent.futures.CancelledError:
                        raise KeyboardInterrupt from None
                    except (Exception, SystemExit) as problem:
                        failures[job.name] = f"{type(problem).__name__}: {problem}"
                        bar.set_postfix_str(f"{len(failures)} failed")
                    bar.update()
                more = following(len(running)) if following else ()
                running |= {workers.submit(run_job, job, directory): job for job in more}
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on where this one stopped") from None
    return summaries, failures
