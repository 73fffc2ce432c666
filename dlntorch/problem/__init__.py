"""The regression problem (A, y): what it is, its operators, generators by name, and files."""

from __future__ import annotations

from dlntorch.problem.make import GENERATORS, make_problem
from dlntorch.problem.problem import Problem
from dlntorch.problem.readers import load_problem, save_problem
from dlntorch.problem.real import digit_image

__all__ = ["GENERATORS", "Problem", "digit_image", "load_problem", "make_problem", "save_problem"]
