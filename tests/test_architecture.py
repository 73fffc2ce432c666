"""The house's numbers, held: arrows, widths, names compared and powers branched on may only become fewer.

A list of exceptions here is a debt: an entry goes when its code is mended (the test says so), and none is added.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import dlntorch as dln
from dlntorch.engine import CAPABILITIES
from dlntorch.optim.step_size import KINDS
from dlntorch.optim.update import UPDATES
from dlntorch.trackers.registry import TRACKERS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dlntorch"
SOURCES = {str(path.relative_to(PACKAGE)): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}

WIDEST, LONGEST = 8, 400

#: Functions of more positional parameters: compiled kernels, whose arrays numba and Triton take one by one.
WIDE = {
    "bounds/certificate_kernel.py:certificate_step": 12,
    "bounds/certificate_kernel.py:_psi_and_slope": 9,
    "engine/triton_kernel.py:_steps": 30,  # Triton passes pointers and constants one by one, and has no records
}

#: Modules of more lines, and their most.
LONG: dict[str, int] = {}

#: Comparisons of p with 2 outside ``model/``: what they ask has a name in ``model/depth_law.py``.
POWERS = {
    "bounds/certificate.py": 3,
    "bounds/certificate_kernel.py": 2,
    "bounds/effective.py": 2,
    "bounds/support.py": 2,
}

#: Questions of type about the parametrizations of the package outside ``model/``: what they ask is an attribute.
FAMILIES = {"bounds/effective.py": 5}

#: Loops of kernels that store and add 1 to an integer, which has one value in any order.
COUNTED = ["flow/stage_kernel.py:_largest_move"]

#: The public names that an executable example shows in use.
SHOWN = [
    "Initialization",
    "Parametrization",
    "Power",
    "Problem",
    "basis_pursuit",
    "flow_limit",
    "integrate_flow",
    "l1_minimizer",
    "predict_rate",
    "selected_minimizer",
    "train",
]


def constants(node: ast.Compare) -> Iterator[object]:
    for part in (node.left, *node.comparators):
        for item in part.elts if isinstance(part, ast.Tuple | ast.List | ast.Set) else [part]:
            if isinstance(item, ast.Constant):
                yield item.value


def comparisons(name: str) -> list[ast.Compare]:
    return [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Compare)]


def only_shrinks(found: dict[str, int], allowed: dict[str, int], what: str) -> None:
    more = {key: count for key, count in found.items() if count > allowed.get(key, 0)}
    assert not more, f"{what}: more than the list allows in {more}"
    fewer = {key: (count, found.get(key, 0)) for key, count in allowed.items() if found.get(key, 0) < count}
    assert not fewer, f"{what}: mended, so lower the list: {fewer} (listed, found)"


def test_the_contract_of_imports_lists_every_room():
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    listed = {part.strip() for layer in contract["layers"] for part in layer.split("|")}
    rooms = {f"dlntorch.{path.parent.name}" for path in PACKAGE.glob("*/__init__.py")}
    modules = {f"dlntorch.{path.stem}" for path in PACKAGE.glob("*.py")} - {"dlntorch.__init__", "dlntorch._version"}
    assert listed == rooms | modules
    assert not any("(" in layer for layer in contract["layers"]), "a room in brackets is optional"
    assert not contract.get("ignore_imports"), "an arrow up is mended, not ignored"


def test_arrows_point_down_and_modules_make_no_circle():
    graph = pytest.importorskip("grimp").build_graph("dlntorch", cache_dir=None)
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    level = {room.strip(): height for height, layer in enumerate(contract["layers"]) for room in layer.split("|")}
    up, room_of = [], lambda module: ".".join(module.split(".")[:2])
    for module in graph.modules:
        for target in graph.find_modules_directly_imported_by(module):
            here, there = room_of(module), room_of(target)
            if here == there or here not in level or there not in level:
                continue
            if level[there] <= level[here]:
                up.append(f"{module} -> {target}")
    assert not up
    # A circle: strip the modules that import nothing any more, until none is left. Imports inside a function are not
    # made at import; a package's own names are.
    imports = {name: top_level_imports(name) for name in SOURCES}
    while free := [name for name, needed in imports.items() if not needed & imports.keys() - {name}]:
        for name in free:
            del imports[name]
    assert not imports, f"modules that import each other: {sorted(imports)}"


def top_level_imports(name: str) -> set[str]:
    """The package's modules that are imported when this one is, without those for type checkers only."""
    found = set()

    def look(body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dlntorch."):
                place = node.module.removeprefix("dlntorch.").replace(".", "/")  # type: ignore[union-attr]
                for alias in node.names:
                    inner = [f"{place}/{alias.name}.py", f"{place}/{alias.name}/__init__.py"]
                    outer = [f"{place}.py", f"{place}/__init__.py"]
                    found.update([path for path in inner if path in SOURCES] or [p for p in outer if p in SOURCES])
            elif isinstance(node, ast.If) and ast.unparse(node.test) != "TYPE_CHECKING":
                look(node.body + node.orelse)
            elif isinstance(node, ast.Try):
                look(node.body)

    look(TREES[name].body)
    return found - {name}


def test_functions_have_few_parameters():
    found = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [a.arg for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")]
                if len(arguments) > WIDEST:
                    found[f"{name}:{node.name}"] = len(arguments)
    only_shrinks(found, WIDE, "positional parameters")


def test_modules_are_short():
    found = {name: text.count("\n") for name, text in SOURCES.items() if text.count("\n") > LONGEST}
    longer = {name: lines for name, lines in found.items() if lines > LONG.get(name, LONGEST)}
    assert not longer, f"longer than the list allows: {longer}"
    assert set(found) == set(LONG), "a module became short: take it off the list"


#: What is registered by name, and the rooms that may compare these names. What others ask is a field of the registry.
REGISTRIES = {
    "engines": (set(CAPABILITIES), ("engine/",)),
    "loggers": (set(TRACKERS) - {"none"}, ("trackers/",)),
    "schedules": (
        set(KINDS),
        ("optim/", "engine/", "matrix/", "studies/"),
    ),  # an engine runs rules, a study has words of its own
    "optimizers": (set(UPDATES), ("optim/", "engine/", "studies/")),
}


@pytest.mark.parametrize("what", REGISTRIES)
def test_what_is_registered_is_asked_and_not_named(what):
    """A device's type is no engine's name: ``device.type == "cuda"`` is fine."""
    names, rooms = REGISTRIES[what]
    found = []
    for name in SOURCES:
        for node in comparisons(name):
            named = {value for value in constants(node) if isinstance(value, str)} & names
            device = re.search(r"\b(device|place|found)\.type\b", ast.unparse(node))
            if named and not device and not name.startswith(rooms):
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)}")
    assert not found


def test_two_classes_never_share_a_name():
    """Nor does a class hide what the standard library calls so, ``Path``."""
    homes: dict[str, list[str]] = {}
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name)
    assert not {name: places for name, places in homes.items() if len(places) > 1 and not name.startswith("_")}
    assert not {"Path", "Any", "Callable", "Tensor"} & homes.keys()


def test_powers_are_the_model_s():
    found: Counter[str] = Counter()
    for name in SOURCES:
        for node in comparisons(name):
            two = any(type(value) in (int, float) and value == 2 for value in constants(node))
            parts = [ast.unparse(part) for part in (node.left, *node.comparators)]
            power = any(re.search(r"(^|\.|_)p$|depth$|\['(p|depth)'\]$", part) for part in parts)
            if two and power and not name.startswith("model/"):
                found[name] += 1
    only_shrinks(found, POWERS, "comparisons of p with 2")


def test_parametrizations_are_asked_and_not_named():
    family = re.compile(r"\b(Power|Entropy|Product|Nonnegative)\b")
    found: Counter[str] = Counter()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance" and not name.startswith("model/"):
                found[name] += bool(family.search(ast.unparse(node.args[1])))
    only_shrinks({name: count for name, count in found.items() if count}, FAMILIES, "types of parametrizations asked")


def test_no_kernel_sums_where_it_stores():
    """LLVM vectorizes such a loop only where the arrays lie far enough apart, and a reordered sum has other last bits then."""
    found = []
    for name, tree in TREES.items():
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef) or not re.search(
                r"kernel\(.*SUMS", "".join(map(ast.unparse, function.decorator_list))
            ):
                continue
            for loop in ast.walk(function):
                if isinstance(loop, ast.For) and sum(isinstance(part, ast.For) for part in ast.walk(loop)) == 1:
                    changed = [part.target for part in ast.walk(loop) if isinstance(part, ast.AugAssign)]
                    stored = [
                        target for part in ast.walk(loop) if isinstance(part, ast.Assign) for target in part.targets
                    ]
                    sums = [target for target in changed if isinstance(target, ast.Name)]
                    stores = [target for target in changed + stored if "[" in ast.unparse(target)]
                    if sums and stores:
                        found.append(f"{name}:{function.name}")
    assert found == COUNTED


@pytest.mark.parametrize("name", [name for name in dln.__all__ if name != "__version__"])
def test_public_names_are_documented(name):
    """Args that name every argument, where there are four or more."""
    thing = getattr(dln, name)
    text = inspect.getdoc(thing)
    assert text
    if isinstance(thing, type) and issubclass(thing, Exception | str):
        return
    try:
        arguments = [key for key in inspect.signature(thing).parameters if key not in ("self", "cls", "args", "kwargs")]
    except ValueError:
        return
    if len(arguments) < 4:
        return
    listing = re.split(r"\n(?:Args|Attributes):\n", text)
    assert len(listing) > 1, f"{name} has {len(arguments)} arguments and no Args"
    missing = [key for key in arguments if not re.search(rf"\b{key}\b", listing[1])]
    assert not missing, f"Args of {name} leave out {missing}"


@pytest.mark.parametrize("name", SHOWN)
def test_the_most_used_have_examples_that_run(name):
    thing = getattr(dln, name)
    home = importlib.import_module(thing.__module__)
    found = list(doctest.DocTestFinder(recurse=False).find(thing, name, globs=vars(home) | {"dln": dln}))
    assert any(test.examples for test in found), f"{name} has no example"
    for test in found:
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test)
        assert result.failed == 0
