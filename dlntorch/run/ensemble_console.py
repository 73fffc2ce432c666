"""What a person reads before and after an ensemble: the plan, and the closing table with a row for each network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from dlntorch.engine import CAPABILITIES
from dlntorch.numerics.validation import DataWarning, check_count
from dlntorch.run.console import announce_sources, shown
from dlntorch.run.ensemble_result import EnsembleResult, network_rows
from dlntorch.run.members import KEYS
from dlntorch.run.planning import Plan
from dlntorch.run.quantities import in_ascii
from dlntorch.run.speed import budget_notes, expected_seconds, measure_speed
from dlntorch.run.summary import PARTS_OF_ERROR, networks_heads
from dlntorch.run.terminal_table import print_numbers, terminal
from dlntorch.training.ensemble import available_cores

__all__ = ["announce_ensemble", "conclude_ensemble", "ensemble_plan_table"]

#: Columns of the closing table; networks.csv has all.
CLOSING = (
    "p", "alpha", "seed", "status", "steps", "residual", "distance_to_selected", *PARTS_OF_ERROR, "predicted_initialization"
)  # fmt: skip
#: More networks than these are shown by their first and last ones; the files have all.
SHOWN_NETWORKS = 40


def announce_ensemble(plans: Sequence[Plan]) -> None:
    """One line before training: how many networks, over what."""
    first, settings = plans[0].problem, plans[0].settings
    names = {plan.problem.name: None for plan in plans}
    network = _words(plans)
    steps = [plan.prediction.steps for plan in plans]
    expected = ""
    if all(count is not None for count in steps):
        total = sum(
            min(count or 0.0, plan.settings.stopping.max_steps) for count, plan in zip(steps, plans, strict=True)
        )
        expected = f"; expected {total:.2g} steps in all"
    notes = [plan.note for plan in plans if plan.note]
    if notes:
        print(f"{len(notes)} of {len(plans)} networks are {notes[0]}", flush=True)
    else:
        announce_sources(plan.problem for plan in plans)
    print(
        f"{len(plans)} networks on {', '.join(list(names)[:3])}: m={first.m} n={first.n}, {network}, "
        f"schedule={settings.schedule.name} engine={settings.engine}{expected}",
        flush=True,
    )


def _words(plans: Sequence[Plan]) -> str:
    """Depths and scales of all networks, or what the first is."""
    if not all(plan.settings.plain_start for plan in plans):
        return plans[0].settings.words
    depths, alphas = [plan.settings.p or 0.0 for plan in plans], [float(plan.settings.alpha) for plan in plans]  # type: ignore[arg-type]
    return f"p={_span(depths)} alpha={_span(alphas)}"


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}…{high:g}"


def ensemble_plan_table(plans: Sequence[Plan], config: Mapping[str, Any]) -> None:
    """The plan of every network, for ``dry_run=true``."""
    announce_sources(plan.problem for plan in plans)
    lists = " ".join(f"{key}={config['ensemble'][key]}" for key in KEYS if config["ensemble"][key] is not None)
    heads = ("network", "p", "alpha", "seed", "problem", "predicted steps", "predicted t", "predicted C alpha^p")
    rows = []
    for i in _chosen(len(plans)):
        plan = plans[i]
        settings, prediction, rate = plan.settings, plan.prediction, plan.references.rate
        constant = None if rate is None else rate.constant
        depth: Any = settings.law if settings.p is None else settings.p
        start: Any = settings.alpha if settings.plain_start else repr(settings.alpha)
        cells = [i, depth, start, settings.seed, plan.problem.name, prediction.steps, prediction.time]
        cells.append(None if constant is None or not settings.plain_start else constant * start**depth)
        rows.append([*map(shown, cells)])
    print_numbers(f"dry run: nothing is trained; {len(plans)} networks, {lists}", heads, rows)
    console = terminal()
    speed = measure_speed(plans[0], config["trainer"]["threads"])
    wanted = config["ensemble"]["threads"]
    at_once = available_cores() if wanted == "auto" else check_count("ensemble.threads", wanted)
    at_once = min(at_once, len(plans)) if CAPABILITIES[plans[0].settings.engine].compiled else 1
    if speed.steps_per_second is not None:
        rate = (
            f"{speed.steps_per_second:.2g} steps per second, of {speed.steps:,} made now, {at_once} networks at a time"
        )
        console.print(f"predicted training time: {expected_seconds(plans, speed, at_once)}; {rate}", soft_wrap=True)
    early = [note for plan in plans for note in budget_notes(plan)[:1]]
    if early:
        text = f"{len(early)} of {len(plans)} networks will end before they converge; of the first {early[0]}"
        warnings.warn(text, DataWarning, stacklevel=2)
    for i in _chosen(len(plans)):
        if plans[i].prediction.steps is None:
            console.print(f"network {i} is not predicted: {plans[i].prediction.reason}", soft_wrap=True)


def conclude_ensemble(result: EnsembleResult) -> None:
    """The closing table: a row for each network with its status, residual, distance and error budget."""
    summary = result.summary
    title = f"{summary['status']}: {summary['reason']}; {summary['steps']:,} steps in {summary['wall_seconds']:.2f} s"
    heads = {"network": "network", **{key: in_ascii(head) for key, head in networks_heads().items() if key in CLOSING}}
    rows = network_rows(result.networks)
    for key in ("p", "alpha", "seed"):
        if len({row[key] for row in rows}) == 1:
            del heads[key]
    cells = [[_short(rows[i][key]) for key in heads] for i in _chosen(len(rows))]
    print_numbers(title, [*heads.values()], cells)
    console = terminal()
    if len(rows) > SHOWN_NETWORKS:
        console.print(f"{len(rows) - SHOWN_NETWORKS} networks between are in networks.csv", soft_wrap=True)
    notes = {text: None for network in result for text in network.summary["signatures"]}
    for text in list(notes)[:5]:
        console.print(f"note: {text}", soft_wrap=True)
    console.print(f"run folder: {result.folder}", soft_wrap=True)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else shown(value)


def _chosen(count: int) -> list[int]:
    """All networks, or the first and the last ones of many."""
    if count <= SHOWN_NETWORKS:
        return list(range(count))
    half = SHOWN_NETWORKS // 2
    return [*range(half), *range(count - half, count)]
