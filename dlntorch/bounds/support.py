"""Whether the support that a run found is the ℓ1-minimiser's, by the dual vector that the run itself has accumulated.

At an end θ± with effective weights w± the vector cAᵀs, in [−w₋, w₊], is a dual certificate of the weighted norm; it
comes within (α/θ)^{p−2} of its bounds where ψ is large. Divided by the weights' mean on a candidate S, and moved by
least squares onto A_Sᵀλ = σ, it becomes one of the plain norm. If then |A_iᵀλ| < 1 off S, A_S has independent columns,
and A_Sx = y has a solution with the signs σ, that solution is the only ℓ1-minimiser: whatever suggested S and λ, this
is a proof, up to rounding.

Where |S| = rank(A) there is no other λ: a violation then proves that S with σ is not the support of a minimiser that λ
< 1 off S could certify, and that another vector has an ℓ1 norm at most as small.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.bounds.effective import Effective, effective_initialization
from dlntorch.bounds.row_complement import RowComplement
from dlntorch.numerics.threads import with_few_threads
from dlntorch.numerics.trajectory import short_repr
from dlntorch.numerics.validation import InputError, check_depth
from dlntorch.problem import Problem

__all__ = ["SupportCertificate", "support_certified", "weighted_minimizer"]

_EPS = float(np.finfo(np.float64).eps)
#: ‖A_S x − y‖/‖y‖, rows of one size, up to which S is said to interpolate.
_INTERPOLATES = 1e-10
#: Coordinates of the interpolating vector on S below this part of its largest are not needed, and leave S.
_NEEDED = 1e-9


@dataclass(frozen=True)
class SupportCertificate:
    """What the run's own dual vector proves of its support.

    Attributes:
        certified: True: the support is that of the only ℓ1-minimiser. False: it is not (where |S| = rank(A), so that there is
            no other dual vector). None: not decided, with ``reason``.
        violation: max_{i∉S}|A_iᵀλ| − 1: by how much the certificate fails; negative where it holds. None where no S was tested.
        support: S, indices in increasing order, or None.
        reason: Why ``certified`` is not True, else empty.
    """

    certified: bool | None
    violation: float | None
    support: Tensor | None
    reason: str = ""

    __repr__ = short_repr


@with_few_threads
def support_certified(
    problem: Problem,
    p: float,
    theta_plus: Any,
    theta_minus: Any,
    alpha: Any = None,
    *,
    effective: Effective | None = None,
) -> SupportCertificate:
    """Whether the large coordinates of ψ = θ₊^p − θ₋^p are the support of the unique ℓ1-minimiser, without any solver.

    Args:
        problem: (A, y), dense.
        p: Depth, >= 2.
        theta_plus: θ₊ at the end, shape (n,).
        theta_minus: θ₋ at the end, shape (n,).
        alpha: Where the run started; None as in :func:`effective_initialization`.
        effective: What that function says of this end, where it is known.

    Raises:
        InputError: as :func:`effective_initialization`.
    """
    p = check_depth(p)
    end = effective_initialization(problem, p, theta_plus, theta_minus, alpha) if effective is None else effective
    if end.initialization is None:
        raise InputError(f"effective must have an initialization, got none: {end.reason}")
    sides = [np.abs(np.asarray(side, dtype=np.float64)) for side in (theta_plus, theta_minus)]
    starts = [side.numpy() for side in end.initialization.expanded(problem.n)]
    if not np.any(problem.y.cpu().numpy()):
        return SupportCertificate(None, None, None, "y = 0: nothing is selected")
    exact = problem.to("cpu", "float64")
    basis = RowComplement(exact).basis
    tau, psi = _dual(p, sides, starts), _value(p, sides)
    best = SupportCertificate(None, None, None, "no support among the large coordinates interpolates y")
    for support in _candidates(p, psi, sides, starts, basis.shape[1]):
        found = _test(exact, basis, support, psi, tau)
        if found.certified:
            return found
        if found.violation is not None and (best.violation is None or found.violation < best.violation):
            best = found
    return best


def weighted_minimizer(
    problem: Problem, p: float, sides: Tensor, end: Effective, guess: Tensor | None = None
) -> Tensor | None:
    """The minimiser of Σ w₊ψ⁺ + w₋ψ⁻, w± = α±_eff^{2−p}, shape (n,), where the run's own dual vector proves it; else None.

    A vertex with a dual vector strictly within its bounds off the vertex's support is the only minimiser.

    Args:
        problem: (A, y), dense, in float64 on the CPU.
        p: Depth, > 2.
        sides: |θ₊| and |θ₋| at the end, shape (2, n).
        end: Their effective initialization.
        guess: A support to try beside those that the run suggests, indices: the ℓ1-minimiser's.
    """
    if end.initialization is None:
        return None
    ends, starts = list(sides.numpy()), [side.numpy() for side in end.initialization.expanded(problem.n)]
    basis, (columns, y) = RowComplement(problem).basis, _equal_rows(problem)
    unit = float(min(start.min() for start in starts))
    high, low = ((start / unit) ** (2 - p) for start in starts)
    tau, psi = _dual(p, ends, starts), _value(p, ends)
    candidates = _candidates(p, psi, ends, starts, basis.shape[1])
    if guess is not None and 0 < guess.numel() <= basis.shape[1]:
        candidates.insert(0, guess.cpu().numpy())
    for candidate in candidates:
        support, x = _interpolating(columns, y, candidate)
        positive, on = psi[support] > 0, basis[support]
        if np.any(positive != (x > 0)) or np.linalg.norm(columns[:, support] @ x - y) > _INTERPOLATES * np.linalg.norm(
            y
        ):
            continue
        left, size, right = np.linalg.svd(on, full_matrices=False)
        if size.size and size[-1] <= 1e-12 * size[0]:
            continue
        condition = float(size[0] / size[-1]) if size.size else 1.0  # of y = 0 the support is empty
        dual = basis.T @ tau
        dual = dual + right.T @ ((left.T @ (np.where(x > 0, high[support], -low[support]) - on @ dual)) / size)
        off, noise = np.setdiff1d(np.arange(psi.size), support), 100 * psi.size * _EPS * condition
        at = basis[off] @ dual
        if np.all(at <= high[off] * (1 - noise)) and np.all(-at <= low[off] * (1 - noise)):
            found = np.zeros(psi.size)
            found[support] = x
            return torch.from_numpy(found)
    return None


def _interpolating(columns: np.ndarray, y: np.ndarray, support: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares x on S, and S itself, less what is 0 there."""
    x = np.linalg.lstsq(columns[:, support], y, rcond=None)[0]
    needed = np.abs(x) > _NEEDED * np.abs(x).max()
    return support[needed], x[needed]


def _dual(p: float, sides: list[np.ndarray], starts: list[np.ndarray]) -> np.ndarray:
    """cAᵀs in a unit of its own: s as the effective start has it."""
    if p == 2:
        logs = [np.log(side) - np.log(start) for side, start in zip(sides, starts, strict=True)]
        return logs[0] - logs[1]
    unit = float(min(start.min() for start in starts))
    u, v = ((side / unit) ** (2 - p) for side in sides)
    u0, v0 = ((start / unit) ** (2 - p) for start in starts)
    return 0.5 * ((v - u) - (v0 - u0))


def _value(p: float, sides: list[np.ndarray]) -> np.ndarray:
    """ψ up to a factor, which may be out of float64 otherwise."""
    top = max(float(side.max()) for side in sides)
    return (sides[0] / top) ** p - (sides[1] / top) ** p


def _candidates(
    p: float, psi: np.ndarray, sides: list[np.ndarray], starts: list[np.ndarray], rank: int
) -> list[np.ndarray]:
    """Sets of the largest coordinates: those at their dual bound, those above the geometric middle, above the widest gap, r."""
    size = np.abs(psi)
    order = np.argsort(-size, kind="stable")
    larger = np.maximum(*sides)
    begin = np.sqrt(starts[0]) * np.sqrt(starts[1])
    top = float(larger.max())
    slack = np.log(larger / top) / np.log(np.minimum(begin / top, 0.5)) if p == 2 else (begin / larger) ** (p - 2)
    with np.errstate(divide="ignore"):
        logs = np.log(size[order[: rank + 1]])
        middle = np.sqrt((begin / top) ** p)
    counts = [int(np.count_nonzero(size > slack)), int(np.count_nonzero(size > middle)), rank]
    positive = logs[np.isfinite(logs)]
    if positive.size > 1:
        counts.append(int(np.argmin(np.diff(positive))) + 1)
    return [np.sort(order[:count]) for count in sorted(set(counts)) if 0 < count <= rank]


def _test(
    problem: Problem, basis: np.ndarray, support: np.ndarray, psi: np.ndarray, tau: np.ndarray
) -> SupportCertificate:
    """The three conditions for what of one S interpolates y."""
    columns, y = _equal_rows(problem)
    support, x = _interpolating(columns, y, support)
    tensor, on = torch.from_numpy(support), basis[support]
    left, size, right = np.linalg.svd(on, full_matrices=False)
    if size[-1] <= 1e-12 * size[0]:
        return SupportCertificate(None, None, tensor, "the support's columns are dependent to rounding")
    sign = np.sign(psi[support])
    if np.linalg.norm(columns[:, support] @ x - y) > _INTERPOLATES * np.linalg.norm(y) or np.any(np.sign(x) != sign):
        return SupportCertificate(
            None, None, tensor, "the large coordinates alone do not interpolate y with their signs"
        )
    mean = float(np.mean(sign * tau[support]))
    if not mean > 0:
        return SupportCertificate(None, None, tensor, "the dual vector has not the signs of psi")
    dual = basis.T @ (tau / mean)
    dual = dual + right.T @ ((left.T @ (sign - on @ dual)) / size)
    off = np.setdiff1d(np.arange(psi.size), support)
    ahead = off.size > 0 and np.abs(psi[off]).max() >= np.abs(psi[support]).min()
    violation = float(np.abs(basis[off] @ dual).max() - 1) if off.size else -1.0
    noise = 100 * psi.size * _EPS * float(size[0] / size[-1])
    if violation < -noise and ahead:
        why = (
            "this is the minimiser's support, but psi is larger elsewhere: the initialization or the time is not small"
        )
        return SupportCertificate(None, violation, tensor, why)
    if violation < -noise:
        return SupportCertificate(True, violation, tensor)
    why = f"the run's dual vector exceeds 1 off the support by {violation:.3g}"
    if support.size == basis.shape[1] and violation > noise:
        return SupportCertificate(False, violation, tensor, f"{why}, and there is no other")
    return SupportCertificate(None, violation, tensor, f"{why}; another dual vector may not")


def _equal_rows(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """The full-rank pair, each row divided by its norm."""
    full = problem.reduced()
    A, y = full.A.numpy(), full.y.numpy()
    with np.errstate(over="ignore", under="ignore"):
        top = np.abs(A).max(axis=1)
        norms = top * np.linalg.norm(A / top[:, None], axis=1)
        return A / norms[:, None], y / norms
