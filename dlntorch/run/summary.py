"""The summary of a run: every number that is known about it, in one place with its meaning, symbol and unit.

The dictionary of ``summary.json`` has these keys; what is said here of each is what the console, the page, the tables and
the documentation say (:mod:`dlntorch.run.quantities`). A new number is one entry here.
"""

# ruff: noqa: RUF009 -- the calls make fields

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlntorch.run.quantities import (
    ABSENT,
    Quantity,
    check_part,
    count,
    flag,
    number,
    part,
    quantities,
    record,
    summarized,
    word,
)
from dlntorch.store.provenance import versions

if TYPE_CHECKING:
    from dlntorch.run.finished import FinishedRun

__all__ = [
    "PARTS",
    "PARTS_OF_ERROR",
    "EffectiveStart",
    "ErrorBudget",
    "NearestToTruth",
    "OptimizerPrediction",
    "Predicted",
    "ProblemNumbers",
    "ReferenceValues",
    "StepSizes",
    "Summary",
    "build_summary",
    "check_summary",
    "head_of",
    "networks_heads",
    "networks_row",
    "said_of",
]  # fmt: skip


# fmt: off
@dataclass(frozen=True)
class ProblemNumbers:
    """What the run ran on."""

    m: int = count("rows of A", lambda run: run.problem.m)
    n: int = count("columns of A", lambda run: run.problem.n)
    rank: int | None = count("rank of A", lambda run: run.rank)
    name: str = word("what the problem is called", lambda run: run.problem.name)


@dataclass(frozen=True)
class ErrorBudget:
    """The three parts of the error, which add up to ψ − W_p."""

    discretization: float | None = number("gradient descent against the flow at the same time",
        lambda run: run.norm("discretization"), "[ψ]", symbol="‖ψ_k − ψ(t_k)‖₂", console=True, row=True)
    finite_time: float | None = number("the flow at that time against its limit", lambda run: run.norm("finite_time"),
        "[ψ]", symbol="‖ψ(t_k) − ψ_α(∞)‖₂", console=True, row=True)
    initialization: float | None = number("the limit against the selected minimiser, what α costs",
        lambda run: run.norm("initialization"), "[ψ]", symbol="‖ψ_α(∞) − W_p‖₂", console=True, row=True)
    dominant: str | None = word("the name of the largest", lambda run: run.dominant, head="dominant error", row=True)
    cause: str | None = word("what the steps did, in words", lambda run: run.cause, optional=True)


@dataclass(frozen=True)
class EffectiveStart:
    """The start from which the flow would end where the run did: what the steps did to the answer."""

    gain_min: float | None = number("smallest over the coordinates of what the steps took from α",
        lambda run: run.effective("gain_min"), symbol="min −ln(α_e²/α²)")
    gain_max: float | None = number("largest over the coordinates of what the steps took from α",
        lambda run: run.effective("gain_max"), symbol="max −ln(α_e²/α²)",
        console=True)
    gain_mean: float | None = number("mean over the coordinates of what the steps took from α",
        lambda run: run.effective("gain_mean"), symbol="mean −ln(α_e²/α²)",
        console=True, optional=True)
    tilt: float | None = number("largest part of ν that the steps moved outside range(Aᵀ)",
        lambda run: run.effective("tilt"), "[θ]^(2−p)")
    weight_min: float | None = number("smallest weight that the steps gave the ℓ1 norm",
        lambda run: run.effective("weight_min"))
    weight_max: float | None = number("largest weight", lambda run: run.effective("weight_max"))
    weight_spread: float | None = number("largest over smallest weight", lambda run: run.effective("weight_spread"),
        console=True)
    sign_changes: float | None = number("entries of θ that are negative at the end",
        lambda run: run.effective("sign_changes"), "", page=False)
    distance_to_limit: float | None = number("to the limit of the flow from the effective start",
        lambda run: run.effective("distance_to_limit"), "[ψ]")
    distance_to_weighted: float | None = number("to the minimiser of the ℓ1 norm with these weights",
        lambda run: run.effective("distance_to_weighted"), "[ψ]", console=True)
    support_certified: bool | None = flag("whether the run's own dual vector proves its support",
        lambda run: run.effective("support_certified"), console=True)
    support_violation: float | None = number("by how much that vector exceeds 1 off the support",
        lambda run: run.effective("support_violation"))
    kappa_threshold: float | None = number("κ up to which the steps provably select the ℓ1-minimiser",
        lambda run: run.effective("kappa_threshold"), console=True)


@dataclass(frozen=True)
class OptimizerPrediction:
    """What the theory of the optimizer predicts of the run, beside what the steps did."""

    prediction: str | None = word("what is predicted, in words", lambda run: run.prediction)
    predicted_gain_mean: float | None = number("the mean gain, by integrals along the optimizer's flow",
        lambda run: run.update("predicted_gain_mean"), symbol="mean −ln(α_e²/α²)", console=True)
    predicted_tilt: float | None = number("the largest tilt, likewise", lambda run: run.update("predicted_tilt"),
        "[θ]^(2−p)")
    distance_to_predicted: float | None = number("to the end that is predicted, a flow's limit or a lasso's minimiser",
        lambda run: run.update("distance_to_predicted"), "[ψ]", console=True)
    optimality_violation: float | None = number("by how much the regularised objective's conditions are missed",
        lambda run: run.update("optimality_violation"), console=True)
    mean_distance_to_predicted: float | None = number(
        "label noise, the mean of ψ over the second half of the steps to the lasso",
        lambda run: run.update("mean_distance_to_predicted"), "[ψ]")
    mean_standard_error: float | None = number("norm of that mean's standard errors",
        lambda run: run.update("mean_standard_error"), "[ψ]")
    mean_in_standard_errors: float | None = number(
        "largest deviation of that mean on the lasso's support, in its standard errors",
        lambda run: run.update("mean_in_standard_errors"), console=True)
    critical_eta: float | None = number("constant step beyond which descent leaves the flow",
        lambda run: run.update("critical_eta"), "[t]", symbol="2/max_t λ_max(∇²L)", console=True)


@dataclass(frozen=True)
class Predicted:
    """What the theory predicts of ‖ψ_α(∞) − W_p‖."""

    exponent: float | None = number("the initialization error falls like α to this power",
        lambda run: run.rate("exponent"))
    constant: float | None = number("p > 2", lambda run: run.rate("constant"), "[ψ]/[α]^exponent", symbol="C")
    initialization: float | None = number("the initialization error that theory predicts",
        lambda run: run.predicted_error, "[ψ]", symbol="C·α^exponent", head="C alpha^p", console=True, row=True)
    rho: float | None = number("p = 2, of the exponent 2(1 − ϱ)", lambda run: run.rate("rho"), symbol="ϱ")


@dataclass(frozen=True)
class StepSizes:
    """The step sizes used, what the theorem would have asked for, and what the certificate proves."""

    name: str = word("of the schedule", lambda run: run.settings.schedule.name)
    rule: str = word("the step rule that it uses", lambda run: run.settings.schedule.rule)
    eta_min: float | None = number("smallest step", lambda run: run.step_used("eta_min"), "[t]", symbol="min η_k")
    eta_max: float | None = number("largest step", lambda run: run.step_used("eta_max"), "[t]", symbol="max η_k")
    kappa: float | None = number("largest relative change of a parameter in a step", lambda run: run.chosen("kappa"),
        symbol="κ")
    c: float | None = number("fraction of the stability limit", lambda run: run.chosen("c"))
    theorem_epsilon: float | None = number("what the theorem is asked for", lambda run: run.theorem("epsilon"), "[θ]",
        symbol="ε", page=False)
    theorem_log10_eta: float | None = number("log10 of the step size that the paper's theorem asks for",
        lambda run: run.theorem("log10_eta"), "")
    theorem_log10_steps: float | None = number("log10 of the steps that it would take",
        lambda run: run.theorem("log10_steps"), "")
    certificate: float | None = number(
        "proved bound on the distance of the mirror path from the flow, in dual coordinates",
        lambda run: run.certified("energy"), "[s]", symbol="E, ‖ŝ − s‖ ≤ E")
    certified_theta_error: float | None = number("proved bound at the end", lambda run: run.certified("theta_error"),
        "[θ]", symbol="‖θ_k − θ(t_k)‖₂")
    certified_theta_error_sup: float | None = number("proved bound over the whole run",
        lambda run: run.certified("theta_error_sup"), "[θ]", symbol="sup ‖θ_k − θ(t_k)‖₂")
    epsilon: float | None = number("with `schedule=certified`, what was asked",
        lambda run: run.of_certified(run.settings.schedule.epsilon), "[θ]", optional=True, page=False)
    over: str | None = word("with `schedule=certified`, `end` or `all`",
        lambda run: run.of_certified(run.settings.schedule.over), optional=True)
    epsilon_met: bool | None = flag("with `schedule=certified`, whether it was met",
        lambda run: run.of_certified(run.epsilon_met), optional=True)


@dataclass(frozen=True)
class ReferenceValues:
    """What the run was compared with."""

    l1_value: float | None = number("least ℓ1 norm of a solution", lambda run: run.l1_value, "[ψ]", symbol="min ‖ψ‖₁")
    l1_certificate: float | None = number("relative duality gap that its dual vector proves", lambda run: run.l1_certificate,
        symbol="(‖ψ‖₁ − yᵀλ)/‖ψ‖₁", optional=True)
    solver: str | None = word("what found it: linprog, basis_pursuit, matrix_free (products alone), refined",
        lambda run: run.solver, page=True, optional=True)
    unique: bool | None = flag("whether one vector alone attains it; null: undecided", lambda run: run.unique)
    notes: dict[str, str] = record("what the references have to say", lambda run: dict(run.references.reasons))


@dataclass(frozen=True)
class NearestToTruth:
    """Of a planted problem: the recorded point that is nearest to the truth, and the lasso's best beside it."""

    time: float = number("of the recorded step that is nearest to the truth", lambda run: run.nearest("time"), "[t]",
        symbol="t", page=False)
    distance: float = number("of that step to the truth", lambda run: run.nearest("distance"), "[ψ]", page=False)
    passed: bool = flag("whether the run has passed that point", lambda run: run.nearest("passed"))
    lasso_distance: float | None = number("smallest distance of the lasso's path to the planted signal",
        lambda run: run.nearest("lasso_distance"), "[ψ]", optional=True)
    lasso_strength: float | None = number("where the lasso's path is there", lambda run: run.nearest("lasso_strength"),
        "[Aᵀy]", symbol="λ", optional=True)


@dataclass(frozen=True)
class Summary:
    """Everything that is known about a finished run."""

    status: str = word("how the run ended", lambda run: str(run.status), row=True)
    reason: str = word("why, where the status alone does not tell", lambda run: run.descent.reason)
    p: float | None = number("depth; null for a parametrization without one", lambda run: run.depth, "", page=False,
        row=True)
    model: str = word("the parametrization", lambda run: repr(run.settings.law), optional=True)
    alpha: float | None = number("initialization; null where the start has several numbers", lambda run: run.alpha,
        "[θ]", page=False, row=True)
    start: str = word("the start in words", lambda run: run.start_words, optional=True)
    optimizer: dict[str, Any] = record("its name and options", lambda run: run.optimizer, optional=True)
    seed: int = count("of mini-batches and label noise", lambda run: run.settings.seed, row=True)
    engine: str = word("which engine ran the steps", lambda run: run.settings.engine)
    batch_size: int | None = count("rows of a mini-batch; null: full batch", lambda run: run.settings.batch_size)
    dtype: str = word("precision of the training", lambda run: str(run.settings.dtype).removeprefix("torch."))
    tol: float = number("the residual that was asked for", lambda run: run.settings.stopping.tol, page=False)
    problem: dict[str, Any] = part("the data", ProblemNumbers)
    steps: int = count("SGD steps made", lambda run: run.descent.progress.step, row=True)
    time: float = number("in the units of the flow θ̇ = −∇L(θ)", lambda run: run.descent.progress.time, "[t]",
        symbol="t = Σ η", row=True)
    sign_changes: int = count("how often a parameter changed its sign", lambda run: run.descent.progress.sign_changes,
        optional=True)
    wall_seconds: float = number("duration of the training", lambda run: run.descent.wall_seconds, "s", page=False,
        head="seconds")
    residual: float | None = number("relative residual of the equivalent full-rank pair", lambda run: run.residual,
        symbol="‖Aψ − y‖₂ / ‖y‖₂", console=True, row=True)
    inconsistency: float | None = number("relative distance of y from range(A), what no ψ can fit",
        lambda run: run.inconsistency, optional=True)
    l1_gap: float | None = number("negative where Aψ is not y yet", lambda run: run.l1_gap, "[ψ]",
        symbol="‖ψ‖₁ − min ‖ψ‖₁", row=True)
    distance_to_l1: float | None = number("to the linear programme's vertex", lambda run: run.distance_to("l1"), "[ψ]",
        console=True, row=True)
    distance_to_selected: float | None = number("to W_p, the minimiser that depth p selects",
        lambda run: run.distance_to("selected"), "[ψ]", head="to W_p", console=True, row=True)
    distance_to_truth: float | None = number("to the planted signal", lambda run: run.distance_to("truth"), "[ψ]",
        console=True, row=True)
    distance_to_limit: float | None = number("to the flow's limit ψ_α(∞) for this α",
        lambda run: run.distance_to("limit"), "[ψ]", console=True, row=True)
    distance_to_flow: float | None = number("to the flow at the same time t", lambda run: run.distance_to_flow, "[ψ]",
        row=True)
    budget: dict[str, Any] = part("the parts of the error", ErrorBudget)
    effective: dict[str, Any] = part("what the steps did", EffectiveStart, optional=True)
    update: dict[str, Any] = part("what the optimizer's theory predicts", OptimizerPrediction, optional=True)
    predicted: dict[str, Any] = part("what the theory predicts", Predicted)
    schedule: dict[str, Any] = part("the step sizes", StepSizes)
    references: dict[str, Any] = part("what the run is compared with", ReferenceValues)
    digits: int | None = count("decimal digits of the data that the minimiser depends on",
        lambda run: run.digits["digits"], optional=True)
    digits_of_data: int = count("digits that the data have, by their type or as written in the file",
        lambda run: run.digits["digits_of_data"], optional=True)
    digits_warning: str = word("in words, where the second are fewer", lambda run: run.digits["digits_warning"],
        optional=True)
    advice: str = word("what dominates the error, and what would help", lambda run: run.advice)
    signatures: list[str] = record("known patterns of things that go wrong, in words", lambda run: run.signatures)
    versions: dict[str, str] = record("of the libraries, the code and the processor", lambda run: versions())
    nearest_to_truth: dict[str, Any] = part("where the run was nearest to the planted truth", NearestToTruth,
        has=lambda run: run.has_nearest, optional=True)
    logging_seconds: float | None = number("of the training, for measuring and logging (runs with a folder)",
        lambda run: ABSENT, "s", page=False, optional=True)
    predicted_steps: float | None = number("steps that were predicted before training (runs with a folder)",
        lambda run: ABSENT, "", page=False, optional=True)
    plan: dict[str, Any] = record("with `accuracy=…`: what was asked, predicted and `reached`", lambda run: ABSENT,
        optional=True)
# fmt: on


#: The parts, by their key.
PARTS: dict[str, type] = {key: one.inside for key, one in quantities(Summary) if one.inside is not None}


#: What distinguishes networks comes first.
FIRST = ("p", "alpha", "seed")
#: The three parts of the error.
PARTS_OF_ERROR = tuple(key for key, one in quantities(ErrorBudget) if one.unit)


def build_summary(run: FinishedRun) -> dict[str, Any]:
    """The dictionary of ``summary.json``."""
    return summarized(Summary, run)


def check_summary(summary: Mapping[str, Any]) -> None:
    """Refuse a saved summary that is not as this program, or version 0.1, writes it.

    Raises:
        ValueError: naming the key.
    """
    check_part(Summary, summary)


def _in_networks() -> Iterator[tuple[str, str, str, Quantity]]:
    """What the tables of networks have: the column's name, the part ("" for none) and key that it is, and what is said of it."""
    found = [(key, "", key, one) for key, one in quantities(Summary) if one.row]
    for name, inside in PARTS.items():
        prefix = "" if inside is ErrorBudget else f"{name}_"
        found += [(f"{prefix}{key}", name, key, one) for key, one in quantities(inside) if one.row]
    return iter(sorted(found, key=lambda one: one[0] not in FIRST))


def networks_row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables of networks have of a summary."""
    return {column: (summary[name] if name else summary)[key] for column, name, key, _ in _in_networks()}


def networks_heads() -> dict[str, str]:
    """The heads of these columns."""
    return {column: one.head or column.replace("_", " ") for column, _, _, one in _in_networks()}


def _quantity(key: str) -> Quantity | None:
    """What is said of a key, dotted where it is of a part; None for another."""
    name, _, inner = key.rpartition(".")
    return dict(quantities(PARTS.get(name, Summary))).get(inner)


def head_of(key: str) -> str:
    """The head of a table's column of a key; another key is its own."""
    known = _quantity(key)
    return (known.head if known else "") or key.rpartition(".")[2].replace("_", " ")


def said_of(key: str) -> dict[str, str]:
    """Meaning, symbol and unit of a key, where it has them."""
    known = _quantity(key)
    said = {} if known is None else {"meaning": known.meaning, "symbol": known.symbol, "unit": known.unit}
    return {name: text for name, text in said.items() if text}
