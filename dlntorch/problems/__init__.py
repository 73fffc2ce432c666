"""Where problems come from: generators by name, and files."""

from __future__ import annotations

from dlntorch.problems.make import GENERATORS, make_problem
from dlntorch.problems.readers import load_problem, save_problem
from dlntorch.problems.real import digit_image

__all__ = ["GENERATORS", "digit_image", "load_problem", "make_problem", "save_problem"]
