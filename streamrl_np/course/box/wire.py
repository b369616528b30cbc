"""Frames between the trusted process and the student's: numbers, arrays, nothing else.

No object of the other side is ever rebuilt, so nothing here can run code: a frame is JSON for
the structure and raw bytes for the arrays, both of limited size.
"""

import io
import json
import math
import struct

import numpy as np

HEAD = struct.Struct("<II")  # bytes of JSON, bytes of arrays
MOST_JSON, MOST_BYTES = 1 << 20, 1 << 24
KINDS = "bifc"  # booleans, whole numbers, floats, complex numbers


class WireError(ValueError):
    """A frame is not one of ours, or what should travel cannot."""


def encode(tree):
    """Turn numbers, text, arrays, and tuples and dicts of them, into bytes."""
    arrays = []
    structure = json.dumps(flatten(tree, arrays)).encode()
    body = b"".join(arrays)
    if len(structure) > MOST_JSON or len(body) > MOST_BYTES:
        raise WireError(f"{len(structure) + len(body)} bytes are too many")
    return HEAD.pack(len(structure), len(body)) + structure + body


def flatten(tree, arrays):
    """Describe a tree for JSON, moving the bytes of its arrays to ``arrays``."""
    if tree is None or isinstance(tree, bool | str):
        return tree
    if isinstance(tree, np.ndarray | np.generic):
        array = np.asarray(tree)
        if array.dtype.kind not in KINDS:
            raise WireError(f"an array of {array.dtype}")
        arrays.append(array.tobytes())
        return {"array": array.dtype.str, "shape": array.shape}
    if isinstance(tree, int | float):
        return tree
    if isinstance(tree, complex):
        return flatten(np.asarray(tree), arrays)
    if isinstance(tree, tuple | list):
        return [flatten(part, arrays) for part in tree]
    if isinstance(tree, dict):
        return {"dict": {str(name): flatten(part, arrays) for name, part in tree.items()}}
    raise WireError(f"a {type(tree).__name__}")


def decode(structure, body):
    """Rebuild what :func:`encode` was given; lists come back as tuples.

    Raises
    ------
    WireError
        Whatever is wrong with the bytes.
    """
    try:
        tree, used = rebuild(json.loads(structure), body, 0)
    except Exception as error:  # whatever bytes may bring about
        raise WireError(f"not a frame of ours: {type(error).__name__}") from error
    if used != len(body):
        raise WireError("not a frame of ours: bytes are left over")
    return tree


def rebuild(node, body, start):
    """Rebuild one node; returns it and where its bytes end."""
    if isinstance(node, list):
        parts = []
        for part in node:
            value, start = rebuild(part, body, start)
            parts.append(value)
        return tuple(parts), start
    if not isinstance(node, dict):
        return node, start
    if "dict" in node:
        parts = {}
        for name, part in node["dict"].items():
            parts[name], start = rebuild(part, body, start)
        return parts, start
    dtype, shape = np.dtype(node["array"]), tuple(node["shape"])
    if dtype.kind not in KINDS or len(shape) > 8 or any(n < 0 for n in shape):
        raise WireError("not an array of numbers")
    end = start + math.prod(shape) * dtype.itemsize
    if end > len(body):
        raise WireError("an array's bytes are missing")
    return np.frombuffer(body[start:end], dtype).reshape(shape).copy(), end


def write(stream, tree):
    """Write one frame."""
    stream.write(encode(tree))
    stream.flush()


def read(stream):
    """Read one frame; raises EOFError at the end and WireError for what is not one."""
    sizes = HEAD.unpack(exactly(stream, HEAD.size))
    if sizes[0] > MOST_JSON or sizes[1] > MOST_BYTES:
        raise WireError("the frame is too large")
    return decode(exactly(stream, sizes[0]), exactly(stream, sizes[1]))


def exactly(stream, count):
    """Read ``count`` bytes."""
    data = stream.read(count) if count else b""
    if len(data) < count:
        raise EOFError("the other side is gone")
    return data


def through(tree):
    """Give what would arrive at the other end: copies, and tuples for lists."""
    return read(io.BytesIO(encode(tree)))
