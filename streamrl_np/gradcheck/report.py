"""Reports: what a check found, as data first and as words second."""

import dataclasses
import math

import numpy as np

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"


def gather(verdicts):
    """Combine verdicts: one failure fails all, one doubt leaves all in doubt."""
    verdicts = set(verdicts)
    return next((v for v in (FAIL, INCONCLUSIVE) if v in verdicts), PASS)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One number of one gradient."""

    name: str  # B[3, 7].imag
    claimed: float  # what the hand-written derivative says
    expected: float  # what the reference says
    uncertainty: float  # how far the reference may be off
    error: float  # |claimed − expected| / scale   (eq. G6)
    verdict: str


def relative_error(claimed, expected, least):
    """Compare arrays entry by entry, each at its own size or ``least``; what is NaN is infinite."""
    size = np.maximum(np.maximum(np.abs(claimed), np.abs(expected)), least)
    return np.nan_to_num(np.abs(claimed - expected) / size, nan=np.inf)  # (eq. G6)


def worst_of(entries):
    """Find the worst of some entries: failures first, then by error; None if there are none."""

    def badness(entry):
        error = math.inf if math.isnan(entry.error) else entry.error
        return [PASS, INCONCLUSIVE, FAIL].index(entry.verdict), error

    return max(entries, key=badness, default=None)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """Everything found about one input of a function."""

    name: str
    shape: tuple
    size: int  # real numbers in it: a complex one counts twice
    checked: int  # how many were checked one by one
    directions: int  # random directions it was checked along
    worst: Entry | None
    verdict: str
    hints: tuple = ()


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Which of several ways to one gradient departs from the others, and where first."""

    odd: str
    entry: str
    step: int
    claimed: float  # what the odd one says there
    expected: float
    words: str


@dataclasses.dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes
    ----------
    verdict : {"pass", "fail", "inconclusive"}
    problems : tuple of str
        What is wrong beyond single numbers: a function that changes its input, a wrong shape.
    claim : str
        For what is deliberately not a full gradient: what it claims to be, and was checked as.
    single : Entry or None
        The same derivative in float32 beside itself in float64.
    divergence : Divergence or None
        Of a sequence: where one way to its gradient departs from the others.
    """

    name: str
    parameters: tuple
    tolerance: float
    problems: tuple = ()
    claim: str = ""
    notes: tuple = ()
    seconds: float = 0.0
    divergence: Divergence | None = None
    single: Entry | None = None

    @property
    def verdict(self):
        """Combine the problems and the verdicts of all parameters."""
        own = [FAIL] if self.problems else []
        own += [self.single.verdict] if self.single else []
        none = [] if self.parameters or self.problems else [INCONCLUSIVE]
        return gather(own + none + [p.verdict for p in self.parameters])

    @property
    def ok(self):
        """True only for a pass: a doubt is not one."""
        return self.verdict == PASS

    @property
    def checked(self):
        """Count the numbers that were checked one by one."""
        return sum(p.checked for p in self.parameters)

    @property
    def worst(self):
        """Find the worst entry of all parameters, or None."""
        return worst_of(p.worst for p in self.parameters if p.worst)

    def to_dict(self):
        """Convert to plain data for JSON."""
        data = dataclasses.asdict(self)
        data["verdict"], data["checked"] = self.verdict, self.checked
        return plain(data)

    def __str__(self):
        lines = [f"{self.name}: {self.verdict}"]
        if self.claim:
            lines.append(f"  declared: {self.claim}")
        lines += [f"  {problem}" for problem in self.problems]
        if self.parameters:
            lines += table([HEADER, *(row(p) for p in self.parameters)])
            lines += [f"  {p.name}: {hint}" for p in self.parameters for hint in p.hints]
            lines.append(f"  An error counts from {self.tolerance:.0e} on.")
        if self.single and self.single.verdict == FAIL:
            e = self.single
            lines.append(f"  {e.name}: {e.claimed:.9g}, in float64 {e.expected:.9g}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


HEADER = ("input", "checked", "worst entry", "claimed", "expected", "error", "verdict")


def row(p):
    """Write one parameter as the cells of a table."""
    checked = f"{p.checked} of {p.size}" if p.checked <= p.size else str(p.checked)
    checked += f" + {p.directions} dir" if p.directions else ""
    if p.worst is None:
        return (p.name, checked, "", "", "", "", p.verdict)
    e = p.worst
    numbers = f"{e.claimed:.9g}", f"{e.expected:.9g}", f"{e.error:.1e}"
    return (p.name, checked, e.name, *numbers, p.verdict)


def table(rows):
    """Align rows of cells in columns, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pairs = [zip(cells, widths, strict=True) for cells in rows]
    return ["  " + "  ".join(c.ljust(w) for c, w in pair).rstrip() for pair in pairs]


def plain(data):
    """Turn NumPy scalars and tuples into what JSON knows; infinities and NaN become words."""
    if isinstance(data, dict):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [plain(value) for value in data]
    if isinstance(data, str | bool | int | None):
        return data
    return float(data) if math.isfinite(data) else str(float(data))
