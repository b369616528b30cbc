"""Run student code where it can do no harm: a process of its own behind walls, with limits.

A :class:`Worker` is that process, a :class:`Session` a student's cells in it, however often they
kill it. What comes back is numbers of a known shape or a line for the student.
"""

import contextlib
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import numpy as np

from . import seccomp, walls
from .box import wire
from .box.student import Mistake

GRACE = 2.0  # seconds that a soft limit gets before the process is killed
LIMITS = {
    "memory": 1 << 30,  # bytes of address space
    "cpu_seconds": 120,
    "file": 1 << 20,  # bytes in any file
    "processes": 32,
    "scratch": 1 << 24,  # bytes in /tmp
    "start_seconds": 30.0,
    "cell_seconds": 5.0,
    "cells_seconds": 25.0,  # all of them; those below are left out
    "call_seconds": 2.0,
    "total_seconds": 60.0,
}
MISSING = """\
cannot isolate student code: {why}
  On Debian or Ubuntu: apt-get install bubblewrap (and, in a container, allow user namespaces).
  If you trust every submission, or run in a machine that you will throw away: --no-isolation."""


class BrokenEnvironment(RuntimeError):
    """This machine cannot grade; says nothing about any student."""


class Died(Exception):
    """The student's process is gone; the message says how."""


class Worker:
    """One student process.

    Parameters
    ----------
    box : Path
        From :func:`walls.make_box`.
    limits : dict
    isolated : bool

    Raises
    ------
    BrokenEnvironment
        If it does not start.
    """

    def __init__(self, box, limits=LIMITS, isolated=True):
        arguments, pipes, read_end = walls.command(box, limits, isolated), (), None
        if isolated and shutil.which("bwrap") is None:
            raise BrokenEnvironment(MISSING.format(why="bubblewrap is not installed"))
        if walls.FILTER in arguments:
            read_end = seccomp.program_pipe()
            pipes = (read_end,)
            arguments[arguments.index(walls.FILTER)] = str(read_end)
        self.home = None if isolated else tempfile.TemporaryDirectory(prefix="streamrl_np-run-")
        self.errors = tempfile.TemporaryFile()
        environment = dict(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
        environment |= dict(PATH="/usr/bin:/bin", HOME="/tmp", LANG="C.UTF-8")
        try:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env=environment | {"STREAMRL_NP_NUMPY": self.numpy_path()},
                cwd=self.home.name if self.home else None,
                pass_fds=pipes,
                start_new_session=True,
            )
        finally:
            if read_end is not None:
                os.close(read_end)
        self.frames = queue.Queue(maxsize=2)  # what nobody asked for must not pile up
        threading.Thread(target=self.listen, daemon=True).start()
        try:
            hello = self.frames.get(timeout=limits["start_seconds"])
        except queue.Empty:
            hello = None
        if hello != "ready":
            words = self.said()
            self.stop()
            why = f"the student's process does not start ({words or hello})"
            raise BrokenEnvironment(MISSING.format(why=why) if isolated else why)

    def numpy_path(self):
        """Find where NumPy is when no box shows it: a directory of links to it and nothing else."""
        if self.home is None:
            return ""
        links = pathlib.Path(self.home.name) / "numpy"
        try:
            links.mkdir()
            for path in walls.numpy_parts():
                (links / path.name).symlink_to(path)
        except OSError:  # no links on this system
            return str(walls.numpy_parts()[0].parent)
        return str(links)

    def listen(self):
        """Read frames until the process is gone."""
        while True:
            try:
                self.frames.put(wire.read(self.process.stdout))
            except (EOFError, OSError, ValueError) as error:
                self.frames.put(error)
                return

    def said(self):
        """Read the last line that the process wrote before student code ran."""
        self.errors.seek(0)
        lines = self.errors.read(10_000).decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def request(self, message, seconds):
        """Ask, and wait for the answer.

        Raises
        ------
        Died
            If there is none in time; the process is stopped.
        """
        try:
            wire.write(self.process.stdin, message)
            reply = self.frames.get(timeout=seconds + GRACE)
        except queue.Empty:
            self.stop()
            raise Died(f"it does not end within {seconds:g} s") from None
        except OSError:
            reply = EOFError()
        if isinstance(reply, wire.WireError):
            self.stop()
            raise Died("it wrote into the grader's own channel") from None
        if isinstance(reply, Exception):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
            self.stop()
            raise Died(how_it_ended(self.process.returncode)) from None
        return reply

    def stop(self):
        """Kill the process and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()
        self.process.wait()
        with contextlib.suppress(queue.Empty):
            while True:
                self.frames.get_nowait()
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        self.errors.close()
        if self.home:
            self.home.cleanup()
            self.home = None


def how_it_ended(code):
    """Say in words how a process ended."""
    endings = {
        "SIGKILL": "it was killed: too much memory or time",
        "SIGXCPU": "it used up its processor time",
        "SIGSEGV": "it crashed: out of memory, or a recursion without end",
    }
    number = -code if code and code < 0 else (code or 0) - 128
    names = {int(s): s.name for s in signal.Signals}
    return endings.get(names.get(number), f"it ended the process (code {code})")


class Session:
    """A student's cells, loaded in a worker that is started again when they kill it.

    Parameters
    ----------
    start : callable
        Makes a :class:`Worker`.
    cells : list of (int, str)
        Number and source of each cell.
    limits : dict

    Attributes
    ----------
    errors : list of str
        What went wrong while the cells ran.
    """

    MOST_STARTS = 6

    def __init__(self, start, cells, limits=LIMITS):
        self.start, self.cells, self.limits = start, cells, limits
        self.worker, self.starts, self.errors, self.skipped = None, 0, [], set()
        self.deadline = None  # set when the first worker starts

    def load(self):
        """Start a worker and run the cells in it, without those that kill it."""
        self.check_time()
        while self.worker is None:
            if self.starts >= self.MOST_STARTS:
                raise Mistake("the notebook stops its process again and again")
            self.starts += 1
            worker, errors, began = self.start(), [], time.monotonic()
            try:
                for number, source in self.cells:
                    if time.monotonic() - began > self.limits["cells_seconds"]:
                        limit = self.limits["cells_seconds"]
                        errors.append(
                            f"cell {number} and those below are left out: the cells above took"
                            f" more than {limit:g} s"
                        )
                        break
                    if number not in self.skipped:
                        self.check_time()
                        message = {"do": "run", "cell": number, "source": source}
                        current = number
                        reply = worker.request(message, self.limits["cell_seconds"])
                        if isinstance(reply, dict) and reply.get("full"):
                            worker.stop()
                            raise Died(f"MemoryError: it wants more than {self.memory()}")
                        errors += lines_in(reply)
            except Mistake:
                worker.stop()
                raise
            except Died as death:
                self.skipped.add(current)
                self.errors.append(f"cell {current}: {death}; it is left out")
                continue
            self.worker = worker
            if self.starts == 1 + len(self.skipped):
                self.errors += errors

    def memory(self):
        """Say how much memory there is."""
        return f"{self.limits['memory'] / 2**30:g} GB"

    def check_time(self):
        """Raise Mistake when the time for the whole notebook is used up."""
        now, seconds = time.monotonic(), self.limits["total_seconds"]
        self.deadline = self.deadline or now + seconds
        if now > self.deadline:
            self.close()
            raise Mistake(f"the {seconds:g} s for the whole notebook are used up")

    def ask(self, harness, *arguments):
        """Ask student code; raises Mistake."""
        self.load()
        message = {"do": "call", "ask": harness, "with": arguments}
        try:
            reply = self.worker.request(message, self.limits["call_seconds"])
        except Died as death:
            self.worker = None
            raise Mistake(f"your code stops the process: {death}") from None
        if isinstance(reply, dict) and "mistake" in reply:
            raise Mistake(" ".join(str(reply["mistake"]).split())[:500])
        if not fits(reply, REPLIES.get(harness)):
            raise Mistake("what came back is no reply of the grader's own code: was it changed?")
        return reply

    def close(self):
        """Stop the worker."""
        if self.worker is not None:
            self.worker.stop()
            self.worker = None


def fits(reply, shape):
    """Tell whether a reply has the shape that its harness gives it; None is any."""
    if shape is None:
        return True
    if isinstance(shape, type):
        return isinstance(reply, shape)
    if isinstance(shape, list):
        return isinstance(reply, tuple) and all(fits(part, shape[0]) for part in reply)
    if isinstance(shape, dict):
        alike = isinstance(reply, dict) and reply.keys() == shape.keys()
        return alike and all(fits(reply[name], part) for name, part in shape.items())
    alike = isinstance(reply, tuple) and len(reply) == len(shape)
    return alike and all(map(fits, reply, shape))


# what each harness gives, where it is more than whatever student code returned
REPLIES = {
    "in_place": (None, [np.ndarray]),
    "entry": str,
    "dense_layer": (np.ndarray,) * 4,
    "rtu_advance": (np.ndarray, np.ndarray, np.ndarray),
    "rtu_vjp": (np.ndarray, None),
    "rtu_rtrl": np.ndarray,
    "rtu_bptt": np.ndarray,
    "rtu_network": (np.ndarray, np.ndarray),
    "td_agent": np.ndarray,
    "agent_updates": [dict],
    "cell_facts": {"flat": np.ndarray, "arrays": dict, "retention": np.ndarray, "features": int},
    "cell_features": np.ndarray,
    "cell_peeks": (np.ndarray, np.ndarray),
    "cell_last_features": np.ndarray,
    "cell_gradients": [(np.ndarray, None)],
}


def lines_in(reply):
    """Read the error lines out of a reply that may be anything."""
    errors = reply.get("errors", ()) if isinstance(reply, dict) else ()
    mistake = reply.get("mistake") if isinstance(reply, dict) else None
    errors = errors if isinstance(errors, tuple) else ()
    return [" ".join(str(e).split())[:500] for e in (*errors, *([mistake] if mistake else ()))]
