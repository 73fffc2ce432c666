"""Which tests a mutant is judged by, and in which order.

By coverage's lines where Python executes them. What numba compiles is not traced: a mutant of a file with kernels is judged
by the tests that execute any line of the modules which import it (through other kernels too) or import it themselves.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePath

from tests.mutation.baseline import Baseline

__all__ = ["Selection"]

_NUMBA = re.compile(r"^(from|import) (numba|dlntorch\.numerics\.(bits|compiling))\b", re.MULTILINE)


class Selection:
    """Of one tree and its baseline.

    Args:
        modules: Every Python file of the library, not only those that are mutated.
        tests: The test files.
    """

    def __init__(self, tree: Path, baseline: Baseline, modules: Sequence[str], tests: Sequence[str]) -> None:
        self._baseline = baseline
        self._texts = {file: (tree / file).read_text() for file in (*modules, *tests)}
        self._modules = set(modules)
        self._tests = tests
        self._good = baseline.good()
        self._of_file: dict[str, list[str]] = {}
        for name in self._good:
            self._of_file.setdefault(name.split("::")[0], []).append(name)

    @cached_property
    def _imports(self) -> dict[str, set[str]]:
        return {file: _imported(text) & self._modules for file, text in self._texts.items()}

    def is_kernel(self, file: str) -> bool:
        """Whether compiled code may hold what this file says."""
        return self._compiles(file) or any(self._compiles(user) for user in self._users(file) & self._modules)

    def tests(self, file: str, line: int) -> list[str]:
        """The test functions to run, best first; none where no test executes the line."""
        if self._compiles(file):
            names = self._of_kernel(file)
        else:
            names = self._of_lines(file, _statement(self._texts[file], line))
        chosen = set(names)
        return sorted((name for name in self._good if name in chosen), key=lambda name: self._order(file, name))

    def seconds(self, name: str) -> float:
        return self._baseline.seconds[name]

    def _compiles(self, file: str) -> bool:
        return _NUMBA.search(self._texts[file]) is not None

    def _users(self, file: str) -> set[str]:
        return {user for user, imported in self._imports.items() if file in imported}

    def _of_kernel(self, file: str) -> set[str]:
        names: set[str] = set()
        kernels, waiting = set(), [file]
        while waiting:
            kernel = waiting.pop()
            kernels.add(kernel)
            names |= self._of_module(kernel)
            for user in self._users(kernel):
                if user not in self._modules:
                    names |= set(self._of_file.get(user, ()))
                elif not self._compiles(user):
                    names |= self._of_module(user)
                elif user not in kernels:
                    waiting.append(user)
        return names

    def _of_lines(self, file: str, lines: Iterable[int]) -> set[str]:
        names: set[str] = set()
        imported = False
        for line in lines:
            for name, phase in self._contexts(file, line):
                if phase == "call":
                    names.add(name)
                elif phase == "setup":  # a fixture may serve every test of its file
                    names |= set(self._of_file.get(name.split("::")[0], ()))
                else:
                    imported = True
        if imported:  # a constant: whoever executes this module, or one that may have imported the constant
            for user in (file, *(self._users(file) & self._modules)):
                names |= self._of_module(user)
        return names

    def _of_module(self, file: str) -> set[str]:
        lines = self._baseline.lines.get(file, {})
        return {name for line in lines for name, phase in self._contexts(file, int(line)) if phase == "call"}

    def _contexts(self, file: str, line: int) -> list[tuple[str, str]]:
        numbers = self._baseline.lines.get(file, {}).get(str(line), ())
        return [tuple(self._baseline.contexts[i].rsplit("|", 1)) for i in numbers]  # type: ignore[misc]

    def _order(self, file: str, name: str) -> tuple[int, float]:
        """The module's own tests first, then its folder's, and short ones first among those."""
        stem, test = PurePath(file).stem, PurePath(name.split("::")[0])
        subject = test.stem.removeprefix("test_")
        same_folder = test.parent.name == PurePath(file).parent.name
        if subject == stem:
            rank = 0
        elif file in self._imports[str(test)] or (
            same_folder and (stem.startswith(subject) or subject.startswith(stem))
        ):
            rank = 1
        else:
            rank = 2 if same_folder else 3
        return rank, self.seconds(name)


def _imported(text: str) -> set[str]:
    """The files that a module may import, as far as they are named."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {f"{name.replace('.', '/')}.py" for name in names}


def _statement(text: str, line: int) -> range:
    """The lines of the smallest statement at a line; of a compound one its head only."""
    best = range(line, line + 1)
    size = float("inf")
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.stmt) or node.end_lineno is None:
            continue
        end = node.end_lineno + 1
        if node.lineno <= line < end and end - node.lineno < size:
            size = end - node.lineno
            body = getattr(node, "body", None)
            stop = body[0].lineno if body and isinstance(body, list) and body[0].lineno > node.lineno else end
            best = range(node.lineno, max(stop, line + 1))
    return best
