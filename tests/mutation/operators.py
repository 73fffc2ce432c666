"""What is changed in a file: cosmic-ray's operators, three more of the same kind, and the places left alone.

Only this module needs cosmic-ray; a sample drawn elsewhere and saved as JSON is judged without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

__all__ = ["Site", "mutate", "sites"]

# Of cosmic-ray's replacements those that give a number where there was one: a shift of floats is killed by its TypeError
# and would count as a kill that no test had to work for.
_CHOSEN = (
    *(
        f"ReplaceBinaryOperator_{pair}"
        for pair in (
            "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul",
            "LShift_RShift", "RShift_LShift", "BitAnd_BitOr", "BitOr_BitAnd",
        )
    ),
    *(
        f"ReplaceComparisonOperator_{pair}"
        for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")
    ),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Invert", "Not")),
    "AddNot", "NumberReplacer", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
)  # fmt: skip
_SWAPPED_CALLS = {
    "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "fmin": "fmax", "fmax": "fmin",
    "argmin": "argmax", "argmax": "argmin", "amin": "amax", "amax": "amin", "any": "all", "all": "any",
}  # fmt: skip
_SWAPPED_ASSIGNMENTS = {
    "+=": "-=", "-=": "+=", "*=": "/=", "/=": "*=", "|=": "&=", "&=": "|=", "<<=": ">>=", ">>=": "<<=", "//=": "*=",
}  # fmt: skip
# Where "*" and "/" are arithmetic; elsewhere they are markers of parameters or unpack.
_ARITHMETIC = {"arith_expr", "term", "power", "shift_expr", "expr", "and_expr", "xor_expr"}
_LEFT_ALONE = {"decorator", "import_name", "import_from", "fstring", "tfpdef"}


class _Own(Operator):
    """An operator of ours: cosmic-ray asks for examples, for its documentation."""

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class SwapMinMax(_Own):
    """A call of min becomes one of max, and so on."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "name" and node.value in _SWAPPED_CALLS:
            after, before = node.get_next_leaf(), node.get_previous_leaf()
            if after is not None and after.value == "(" and (before is None or before.value != "def"):
                yield (node.start_pos, node.end_pos)

    def mutate(self, node: Any, index: int) -> Any:
        node.value = _SWAPPED_CALLS[node.value]
        return node


class SwapAugmentedAssignment(_Own):
    """``+=`` becomes ``-=``, and so on."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "operator" and node.value in _SWAPPED_ASSIGNMENTS:
            yield (node.start_pos, node.end_pos)

    def mutate(self, node: Any, index: int) -> Any:
        node.value = _SWAPPED_ASSIGNMENTS[node.value]
        return node


class ReturnNone(_Own):
    """``return x`` becomes ``return None``."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "return_stmt" and node.children[1].get_code().strip() != "None":
            yield (node.children[1].start_pos, node.children[1].end_pos)

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1] = parso.parse(" None")
        return node


_OPERATORS: dict[str, Any] = {name: OperatorProvider()[name]() for name in _CHOSEN} | {
    kind.__name__: kind() for kind in (SwapMinMax, SwapAugmentedAssignment, ReturnNone)
}


@dataclass(frozen=True)
class Site:
    """A place where an operator applies: its occurrence-th place in the file."""

    operator: str
    occurrence: int
    line: int
    column: int


def sites(code: str) -> list[Site]:
    """Every mutant of a file that is worth judging, in the order of the file."""
    found, seen = [], dict.fromkeys(_OPERATORS, 0)
    for node in ast_nodes(get_ast(code)):
        for name, operator in _OPERATORS.items():
            for (line, column), _ in operator.mutation_positions(node):
                if _worth(name, node):
                    found.append(Site(name, seen[name], line, column))
                seen[name] += 1
    return sorted(found, key=lambda site: (site.line, site.column, site.operator, site.occurrence))


def mutate(code: str, site: Site) -> str | None:
    """The file's text after the change; None where the operator finds nothing to change."""
    return MutationVisitor.mutate_code(code, _OPERATORS[site.operator], site.occurrence)


def _worth(name: str, node: Any) -> bool:
    """False where the change is of no behaviour (annotations, messages), of imports, or the same as another's."""
    if name.startswith("ReplaceBinaryOperator"):
        if node.parent.type not in _ARITHMETIC:
            return False
        if any(child.type in ("string", "strings", "fstring") for child in node.parent.children):
            return False
    if name == "AddNot":
        condition = node.children[2 if node.type == "test" else 1]
        if condition.type == "not_test" or condition.get_code().strip() == "TYPE_CHECKING":
            return False
    return not _left_alone(node)


def _left_alone(node: Any) -> bool:
    child, parent = node, node.parent
    while parent is not None:
        if child.type in _LEFT_ALONE:
            return True
        if parent.type == "annassign" and child is parent.children[1]:
            return True
        if parent.type == "funcdef" and child is parent.annotation:
            return True
        if parent.type == "expr_stmt" and parent.children[0].get_code().strip() == "__all__":
            return True
        child, parent = parent, parent.parent
    return False
