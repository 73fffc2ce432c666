"""Fojtik et al., conflicting biases at the edge of stability: norm versus sharpness (arXiv 2505.21423)."""

from __future__ import annotations

from collections.abc import Sequence

from dlntorch.bounds.critical_step import critical_step_size
from dlntorch.limit.flow_limit import flow_limit
from dlntorch.numerics.validation import check_number
from dlntorch.reference.l1_minimizer import l1_minimizer
from dlntorch.run import train
from dlntorch.studies.base import Claim, Point, Row, Settings, at_most, holds, numbers, select, values_of
from dlntorch.studies.papers.planted import block, descents, largest, median, planted, seeds_of

__all__ = ["ABOUT", "claims", "compute", "points"]

KEY = "fojtik2025"
ABOUT = (
    "Fojtik et al. 2025: the ℓ₁ norm that gradient descent ends with is that of the flow up to the critical step "
    "2/max_t λ_max(∇²L), and rises beyond it. Only the claim is known of the original: data, depth, start and loss here are "
    "from the settings."
)


def points(settings: Settings) -> list[Point]:
    mine = block(settings, KEY)
    shared = descents(mine, KEY)
    shares = numbers(mine, "shares", lambda name, value: check_number(name, value, above=0, at_most=3))
    return [{**shared, "seed": seed, "share": share} for seed in seeds_of(mine, KEY) for share in shares]


def compute(point: Point) -> list[Row]:
    problem, alpha = planted(point["m"], point["n"], point["nonzeros"], point["seed"]), point["alpha"]
    critical = critical_step_size(problem, 2, alpha).eta
    if critical is None:
        return [{"status": "no critical step"}]
    value = float(l1_minimizer(problem).value)
    flow = float(flow_limit(problem, 2, alpha).psi.abs().sum()) / value
    run = train(
        problem,
        2,
        alpha,
        "constant",
        eta=point["share"] * critical,
        tol=1e-6,
        max_steps=point["max_steps"],
        references=False,
    )
    ended = str(run.status) == "converged"  # an orbit that does not settle has no end
    l1 = float(run.psi.abs().sum()) / value if ended else None
    return [
        {
            "status": str(run.status),
            "critical": critical,
            "l1_flow": flow,
            "l1": l1,
            "off": None if l1 is None else l1 - flow,
        }
    ]


def claims(rows: Sequence[Row], settings: Settings) -> list[Claim]:
    below = [row for row in rows if row["share"] <= 0.9]
    beyond = [row for row in rows if row["share"] >= 1.1]
    scale = median(rows, "l1_flow")
    text = "Fojtik 2025: |‖ψ‖₁ − that of the flow| below 0.9 of the critical step, largest, over the least norm (bounds ours)"
    sized = [{"size": abs(row["off"])} for row in below if row.get("off") is not None]
    found = [at_most(text, largest(sized, "size"), 0.01)]
    shares = [
        share for share in sorted(values_of(beyond, "share")) if median(select(beyond, share=share), "l1") is not None
    ]
    offs = [median(select(beyond, share=share), "off") or 0.0 for share in shares]
    least = median(below, "off")
    good = None if not offs or least is None or scale is None else bool(offs[-1] > 0.01 and offs[-1] > least)
    words = ", ".join(f"{off:+.3g} at {share:g}" for share, off in zip(shares, offs, strict=True)) or "no run converged"
    text = "Fojtik 2025: beyond the critical step the ℓ₁ norm rises above the flow's"
    found.append(holds(text, "rises", words, good, "by 0.01 (bound ours)"))
    done = sum(row["status"] == "converged" for row in beyond)
    text = "Fojtik 2025: runs beyond the critical step that still converge"
    found.append(holds(text, "some", f"{done} of {len(beyond)}", done > 0 if beyond else None, "at least one (ours)"))
    return found
