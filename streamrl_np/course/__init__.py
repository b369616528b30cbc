"""Course assignments that grade themselves.

``check("a3")`` in a notebook says what is right so far; ``swap`` puts a student's function in
the place of the library's. ``python -m streamrl_np course | check | grade`` write, check and
grade assignments; docs/instructors.md and docs/students.md tell how.
"""

from .checking import check
from .swapping import swap

__all__ = ["check", "swap"]
