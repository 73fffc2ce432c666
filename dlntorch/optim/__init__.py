"""How far a step goes, and which way."""

from dlntorch.optim.relative_sgd import RelativeSGD

__all__ = ["RelativeSGD"]
