"""Checkpoints: all arrays of a run and a little JSON in one .npz file, without pickling."""

import json
import zipfile

import numpy as np

from ..files import atomic_write

FORMAT = "streamrl_np checkpoint 1"


# what reading a damaged .npz file may raise; a RuntimeError where a bit of it says that it is
# encrypted, or of a later version of ZIP
DAMAGE = OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile


class CheckpointError(ValueError):
    """A checkpoint is damaged, or belongs to something else."""


def save(path, arrays, meta):
    """Write a checkpoint.

    Parameters
    ----------
    path : pathlib.Path
    arrays : dict of ndarray
    meta : dict
        Anything that JSON can hold.
    """
    text = json.dumps({"format": FORMAT, "meta": meta})
    atomic_write(path, lambda file: np.savez(file, **arrays, json=np.array(text)))


def load(path):
    """Read a checkpoint back: (arrays, meta).

    Raises
    ------
    CheckpointError
        If the file is damaged or no checkpoint of this project.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("json")))
    except DAMAGE as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {error}") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this version ({FORMAT})")
    return arrays, header["meta"]


def restore(path, live, arrays):
    """Copy loaded ``arrays`` into the ``live`` ones.

    Raises
    ------
    CheckpointError
        If names, shapes or dtypes differ: the checkpoint belongs to another run.
    """
    if live.keys() != arrays.keys():
        names = ", ".join(sorted(live.keys() ^ arrays.keys()))
        raise CheckpointError(f"{path} belongs to another run: arrays that differ are {names}")
    for name, array in live.items():
        loaded = arrays[name]
        if loaded.shape != array.shape or loaded.dtype != array.dtype:
            raise CheckpointError(
                f"{path} belongs to another run: {name} is {loaded.dtype} {loaded.shape}, "
                f"expected {array.dtype} {array.shape}"
            )
    for name, array in live.items():
        array[...] = arrays[name]
