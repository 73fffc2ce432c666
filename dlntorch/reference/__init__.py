"""The exact references: the ℓ1-minimiser, the minimiser that depth p selects, the rate with its constant."""

from __future__ import annotations

__all__ = ["SOLVERS"]

#: What may find the ℓ1-minimiser, see :func:`~dlntorch.reference.l1_minimizer.l1_minimizer`.
SOLVERS = ("auto", "linprog", "basis_pursuit", "matrix_free")
