"""Run the notebooks: python notebooks/build.py [NAME …] turns each NN_name.md into its .ipynb.

The text (.md) is what one edits and reviews; jupytext reads it, a fresh kernel runs it, and the
.ipynb that is written differs from the last one only where an output does.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import numpy as np
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
SECONDS = 240  # for one cell; on an idle machine none needs 60


def texts():
    """List the text form of every notebook, in reading order."""
    return sorted(HERE.glob("[0-9][0-9]_*.md"))


def read(text):
    """Read the text form: a notebook without outputs, whose cells are named by their place."""
    notebook = jupytext.read(text)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    notebook.metadata["jupytext"] = {"formats": "ipynb,md:myst"}
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
    return notebook


def arithmetic():
    """Name this machine's arithmetic: a hash of the bits that learning is made of.

    Processors and builds of NumPy differ in the order in which they add, and so in the last bit of
    a sum. Learning makes that into other actions, and into another run.
    """
    rng, bits = np.random.default_rng(0), hashlib.sha256()
    for n, d in (32, 16), (192, 32):
        for dtype in np.float32, np.float64:
            W, x = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=d).astype(dtype)
            for found in (W @ x, (W * dtype(2) + 1j * W) @ x, W.ravel() @ W.ravel(), W.mean(1)):
                bits.update(found.tobytes())
            for function in (np.exp, np.expm1, np.tanh, np.sin, np.cos):
                bits.update(function(W).tobytes())
            bits.update(np.log(np.abs(W)).tobytes())
    return bits.hexdigest()[:16]


def execute(text):
    """Run the text form in a fresh kernel.

    Returns
    -------
    notebook : NotebookNode
    seconds : list of float
        What each code cell took.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    notebook, seconds, start = read(text), [], [0.0]
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(HERE)}},
        on_cell_execute=lambda **_: start.__setitem__(0, time.perf_counter()),
        on_cell_executed=lambda **_: seconds.append(time.perf_counter() - start[0]),
    )
    client.execute()
    notebook.metadata.pop("language_info", None)  # it names the Python that ran it
    notebook.metadata["arithmetic"] = arithmetic()
    return notebook, seconds


def main(names):
    """Run the notebooks whose file names begin with one of ``names``, or all."""
    for text in texts():
        if not names or text.name.startswith(tuple(names)):
            notebook, seconds = execute(text)
            nbformat.write(notebook, text.with_suffix(".ipynb"))
            size = text.with_suffix(".ipynb").stat().st_size
            print(
                f"{text.stem:<26} {sum(seconds):6.1f} s, slowest cell {max(seconds):5.1f} s,"
                f" {size / 1024:4.0f} KiB",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
