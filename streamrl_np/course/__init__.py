"""Course assignments that grade themselves.

``check("a3")`` in a notebook says what is right so far; ``swap`` puts a student's function in
the place of the library's. ``python -m streamrl_np course | check | grade`` write, check and
grade assignments; docs/instructors.md and docs/students.md tell how.
"""

from ..swapping import swap
from .checking import check

__all__ = ["check", "swap"]
