"""q_p, g_p and h_p: what the limit minimises, what the selected minimiser minimises, and how ψ depends on the dual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlntorch.model.depth_law import depth_law
from dlntorch.model.potentials import H, g, h, h_inverse, q
from dlntorch.numerics.validation import check_count, check_number
from dlntorch.studies.base import Claim, Point, Row, Settings, Study, at_most, column, numbers, select

__all__ = ["STUDY"]

ABOUT = (
    "The flow's limit minimises Σ q_p(ψ_i/α^p) among the interpolating ψ. Close to zero q_p is a parabola, far out it is "
    "|x| minus a lower power: for small α only ‖ψ‖₁ matters, and the lower power decides among its minimisers. That "
    "remainder is the selector g_p, |x| − (p/2)|x|^{2/p}, or |x| log(|x|/e), the negative entropy, for p = 2.",
    "h_p is the derivative of q_p read backwards: ψ = α^p h_p(τ), where τ is in the range of Aᵀ. For p > 2 it has poles at "
    "±1, which are the dual constraints of basis pursuit; for p = 2 it is 2 sinh.",
)
FAR = 1e8  # where q_p' is compared with g_p'


def points(settings: Settings) -> list[Point]:
    depths = numbers(settings, "depths", lambda name, value: check_number(name, value, at_least=2))
    largest = check_number("study.largest", settings["largest"], above=0, at_most=1e6)
    count = check_count("study.count", settings["count"], at_least=5, at_most=100_000)
    return [{"p": p, "largest": largest, "count": count} for p in depths]


def compute(point: Point) -> list[Row]:
    """The three functions on a grid, and how well they fit together."""
    p, largest = point["p"], point["largest"]
    x = np.linspace(-largest, largest, point["count"])
    tau = h_inverse(x, p).numpy()
    rows: list[Row] = [
        {"curve": name, "x": float(at), "value": float(value)}
        for name, grid, values in (("q", x, q(x, p)), ("g", x, g(x, p)), ("h", tau, h(tau, p)))
        for at, value in zip(grid, values.numpy(), strict=True)
    ]
    return [*rows, {"curve": "check", **_checks(p, x, tau)}]


def _checks(p: float, x: np.ndarray, tau: np.ndarray) -> Row:
    """Each identity by finite differences, which share no formula with the functions they test."""
    step = 1e-4
    slope = (q(x - 2 * step, p) - 8 * q(x - step, p) + 8 * q(x + step, p) - q(x + 2 * step, p)).numpy() / (12 * step)
    inner = 0.5 * tau
    slope_H = (
        H(inner - 2 * step, p) - 8 * H(inner - step, p) + 8 * H(inner + step, p) - H(inner + 2 * step, p)
    ).numpy()
    exact = h(inner, p).numpy()
    far = float(h_inverse(FAR, p))
    selector = float(depth_law(p).selector_slope(FAR))
    return {
        "q_slope_error": float(np.max(np.abs(slope - tau))),
        "h_integral_error": float(np.max(np.abs(slope_H / (12 * step) - exact) / (1 + np.abs(exact)))),
        "far_difference": abs(far - selector),
    }


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    found: list[Claim] = []
    for row in select(rows, curve="check"):
        found.append(at_most(f"q_p′ = h_p⁻¹, p = {row['p']:g}: largest error", row["q_slope_error"], 1e-9))
        found.append(at_most(f"h_p = H_p′, p = {row['p']:g}: largest error", row["h_integral_error"], 1e-9))
        found.append(at_most(f"q_p′ − g_p′ → 0, p = {row['p']:g}: at x = {FAR:.0e}", row["far_difference"], 1e-7))
    convex = [
        float(np.min(np.diff(column(select(rows, curve="q", p=p), "value"), 2))) for p in {row["p"] for row in rows}
    ]
    found.append(at_most("q_p is convex: −(smallest second difference)", -min(convex), 0.0))
    return found


STUDY = Study(
    summary="the functions qₚ, gₚ and hₚ behind the theory",
    about=ABOUT,
    points=points,
    compute=compute,
    claims=claims,
)
