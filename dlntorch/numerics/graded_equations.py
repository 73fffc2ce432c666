"""The linear equations of the central path for a batch of problems, on any device.

With D and W diagonal and spread over hundreds of decades,

    dt = −e + W Aᵀλ,   (A D W Aᵀ) λ = r + A D e,

by a batched Cholesky factorization where the condition number allows it, and elsewhere by a Householder QR of
(DW)^{1/2}Aᵀ with rows sorted by size and columns pivoted, which is accurate row by row (Cox and Higham, 1998).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["solve"]

_CHOLESKY_SPREAD = 1e-5  # smallest over largest diagonal entry of the factor: a condition number up to about 1e10


def solve(transposed: Tensor, root: Tensor, share: Tensor, r: Tensor, e: Tensor) -> Tensor:
    """dt of every problem.

    Args:
        transposed: Aᵀ, (B, n, m), of full column rank.
        root: The diagonal of D^{1/2}, (B, n).
        share: The diagonal of W^{1/2}, (n,) or (B, n); ones for a scalar α.
        r: Right-hand side, (B, m).
        e: Dual infeasibility to be removed, (B, n).
    """
    weight = root * share
    S = transposed * weight[..., None]
    factor, info = torch.linalg.cholesky_ex(S.mT @ S)
    diagonal = factor.diagonal(dim1=-2, dim2=-1)
    sound = (info == 0) & (diagonal.amin(-1) > _CHOLESKY_SPREAD * diagonal.amax(-1))
    rhs = r + (S.mT @ (root * e / share)[..., None])[..., 0]
    lam = torch.cholesky_solve(rhs[..., None], torch.where(sound[:, None, None], factor, _identity(factor)))
    dt = share**2 * (transposed @ lam)[..., 0] - e
    graded = torch.nonzero(~sound)[:, 0]
    if graded.numel():
        dt[graded] = _by_qr(
            transposed[graded], root[graded], share if share.ndim == 1 else share[graded], r[graded], e[graded]
        )
    return dt


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def _by_qr(transposed: Tensor, root: Tensor, share: Tensor, r: Tensor, e: Tensor) -> Tensor:
    """dt = −e + W^{1/2}D^{−1/2}(Q R^{−T} r + Q Qᵀ (D/W)^{1/2} e), with QR = (DW)^{1/2}Aᵀ."""
    m = transposed.shape[2]
    weight = root * share
    order = torch.argsort(transposed.abs().amax(-1) * weight, dim=-1, descending=True, stable=True)
    rows = (transposed * weight[..., None]).gather(1, order[..., None].expand(-1, -1, m))
    z = (root * e / share).gather(1, order)
    # One column of (DW)^{1/2}Aᵀ per row, contiguous, and z last: the reflections act on all of them.
    X = torch.cat([rows.mT, z[:, None]], dim=1)
    r, w = r.clone(), torch.zeros_like(r)
    each = torch.arange(X.shape[0], device=X.device)
    used = torch.zeros_like(r, dtype=torch.bool)
    reflections = []
    for j in range(m):
        tail = X[:, :, j:]
        where, norm = _pivot(tail[:, :m], used)
        used[each, where] = True
        v, head, diagonal = _reflector(tail[each, where], norm)
        reflections.append((v, head))
        tail.addcmul_(((tail @ v[..., None]) * head[:, None, None]), v[:, None], value=-1)
        X[each, where, j] = diagonal
        X[each, where, j + 1 :] = 0.0
        # w = R^{−T} r, entry by entry, as R appears.
        w[:, j] = torch.where(diagonal == 0, torch.zeros_like(diagonal), r[each, where] / diagonal)
        r.addcmul_(X[:, :m, j], w[:, j : j + 1], value=-1)
    z = torch.cat([X[:, m, :m] + w, torch.zeros_like(z[:, m:])], dim=1)
    for j in range(m - 1, -1, -1):
        v, head = reflections[j]
        tail = z[:, j:]
        tail.addcmul_(head[:, None] * (v * tail).sum(-1, keepdim=True), v, value=-1)
    found = torch.empty_like(z).scatter_(1, order, z)
    return found * share / root - e


def _pivot(tail: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
    """The unused column with the largest Euclidean norm, (B,), and that norm, safe from underflow."""
    scale = tail.abs().amax((1, 2))
    scaled = tail / torch.where(scale > 0, scale, torch.ones_like(scale))[:, None, None]
    square = (scaled * scaled).sum(-1).masked_fill(used, -1.0)
    largest, where = square.max(-1)
    return where, scale * largest.clamp(min=0.0).sqrt()


def _reflector(x: Tensor, norm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """v, (B, ·) with v_0 = 1, and ``head``, (B,), of I − head·vvᵀ, which maps x to ``diagonal``·e_0."""
    diagonal = -torch.copysign(norm, x[:, 0])
    zero = norm == 0
    first = x[:, 0] - diagonal
    v = x / torch.where(zero, torch.ones_like(first), first)[:, None]
    v[:, 0] = 1.0
    head = torch.where(zero, torch.zeros_like(first), -first / torch.where(zero, torch.ones_like(first), diagonal))
    return v, head, torch.where(zero, torch.zeros_like(diagonal), diagonal)
