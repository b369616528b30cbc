"""Central differences in extended precision, for the tests of single functions."""

import numpy as np


def derivative(f, x, h=1e-5):
    """Differentiate the real scalar function f of the flat vector x, entry by entry.

    Two step sizes and one Richardson extrapolation: the error left is of order h⁴.
    """
    x = x.astype(np.longdouble)
    h = np.longdouble(h)

    def central(i, step):
        e = np.zeros_like(x)
        e[i] = step
        return (f(x + e) - f(x - e)) / (2 * step)

    return np.array([(4 * central(i, h / 2) - central(i, h)) / 3 for i in range(x.size)])


def assert_close(actual, expected, tolerance=1e-10):
    """Compare under one rule: |a − b| ≤ tolerance · max(1, largest |b|)."""
    expected = np.asarray(expected)
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    error = float(np.max(np.abs(np.asarray(actual) - expected), initial=0))
    assert error <= tolerance * scale, f"error {error:.2e}, allowed {tolerance * scale:.2e}"
