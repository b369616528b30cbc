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
    bits = hashlib.sha256()
    for n, d in (32, 32), (64, 64), (192, 64):
        for dtype in np.float32, np.float64:
            for array in learn_something(np.random.default_rng(0), n, d, dtype):
                bits.update(array.tobytes())
    return bits.hexdigest()[:16]


def learn_something(rng, n, d, dtype, steps=100):
    """Learn nothing of use by the operations that the library learns by, in NumPy alone.

    The library's own agents would not do: a change of theirs is no other arithmetic.
    """

    def draw(*shape):
        return rng.normal(size=shape).astype(dtype)

    W, V, x, B = draw(d, d), draw(d, 2 * n), draw(d), draw(n, d) + dtype(1) * 1j * draw(n, d)
    lam = np.exp(-np.exp(draw(n)) + 1j * np.exp(draw(n)))
    gamma, ones = np.sqrt(1 - np.abs(lam) ** 2), np.ones(V.size, dtype)
    h, S, z = np.zeros_like(lam), np.zeros_like(B), np.zeros_like(V)
    for _ in range(steps):
        h, S = lam * h + gamma * (B @ x), lam[:, None] * S + gamma[:, None] * x
        y = np.tanh(np.concatenate([h.real, h.imag]))
        a = y @ V.T + W @ x
        a -= a.mean()
        a *= 1 / np.sqrt((a * a).mean() + dtype(1e-5))
        x = np.where(a > 0, a, dtype(0.01) * a)
        p = np.exp(x - x.max())
        g = -np.log(p / p.sum()) * np.log1p(p) * np.expm1(p)
        z *= dtype(0.8)
        z += np.dot(g[:, None], y[None, :])
        V -= z / (np.abs(z).ravel() @ ones)
        gy = g @ V
        B -= dtype(1e-3) * (gy[:n] + 1j * gy[n:])[:, None] * S.conj()
        W -= dtype(1e-3) * np.einsum("i,j->ij", g, np.sin(x) * np.cos(x))
    return h, S, V, B, W, x


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
