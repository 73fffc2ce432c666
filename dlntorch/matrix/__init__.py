"""Other norms: matrices (nuclear norm) and groups (Σ‖ψ_g‖₂), their networks, their minimisers and their flows."""

from dlntorch.matrix.flow import MatrixLimit, group_limit, integrate_matrix_flow, matrix_limit
from dlntorch.matrix.greedy_path import GreedyPath, greedy_path
from dlntorch.matrix.groups import GroupMinimizer, GroupNetwork, group_minimizer, train_groups
from dlntorch.matrix.network import MatrixFactorization
from dlntorch.matrix.nuclear import NuclearMinimizer, nuclear_minimizer
from dlntorch.matrix.problem import MatrixProblem
from dlntorch.matrix.training import MatrixRun, MatrixTrajectory, effective_rank, train_matrix

__all__ = [
    "GreedyPath",
    "GroupMinimizer",
    "GroupNetwork",
    "MatrixFactorization",
    "MatrixLimit",
    "MatrixProblem",
    "MatrixRun",
    "MatrixTrajectory",
    "NuclearMinimizer",
    "effective_rank",
    "greedy_path",
    "group_limit",
    "group_minimizer",
    "integrate_matrix_flow",
    "matrix_limit",
    "nuclear_minimizer",
    "train_groups",
    "train_matrix",
]
