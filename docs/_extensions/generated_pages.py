"""Pages that are made from the package when the site is built: keys, studies, the API, and the notebooks."""

from __future__ import annotations

import html
import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from docstring_formulas import typeset_markdown
from sphinx.application import Sphinx

from dlntorch.run.explained_keys import Choice, Key, chosen_by_default, explain_file, explain_group, root_keys
from dlntorch.run.quantities import quantities
from dlntorch.run.summary import Summary

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
MADE = DOCS / "generated"

#: The pages of the API: title, what stands at its head, and the rooms whose public names are on it.
API: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "problems": ("Problems", "The data (A, y), from arrays, operators and files.", ("problem",)),
    "networks": ("Networks and starts", "What is trained, and where it starts.", ("model",)),
    "references": (
        "References",
        "Where a network should end: minimisers, the rate, the saddles on the way, and how many digits the data need.",
        ("reference",),
    ),
    "flow": (
        "The flow and its limit",
        "The gradient flow at given times and at infinity, and what a path and its end are called.",
        ("flow", "limit", "numerics.trajectory"),
    ),
    "bounds": (
        "What is proved about a run",
        "Where a run really started, whether its support is right, and which steps cannot select wrongly.",
        ("bounds",),
    ),
    "matrix": (
        "Matrices and groups",
        "Factorized matrices against the nuclear norm, and group networks against the norm of their groups.",
        ("matrix",),
    ),
    "steps": ("Steps", "How long a step is, and which way it goes.", ("optim",)),
    "runs": ("Runs", "Train, plan, and read run folders.", ("run", "numerics.validation")),
}


def _names(rooms: tuple[str, ...]) -> list[str]:
    """The public names whose homes are in these rooms: functions, then classes."""
    import dlntorch

    homes = tuple(f"dlntorch.{room}." for room in rooms)
    found = [name for name in dlntorch.__all__ if f"{dlntorch._HOME.get(name, '')}.".startswith(homes)]
    return sorted(found, key=lambda name: inspect.isclass(getattr(dlntorch, name)))


def api_pages() -> Iterator[tuple[str, str]]:
    import dlntorch

    listed = {name for _, _, rooms in API.values() for name in _names(rooms)}
    missing = set(dlntorch.__all__) - {"__version__"} - listed
    if missing:
        raise RuntimeError(f"these public names are on no page of the API: {', '.join(sorted(missing))}")
    rows = []
    for page, (title, about, rooms) in API.items():
        parts = [f"# {title}", about]
        for name in _names(rooms):
            found = getattr(dlntorch, name)
            parts.append(f"## `{name}`\n\n" + _documented(f"dlntorch.{name}", found))
            rows.append(f"| [`{name}`]({page}.md#{name.lower()}) | {_first_line(found)} |")
            returned = _returned(found)
            if returned is not None and returned.__name__ not in listed:
                listed.add(returned.__name__)
                parts.append(_documented(f"{returned.__module__}.{returned.__name__}", returned))
        yield f"api/{page}", "\n\n".join(parts)
    estimators = import_module("dlntorch.estimators")
    parts = [
        "# Estimators",
        "scikit-learn's interface, in `dlntorch.estimators` (`pip install 'dlntorch[estimators]'`).",
    ]
    for name in estimators.__all__:
        parts.append(f"## `{name}`\n\n" + _documented(f"dlntorch.estimators.{name}", getattr(estimators, name)))
        rows.append(
            f"| [`estimators.{name}`](estimators.md#{name.lower()}) | {_first_line(getattr(estimators, name))} |"
        )
    yield "api/estimators", "\n\n".join(parts)
    tree = "\n".join([*API, "estimators"])
    table = "\n".join(["| name | what it is |", "| --- | --- |", *rows])
    head = "# API\n\nEvery public name of the package; the text is that of `help(dlntorch.NAME)`."
    yield "api/index", f"{head}\n\n{table}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```"


def _documented(path: str, found: Any) -> str:
    if inspect.isclass(found):
        options = "\n   :members:\n" + ("   :undoc-members:\n" if path == "dlntorch.Status" else "")
        if issubclass(found, Exception):
            options += "   :show-inheritance:\n"
        if path.startswith("dlntorch.estimators."):  # scikit-learn's own, whose texts refer to its site
            options += "   :exclude-members: set_fit_request, set_predict_request, set_score_request\n"
        if path == "dlntorch.RelativeSGD":
            options = "\n   :members: for_problem, step, add_param_group\n"
        return f"```{{eval-rst}}\n.. autoclass:: {path}{options}```"
    return f"```{{eval-rst}}\n.. autofunction:: {path}\n```"


def _returned(found: Any) -> type | None:
    """The class of the package that a function returns."""
    if not inspect.isfunction(found):
        return None
    try:
        kind = get_type_hints(found).get("return")
    except (NameError, TypeError):
        return None
    return kind if inspect.isclass(kind) and kind.__module__.startswith("dlntorch") else None


def _first_line(found: Any) -> str:
    return _cell((inspect.getdoc(found) or "").splitlines()[0])


def _cell(text: str) -> str:
    """Words for a cell of a table."""
    return typeset_markdown(" ".join(text.split()))


# -- keys ---------------------------------------------------------------------------------------------------------


def keys_page() -> str:
    parts = [
        "# All keys",
        "This page is made from the comments in `conf/`, as `python train.py --help` is. A key is set as `KEY=VALUE`; a "
        "group is chosen by name (`problem=sparse`) and its keys are set with a dot (`problem.m=50`).",
        "## Of `python train.py`",
        _table(root_keys()),
    ]
    for group, default in chosen_by_default().items():
        choices = explain_group(group)
        head = f"### `{group}=`" if len(choices) > 1 else f"### `{group}.`"
        parts.append(head + ("" if default is None else f"\n\nThe default is `{default}`."))
        for choice in choices:
            parts.append(_choice(group, choice, single=len(choices) == 1))
    parts += [
        "## Of a SLURM array",
        "`hydra/launcher=slurm` takes these, each as `hydra.launcher.KEY=VALUE`.",
        _table(explain_file(ROOT / "conf/hydra/launcher/slurm.yaml", "hydra.launcher.").keys),
        "## Of `python -m dlntorch`",
        _table(root_keys("study")),
        "The keys of each study are in [the gallery](studies.md).",
    ]
    return "\n\n".join(parts)


def _choice(group: str, choice: Choice, single: bool) -> str:
    head = [] if single else [f"#### `{group}={choice.name}`"]
    keys = [_table(choice.keys)] if choice.keys else []
    return "\n\n".join([*head, typeset_markdown(choice.about), *keys])


def _table(keys: tuple[Key, ...]) -> str:
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for key in keys:
        default = f"`{key.default}`" if key.default else ""
        lines.append(f"| `{key.name}` | {default.replace('|', chr(92) + '|')} | {_cell(key.meaning)} |")
    return "\n".join(lines)


# -- the summary --------------------------------------------------------------------------------------------------


def summary_keys() -> str:
    """The table of ``summary.json``, for the page of the run folder."""
    lines = ["| key | meaning | unit |", "| --- | --- | --- |"]
    for key, quantity in quantities(Summary):
        inner = [] if quantity.inside is None else [(f"{key}.{name}", one) for name, one in quantities(quantity.inside)]
        for name, one in inner or [(key, quantity)]:
            unit = typeset_markdown(one.unit)
            lines.append(f"| `{name}` | {_cell(one.words)} | {unit} |")
    return "\n".join(lines)


# -- studies ------------------------------------------------------------------------------------------------------


def studies_page() -> str:
    from dlntorch.studies.catalogue import load_study, studies_of_all, study_names

    parts = [
        "# Gallery of studies",
        "A study asks one question of these networks and holds what it measures against what theory predicts. "
        "`python -m dlntorch study=NAME` writes its data (CSV), figures (PNG and PDF), a table of claim, predicted, "
        "measured and verdict, and a page that works offline; `study.small=true` is quick. This page is made from the catalogue.",
    ]
    keys = {choice.name: choice for choice in explain_group("study")}
    for name in study_names():
        study = load_study(name)
        alone = "" if name in studies_of_all() else " It is not part of `study=all`."
        picture = ROOT / "notebooks" / "figures" / f"{name}.png"
        shown = [f"![{html.escape(study.summary)}](../../notebooks/figures/{name}.png)"] if picture.is_file() else []
        settings = f"<details><summary>Keys</summary>\n\n{_table(keys[name].keys)}\n\n</details>"
        about = [typeset_markdown(paragraph) for paragraph in study.about]
        command = f"```sh\npython -m dlntorch study={name}\n```"
        parts.append(f"## {name}\n\n**{typeset_markdown(study.summary)}.**{alone}")
        parts += [*shown, *about, command, settings]
    return "\n\n".join(parts)


# -- notebooks ----------------------------------------------------------------------------------------------------


def notebook_pages() -> Iterator[tuple[str, str]]:
    """The notebooks, with the outputs that ``python docs/notebook_outputs.py`` has kept."""
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(file.read_text())["cells"]
        kept = DOCS / "tutorials" / "outputs" / f"{file.stem}.json"
        outputs = json.loads(kept.read_text()) if kept.is_file() else {}
        parts = []
        for number, cell in enumerate(cells):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source)
                continue
            parts.append(f"```python\n{source}\n```")
            for kind, value in outputs.get(str(number), []):
                parts.append(
                    f"![Output of the cell above](../../tutorials/outputs/{value})"
                    if kind == "image"
                    else f"```{{code-block}} text\n:class: output\n\n{value.rstrip()}\n```"
                )
        title, _, rest = "\n\n".join(parts).partition("\n")
        note = f"*This page is the notebook `notebooks/{file.name}`, which the tests execute.*"
        yield f"notebooks/{file.stem}", f"{title}\n\n{note}\n{rest}"


def write_pages(app: Sphinx) -> None:
    """Write what has changed, so that a second build reads only that."""
    pages = {
        "keys": keys_page(),
        "summary_keys": summary_keys(),
        "studies": studies_page(),
        **dict(api_pages()),
        **dict(notebook_pages()),
    }
    for name, text in pages.items():
        file = MADE / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.is_file() or file.read_text() != text + "\n":
            file.write_text(text + "\n")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
