"""ψ_α(∞) − W_p, the part of a run's error that α is to blame for, where float64 can tell it.

Both vectors are computed, and their difference is noise once it is below their rounding; on a face of ℓ1-minimisers that
comes early, since the limit's own uncertainty grows like eps/α^{p−2} there. Below it the expansion about W_p gives the
difference itself, α^p(C + α^{p−2}C′) (:func:`~dlntorch.reference.rate.predict_rate`), without cancellation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlntorch.model import Initialization, Parametrization
from dlntorch.problem.problem import norm
from dlntorch.run.references import References

__all__ = ["initialization_difference"]

_RESOLVED = 10.0  # times its noise, from which the difference of the two vectors is taken
_ROUNDING = 4e-15  # of W_p, relative
_NEXT_TERM = 0.3  # relative size of the expansion's second term up to which it holds to about the square of that


def initialization_difference(
    references: References, law: Parametrization, alpha: float | Initialization
) -> tuple[Tensor | None, str]:
    """ψ_α(∞) − W_p, shape (n,), or None with the reason why it is not known."""
    limit, selected = references.limit, references.selected
    if limit is None or selected is None:
        return None, references.reasons.get("limit" if limit is None else "selected", "")
    psi, W = (vector.detach().to("cpu", torch.float64) for vector in (limit.psi, selected.psi))
    difference = psi - W
    p = law.depth
    if p is None or not isinstance(alpha, float):  # of other networks and starts there is no expansion
        return difference, ""
    size = torch.maximum(psi.abs(), torch.minimum(torch.tensor(2 * alpha**p).double(), psi.abs().max()))
    noise = float(limit.uncertainty) * float(norm(size)) + _ROUNDING * float(norm(W))
    if float(norm(difference)) > _RESOLVED * noise:
        return difference, ""
    expanded = _expansion(references, p, alpha)
    if expanded is not None:
        return expanded, ""
    return None, (
        f"||psi_alpha(inf) - W_p|| is below {_RESOLVED * noise:.1e}, which float64 does not resolve, "
        "and no expansion about W_p holds at this alpha"
    )


def _expansion(references: References, p: float, alpha: float) -> Tensor | None:
    """α^p(C + α^{p−2}C′), where its terms fall fast enough."""
    rate = references.rate
    if rate is None or rate.constant_vector is None or rate.exponent is None:
        return None
    vector, correction = (
        None if term is None else term.detach().to("cpu", torch.float64)
        for term in (rate.constant_vector, rate.correction_vector)
    )
    if vector is None or not bool(vector.any()):
        return None
    if correction is not None:
        correction = alpha ** (p - 2) * correction
        if float(norm(correction)) > _NEXT_TERM * float(norm(vector)):
            return None
        vector = vector + correction
    elif rate.alpha_asymptotic is None or alpha > rate.alpha_asymptotic:
        return None
    return vector * alpha**rate.exponent
