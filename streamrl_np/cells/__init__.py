"""Recurrent cells: one module each, all with the same few functions.

``layout`` and ``state_layout`` name the arrays, ``init`` draws the parameters,
``feature_count`` says how many numbers a step hands on, ``advance`` takes one step,
``peek`` says what a step would give, ``vjp`` pulls a gradient back, ``retention`` says
how slowly the units forget. What ``advance`` returns has the features as ``y``. In the state
``h`` is the hidden state, ``S_…`` are sensitivities, and ``J_…`` is scratch that the next step
writes anew. A network takes any of them, so a new cell is one new file and one line in
``CELLS``. PPO also needs ``unroll``, ``unroll_vjp`` and ``sensitivity_vjp``, which only some
have.
"""

import dataclasses

from ..settings import SettingError, check, setting
from . import feedforward, gru, mingru, rtu, rtu_nonlinear

CELLS = {
    "rtu": rtu,
    "rtu_nonlinear": rtu_nonlinear,
    "mingru": mingru,
    "gru": gru,
    "feedforward": feedforward,
}
MODES = ("rtrl", "tbptt1", "frozen")


@dataclasses.dataclass(frozen=True)
class Config:
    """Which cell, how large, how its gradient is taken, and the ring that |λ| is drawn from."""

    name: str = setting("rtu", "the cell", choices=CELLS)  # a cell added later counts
    units: int = setting(192, "n, units in the cell", low=1)
    mode: str = setting("rtrl", "gradient: exact, one-step, or none", choices=MODES)
    # differs from Farr 2026: 0 there
    r_min: float = setting(0.9, "least |λ| at the start", low=0, high=0.999999)
    r_max: float = setting(1.0, "greatest |λ| at the start", low=0.001, high=1)
    max_phase: float = setting(6.28, "greatest phase at the start, radians", above=0)

    def __post_init__(self):
        check(self)
        if self.r_min > self.r_max:
            raise SettingError(f"r_min must be at most r_max = {self.r_max}, got {self.r_min}")
