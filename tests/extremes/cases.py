"""Every public function over the range of its arguments: a right answer, an honest status, or a refusal in one line.

``python -m tests.extremes`` writes the table ``tests/extremes/promises.md``; the suite checks that nothing is wrong and
that no fewer answers are right than the table in the repository promises.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
import numpy as np
import torch

import dlntorch as dln
from dlntorch.numerics.trajectory import Status
from dlntorch.numerics.validation import InputError
from dlntorch.problem import make_problem
from tests.extremes.oracle import limit

__all__ = ["ROWS", "Row", "run"]

DEPTHS = (2.0, 2 + 1e-9, 2.1, 2.5, 3.0, 5.0, 12.0, 50.0)
ALPHAS = (1e-300, 1e-100, 1e-30, 1e-10, 1e-3, 1e-1, 1.0, 1e3)
SCALES = (1e-150, 1e-30, 1.0, 1e30, 1e150)
HEIGHTS = (1e-300, 1e-150, 1e-12, 1.0, 1e12, 1e150)
#: 1×2 matrices by name, and the minimiser that every depth selects, for y = 1.
COLUMNS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "two columns": ((1.0, 0.5), (1.0, 0.0)),
    "n = 1": ((2.0,), (0.5,)),
    "equal columns": ((1.0, 1.0), (0.5, 0.5)),
    "opposite columns": ((1.0, -1.0), (0.5, -0.5)),
    "a column of zeros": ((1.0, 0.0), (1.0, 0.0)),
    "columns 1e-9 apart": ((1.0, 1 - 1e-9), (1.0, 0.0)),
}


@dataclass
class Row:
    """One line of the table: what a function did over a family of inputs.

    Attributes:
        wrong: What was neither right, nor had a status, nor was refused.
    """

    function: str
    family: str
    tolerance: float
    right: int = 0
    status: int = 0
    refused: int = 0
    worst: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def note(self, label: str, call: Callable[[], tuple[Any, ...]]) -> None:
        """Try one input: ``call`` gives (found, status, expected), and what the answer says its own error may be."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found, status, expected, *said = call()
        except InputError as error:
            if "\n" in str(error):
                self.wrong.append(f"{label}: a message of several lines")
            self.refused += 1
            return
        except Exception as error:
            self.wrong.append(f"{label}: {type(error).__name__}: {error}")
            return
        found = np.atleast_1d(np.asarray(found, dtype=np.float64))
        if np.isnan(found).any():
            self.wrong.append(f"{label}: NaN with status {status}")
        elif status != "converged":
            self.status += 1
        else:
            error = _error(found, np.atleast_1d(np.asarray(expected, dtype=np.float64)))
            if error <= max([self.tolerance, *said]):
                self.right += 1
                self.worst = max(self.worst, error)
            else:
                self.wrong.append(f"{label}: {found} instead of {expected}, with status {status}")


def _quiet_problem(A: Any, y: Any) -> dln.Problem:
    """Without the warning that m >= n is not over-parameterised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dln.Problem(A, y)


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference relative to the largest entry expected."""
    size = float(np.max(np.abs(expected)))
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.max(np.abs(found - expected))) / size if size > 0 else float(np.max(np.abs(found)))


def _problems() -> Iterator[tuple[str, dln.Problem, float, np.ndarray]]:
    """Problems by name, with the factor of y and the minimiser."""
    for name, (columns, minimiser) in COLUMNS.items():
        for scale in SCALES:
            for height in HEIGHTS:
                value = scale * height
                if not 1e-300 <= value <= 1e300:
                    continue
                problem = _quiet_problem([[scale * c for c in columns]], [value])
                yield f"{name}, A·{scale:g}, y = {value:g}", problem, height, height * np.array(minimiser)


def l1_minimizer() -> Row:
    """The vertex; of equal columns either one is."""

    def call(problem: dln.Problem) -> tuple[Any, Any]:
        found = dln.l1_minimizer(problem)
        psi = found.psi.numpy()
        A = problem.A.numpy()[0]
        if found.unique is False:  # any vertex will do: show the middle of the face where the value is right
            value = abs(float(problem.y[0]) / np.max(np.abs(A)))
            if math.isclose(found.value, value, rel_tol=1e-12) and np.count_nonzero(psi) == 1:
                psi = np.where(
                    np.abs(A) == np.max(np.abs(A)), np.sign(A) * value / np.sum(np.abs(A) == np.max(np.abs(A))), 0.0
                )
        return psi, found.status

    row = Row(
        "l1_minimizer", "entries of A 1e-150 … 1e150, y 1e-300 … 1e300; equal, opposite, zero columns; n = 1", 1e-12
    )
    for label, problem, _, expected in _problems():
        row.note(label, lambda problem=problem, expected=expected: (*call(problem), expected))
    return row


def basis_pursuit() -> Row:
    """The same problems; ‖x‖₁ is compared, as vertices differ."""
    row = Row("basis_pursuit", "the same; the value ‖x‖₁ and the residual", 1e-12)
    for label, problem, _, expected in _problems():

        def call(problem: dln.Problem = problem, expected: np.ndarray = expected) -> tuple[Any, Any, Any]:
            found = dln.basis_pursuit(problem.A, problem.y)
            return [float(found.value), float(found.primal_residual)], found.status, [np.abs(expected).sum(), 0.0]

        row.note(label, call)
    return row


def selected_minimizer() -> Row:
    def call(problem: dln.Problem) -> tuple[Any, Any]:
        found = [dln.selected_minimizer(problem, p) for p in DEPTHS]
        bad = [one.status for one in found if one.status != "converged"]
        return np.concatenate([one.psi.numpy() for one in found]), (bad or ["converged"])[0]

    row = Row("selected_minimizer", "the same, p = 2 … 50", 1e-12)
    for label, problem, _, expected in _problems():
        row.note(label, lambda problem=problem, expected=expected: (*call(problem), np.tile(expected, len(DEPTHS))))
    return row


def flow_limit_over_alpha() -> Row:
    row = Row("flow_limit", "α = 1e-300 … 1e3, p = 2 … 50, equal, opposite, zero, nearly equal columns; n = 1", 1e-11)
    for name, (columns, _) in COLUMNS.items():
        problem = _quiet_problem([columns], [1.0])
        for p in DEPTHS:
            for alpha in ALPHAS:
                label = f"{name}, p = {p!r}, alpha = {alpha:g}"

                def call(problem: dln.Problem = problem, p: float = p, alpha: float = alpha) -> tuple[Any, Any, Any]:
                    found = dln.flow_limit(problem, p, alpha)
                    exact = limit(problem.A[0].tolist(), 1.0, p, alpha)
                    return found.psi.numpy(), found.status, [float(x) for x in exact], 10 * float(found.uncertainty)

                row.note(label, call)
    return row


def flow_limit_over_scales() -> Row:
    row = Row("flow_limit", "entries of A 1e-150 … 1e150, y 1e-300 … 1e300 at p = 3, α = 0.01", 1e-11)
    for label, problem, height, _ in _problems():

        def call(problem: dln.Problem = problem, height: float = height) -> tuple[Any, Any, Any]:
            found = dln.flow_limit(problem, 3, 0.01)
            size = float(problem.A.abs().max())
            exact = limit((problem.A[0] / size).tolist(), float(problem.y[0]) / size, 3, 0.01)
            return found.psi.numpy(), found.status, [float(x) for x in exact], 10 * float(found.uncertainty)

        row.note(label, call)
    return row


def predict_rate() -> Row:
    """The constant against (ψ_α(∞) − W)/α^p in hundreds of digits, at an α far below where the asymptote begins."""
    row = Row("predict_rate", "the constant for p = 2.1 … 50; y = 1; equal, opposite, zero columns; n = 1", 1e-6)
    for name, (columns, minimiser) in COLUMNS.items():
        problem = _quiet_problem([columns], [1.0])
        exact_minimiser = [mp.mpf(x) for x in minimiser]
        for p in (2.1, 2.5, 3.0, 5.0, 12.0, 50.0):

            def call(
                problem: dln.Problem = problem, p: float = p, w: list[mp.mpf] = exact_minimiser
            ) -> tuple[Any, ...]:
                found = dln.predict_rate(problem, p)
                small = 10.0 ** -min(278, 8 + 27 / (p - 2))
                alpha = (
                    small if found.alpha_asymptotic in (None, math.inf) else min(small, found.alpha_asymptotic * 1e-7)
                )
                if not alpha > 1e-280:
                    return 0.0, "no asymptote in float64", 0.0
                digits = 60 + int(-p * math.log10(alpha))
                exact = limit(problem.A[0].tolist(), 1.0, p, alpha, digits)
                with mp.workdps(digits):
                    error = [(e - x) / mp.mpf(alpha) ** mp.mpf(p) for e, x in zip(exact, w, strict=True)]
                    expected = float(mp.sqrt(sum(e * e for e in error)))
                status = found.status if found.constant is not None else "no constant"
                return [found.constant or 0.0, 1.0], status, [expected, 1.0]  # 0 is to be 0 beside 1

            row.note(f"{name}, p = {p}", call)
    return row


def integrate_flow() -> Row:
    """At the end of the flow: its limit in 60 digits."""
    row = Row("integrate_flow", "to t = ∞, α = 1e-100 … 1, p = 2 … 12, y = 1", 1e-8)
    problem = dln.Problem([[1.0, 0.5]], [1.0])
    for p in (2.0, 2.1, 2.5, 3.0, 5.0, 12.0):
        for alpha in (1e-100, 1e-30, 1e-10, 1e-3, 1e-1, 1.0):
            horizon = (
                1e3 * max(alpha ** (2 - p), 1.0) * max(1.0, -math.log(alpha)) if p * -math.log10(alpha) < 300 else 1e300
            )

            def call(p: float = p, alpha: float = alpha, horizon: float = horizon) -> tuple[Any, Any, Any]:
                path = dln.integrate_flow(problem, p, alpha, [horizon], max_evaluations=20_000)
                exact = [float(x) for x in limit((1.0, 0.5), 1.0, p, alpha)]
                whole = len(path.t) == 1
                return path.psi[-1].numpy() if whole else [0.0], "converged" if whole else path.status, exact

            row.note(f"p = {p}, alpha = {alpha:g}", call)
    return row


def train() -> Row:
    """ψ after 50 steps of constant size against the same recursion in 50 digits."""
    row = Row("train", "50 steps, α = 1e-100 … 1, p = 2 … 12; entries of A 1e-30 … 1e30", 1e-10)
    for p in (2.0, 2.5, 3.0, 5.0, 12.0):
        for alpha in (1e-100, 1e-10, 1e-3, 1e-1, 1.0):
            for scale in (1e-30, 1.0, 1e30):

                def call(p: float = p, alpha: float = alpha, scale: float = scale) -> tuple[Any, Any, Any]:
                    problem = dln.Problem([[scale, scale / 2]], [scale])
                    eta = 1e-2 / scale**2 / p**2
                    run = dln.train(problem, p, alpha, "constant", eta=eta, max_steps=50, tol=0, references=False)
                    with mp.workdps(50):
                        c = [mp.mpf(scale), mp.mpf(scale / 2)]
                        theta = [[mp.mpf(alpha)] * 2, [mp.mpf(alpha)] * 2]
                        for _ in range(50):
                            psi = [u ** mp.mpf(p) - v ** mp.mpf(p) for u, v in zip(*theta, strict=True)]
                            r = sum(a * b for a, b in zip(c, psi, strict=True)) - mp.mpf(scale)
                            theta = [
                                [
                                    u - mp.mpf(eta) * p * u ** (mp.mpf(p) - 1) * a * r
                                    for u, a in zip(theta[0], c, strict=True)
                                ],
                                [
                                    v + mp.mpf(eta) * p * v ** (mp.mpf(p) - 1) * a * r
                                    for v, a in zip(theta[1], c, strict=True)
                                ],
                            ]
                        expected = [float(x) for side in theta for x in side]
                    status = "converged" if run.status in (Status.CONVERGED, Status.MAX_STEPS) else run.status
                    return torch.cat([run.theta_plus, run.theta_minus]).numpy(), status, expected

                row.note(f"p = {p}, alpha = {alpha:g}, A·{scale:g}", call)
    return row


def train_over_scales() -> Row:
    """Data whose squares are no floats are refused; the others are fitted."""
    row = Row("train", "entries of A 1e-300 … 1e300, y 1e-300 … 1e300: fitted to ‖Aψ − y‖ <= 1e-10 ‖y‖", 1e-10)
    for scale in (1e-300, 1e-160, 1e-130, 1.0, 1e130, 1e160, 1e300):
        for height in (1e-300, 1e-160, 1e-130, 1e-6, 1.0, 1e6, 1e130, 1e160, 1e300):
            if abs(math.log10(height) - math.log10(scale)) > 299:  # the answer is no float
                continue

            def call(scale: float = scale, height: float = height) -> tuple[Any, ...]:
                psi = height / scale
                problem = dln.Problem([[scale, scale / 2]], [height])
                run = dln.train(problem, 3, 0.1 * psi ** (1 / 3), max_steps=20_000, references=False)
                psi_1, psi_2 = (float(x) / psi for x in run.psi)
                return [psi_1 + psi_2 / 2, float(run.summary["residual"]) + 1], run.status, [1.0, 1.0]

            row.note(f"A·{scale:g}, y = {height:g}", call)
    return row


def nothing_to_fit() -> Row:
    """y = 0: everything is 0, and no step is needed."""
    row = Row("all of them", "y = 0", 0.0)
    problem = _quiet_problem([[1.0, 0.5], [0.0, 1.0]], [0.0, 0.0])
    zeros = np.zeros(2)
    for p in DEPTHS:
        for function in (dln.flow_limit, dln.train):
            call = lambda function=function, p=p: function(problem, p, 0.1)  # noqa: E731
            row.note(f"{function.__name__}, {p}", lambda call=call: ((r := call()).psi.numpy(), r.status, zeros))
        selected = lambda p=p: dln.selected_minimizer(problem, p)  # noqa: E731
        row.note(f"selected, {p}", lambda call=selected: ((r := call()).psi.numpy(), r.status, zeros))

        def flow(p: float = p) -> tuple[Any, ...]:
            path = dln.integrate_flow(problem, p, 0.1, [1.0])
            return path.psi[-1].numpy(), "converged" if path.status == "max_time" else path.status, zeros

        row.note(f"flow, {p}", flow)
    row.note("l1", lambda: ((r := dln.l1_minimizer(problem)).psi.numpy(), r.status, zeros))
    row.note("bp", lambda: ((r := dln.basis_pursuit(problem.A, problem.y)).x.numpy(), r.status, zeros))
    return row


def a_million_columns() -> Row:
    """n = 1e6 without a matrix: a few steps of the loss go down and nothing is NaN."""
    row = Row("train", "n = 1e6, an operator", 1.0)

    def call() -> tuple[Any, Any, Any]:
        problem = make_problem(name="partial_cosine", m=100, n=1_000_000, seed=0)
        run = dln.train(problem, 3, 0.1, max_steps=20, tol=0)
        fell = float(run.trajectory.loss[-1]) < float(run.trajectory.loss[0])
        return 0.0 if fell and bool(torch.isfinite(run.psi).all()) else 2.0, "converged", 1.0

    row.note("partial cosine", call)
    return row


ROWS: tuple[Callable[[], Row], ...] = (
    l1_minimizer, basis_pursuit, selected_minimizer, flow_limit_over_alpha, flow_limit_over_scales, predict_rate,
    integrate_flow, train, train_over_scales, nothing_to_fit, a_million_columns,
)  # fmt: skip


def run() -> list[Row]:
    """All rows."""
    return [row() for row in ROWS]
