"""The network's mathematics: parametrizations, their mirrors, where they start, and the objective L(θ)."""

from dlntorch.model.cells import ScalarCell
from dlntorch.model.curve_mirror import CurveMirror
from dlntorch.model.initialization import Initialization
from dlntorch.model.linear import DiagonalLinear
from dlntorch.model.mirror import Mirror
from dlntorch.model.parametrization import Parametrization, as_parametrization, check_start
from dlntorch.model.power import Entropy, Nonnegative, Power
from dlntorch.model.product import Product
from dlntorch.model.selector import Selector

__all__ = [
    "CurveMirror",
    "DiagonalLinear",
    "Entropy",
    "Initialization",
    "Mirror",
    "Nonnegative",
    "Parametrization",
    "Power",
    "Product",
    "ScalarCell",
    "Selector",
    "as_parametrization",
    "check_start",
]
