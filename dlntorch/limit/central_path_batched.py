"""The central path of :mod:`~dlntorch.limit.central_path` for a batch of problems at once, on CPU or CUDA.

Every problem keeps its own place on the path, step in log a and Newton iteration; one pass of the loop makes one linear
step in all problems that are not at their end. Problems that fail, or stop early, leave the others alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dlntorch.limit import curve_batched as curve
from dlntorch.limit.batched_state import BatchedPoints, PathRecord, PathState
from dlntorch.numerics.graded_equations import solve
from dlntorch.problem.equal_columns import EqualColumns

__all__ = ["BatchedPath"]

_EPS = float(torch.finfo(torch.float64).eps)
_GOLDEN, _SILVER = 0.6180339887498949, 0.4142135623730951  # as in central_path_judging.perturbations
# The constants of central_path.py, where each is explained.
_FIRST_STEP, _LARGEST_STEP, _SMALLEST_STEP = math.log(20), math.log(1e10), 0.02
_NEWTON_STEPS, _PATIENCE, _REFINEMENTS, _CLEARLY = 30, 6, 20, 2.0
_LOOSE, _NOISE, _TIGHT, _DRIFT, _NOTABLE = 0.25, 1e-3, 1e-9, 2e-13, 1e-14
_FLOOR, _CEILING = math.log(1e-250), math.log(1e300)


class BatchedPath:
    """The paths of B problems of one shape and of full row rank, followed downwards in a.

    Args:
        A: (B, m, n) float64, each of rank m.
        y: (B, m), each nonzero.
        p: Depth.
        log_offset: log(a_i/a) for a per-coordinate α, (n,); None for a scalar.
        equal: Which columns of each given A are equal, see :class:`~dlntorch.problem.equal_columns.EqualColumns`; None: nothing
            is known.
    """

    def __init__(
        self,
        A: Tensor,
        y: Tensor,
        p: float,
        log_offset: Tensor | None = None,
        equal: Sequence[EqualColumns] | None = None,
    ) -> None:
        self.k_inverse = (p - 2) / p
        # Powers of two balance the rows without rounding.
        exponent = torch.frexp(A.abs().amax(-1))[1]
        self.A = torch.ldexp(A, -exponent[..., None]).contiguous()
        self.y = torch.ldexp(y, -exponent)
        n = A.shape[-1]
        self.offset = A.new_zeros(n) if log_offset is None else log_offset.to(A)
        self.share = torch.exp(0.5 * self.k_inverse * self.offset)
        ones, zeros = torch.ones_like(self.A[:, 0]), torch.zeros_like(self.A[:, 0])
        self.minimum_norm = solve(self.A.mT, ones, torch.ones_like(self.share), self.y, zeros)
        order = torch.argsort(self.A.abs().amax(-2), dim=-1, descending=True)
        Q, self.R = torch.linalg.qr(self.A.mT.gather(1, order[..., None].expand(-1, -1, self.A.shape[1])))
        self.basis = torch.empty_like(Q).scatter_(1, order[..., None].expand_as(Q), Q)
        self.twins = _twins(equal, self.A)
        spread = float(self.offset.max() - self.offset.min())
        self.bound = 10 * self.minimum_norm.abs().sum(-1, keepdim=True) * math.exp(min(spread, 100.0))
        self.log_top = self.minimum_norm.abs().amax(-1).log() - self.offset.min()

    def points(self, log_targets: Sequence[float]) -> BatchedPoints:
        """The paths at decreasing log a."""
        targets = self.y.new_tensor(list(log_targets))
        ceiling = _CEILING - float(self.offset.max())
        reachable = torch.maximum(targets, self.log_top[:, None] + _FLOOR).clamp(max=ceiling)
        state = self._start(torch.maximum(self.log_top, targets[0]).clamp(max=ceiling))
        record = PathRecord(len(self.y), len(targets), state.psi)
        self._begin_level(state, reachable, torch.ones_like(state.last))
        rows = torch.arange(len(self.y), device=self.y.device)
        work = self
        while rows.numel():
            work._linear_step(state, reachable, rows, record)
            live = torch.nonzero(state.target < len(targets))[:, 0]
            if 2 * live.numel() <= rows.numel():  # the others are carried along for a while: cheaper than copies of A
                work, state, reachable, rows = work._subset(live), state.take(live), reachable[live], rows[live]
        return self._judged(record, len(targets))

    def _set_level(self, log_a: Tensor) -> None:
        """Make ``offset`` and ``share`` those of log a, (B,): for one shape they are the same at all."""

    def _uneven(self) -> bool:
        """Whether α differs between the coordinates where the path starts."""
        return bool((self.offset != self.offset[0]).any())

    def _subset(self, rows: Tensor) -> BatchedPath:
        part = object.__new__(type(self))
        part.k_inverse, part.offset, part.share = self.k_inverse, self.offset, self.share
        for name in ("A", "y", "basis", "R", "bound", "minimum_norm", "log_top"):
            setattr(part, name, getattr(self, name)[rows])
        part.twins = None if self.twins is None else tuple(field[rows] for field in self.twins)
        return part

    def _shared(self, x: Tensor) -> Tensor:
        """x (B, n) with the mean of the entries of equal columns, up to their signs, in all of them."""
        if self.twins is None:
            return x
        first, sign, count = self.twins
        return sign * (torch.zeros_like(x).scatter_add(1, first, sign * x) / count).gather(1, first)

    # -- levels ---------------------------------------------------------------------------------------------------

    def _start(self, log_a: Tensor) -> PathState:
        """The minimum-norm solution, on which h_p is nearly linear for a >= ‖A⁺y‖_∞."""
        log_a_i = log_a[:, None] + self.offset
        t = 0.5 * self.minimum_norm * torch.exp(-log_a_i)
        if self._uneven():  # the nearest t in range(W Aᵀ)
            ones, zeros = torch.ones_like(t), torch.zeros_like(self.y)
            t = t + solve(self.A.mT * self.share[:, None] ** 2, ones, torch.ones_like(self.share), zeros, t)
        t = self._shared(t)
        k = self.k_inverse
        b = torch.atanh((t * k).clamp(-0.9, 0.9)) / k if k else t
        psi = curve.curve_value(b, log_a_i, k)
        count = torch.zeros_like(log_a, dtype=torch.int64)
        e, none = torch.zeros_like(t), torch.zeros_like(log_a)
        return PathState(
            psi=psi,
            b=b,
            e=e,
            log_a=log_a,
            goal=log_a,
            step=torch.full_like(log_a, _FIRST_STEP),
            last=torch.zeros_like(log_a, dtype=torch.bool),
            target=count,
            used=count,
            best=none,
            idle=count,
            mended=count,
            steps=count,
            saved_psi=psi,
            saved_b=b,
            saved_e=e,
            saved_log_a=log_a,
        )

    def _begin_level(self, state: PathState, reachable: Tensor, begin: Tensor) -> None:
        """Where ``begin``, set the next level's goal, at most a step below, and keep the state for a retreat."""
        end = reachable.gather(1, state.target.clamp(max=reachable.shape[1] - 1)[:, None])[:, 0]
        last = state.log_a - state.step <= end + 1e-3 * state.step
        # A start above ‖A⁺y‖_∞ is solved at its own log a.
        goal = torch.minimum(torch.where(last, end, state.log_a - state.step), state.log_a)
        state.where(begin, goal=goal, last=last, used=0, best=torch.inf, idle=0, mended=0)
        state.where(begin, saved_psi=state.psi, saved_b=state.b, saved_e=state.e, saved_log_a=state.log_a)

    def _linear_step(self, state: PathState, reachable: Tensor, rows: Tensor, record: PathRecord) -> None:
        """One linear step of every problem, and what follows from it: next iteration, next level, retreat or record."""
        self._set_level(state.log_a)
        active = state.target < reachable.shape[1]
        dl = state.goal - state.log_a
        before = state.log_a[:, None] + self.offset
        r, root, at_floor = self._linear_system(state, before, dl)
        dt = self._shared(solve(self.A.mT, root, self.share, r, state.e))
        new_log_a = state.goal[:, None] + self.offset
        point = state.psi, state.b, state.e
        psi, b, e, change = curve.advance(point, root, dt, new_log_a, dl[:, None], self.k_inverse, self.bound)
        state.where(active, psi=psi, b=b, e=e, log_a=state.goal, used=state.used + 1, steps=state.steps + 1)
        corrector = active & (dl == 0) & torch.isfinite(change)
        close = corrector & (change <= torch.where(state.last, _TIGHT, _LOOSE))
        done = close & (~state.last | self._settled(state, close & state.last))
        waiting = corrector & ~done
        state.where(waiting, idle=torch.where((change > _EPS) & (change < 0.25 * state.best), 0, state.idle + 1))
        state.where(waiting, best=torch.minimum(state.best, change))
        noisy = waiting & (change < _NOISE) & (state.idle >= torch.where(at_floor, 1, _PATIENCE))
        failed = active & ~done & ~noisy & (~torch.isfinite(change) | (state.used >= _NEWTON_STEPS))
        self._end_level(
            state, reachable, rows, record, done | noisy, failed, torch.where(noisy, _PATIENCE * change, change)
        )

    def _end_level(
        self,
        state: PathState,
        reachable: Tensor,
        rows: Tensor,
        record: PathRecord,
        good: Tensor,
        failed: Tensor,
        change: Tensor,
    ) -> None:
        """Record the problems that reached a target, retreat where Newton failed, and set out for the next level."""
        used, step = state.used, state.step
        longer = torch.where(used <= 3, (2 * step).clamp(max=_LARGEST_STEP), torch.where(used <= 8, step, step / 1.5))
        state.where(good, step=longer)
        state.where(failed, step=torch.minimum(step, state.saved_log_a - state.goal) / 4)
        state.where(failed, psi=state.saved_psi, b=state.saved_b, e=state.saved_e, log_a=state.saved_log_a)
        stuck = failed & (state.step < _SMALLEST_STEP)
        arrived = good & state.last
        while bool((arrived | stuck).any()):
            record.put(rows, state, arrived, stuck, change)
            state.where(arrived | stuck, target=state.target + 1, steps=0)
            change = torch.zeros_like(change)
            inside = state.target < reachable.shape[1]
            end = reachable.gather(1, state.target.clamp(max=reachable.shape[1] - 1)[:, None])[:, 0]
            arrived, stuck = arrived & inside & (state.log_a <= end), stuck & inside
        self._begin_level(state, reachable, good | failed)

    # -- one step ---------------------------------------------------------------------------------------------------

    def _residual(self, psi: Tensor) -> tuple[Tensor, Tensor]:
        """r = y − Aψ and the rounding level of each entry, eps (|A||ψ| + |y|), both (B, m)."""
        terms = self.A * psi[:, None]
        return self.y - terms.sum(-1), _EPS * (self.y.abs() + terms.abs_().sum(-1))

    def _linear_system(self, state: PathState, log_a: Tensor, dl: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Right-hand side and D^{1/2} of a step, and whether the residual is at the rounding level.

        There it is noise, which the small entries of D would blow up, and is taken as zero.
        """
        r, level = self._residual(state.psi)
        at_floor = (r.abs() <= 2 * level).all(-1)
        quiet = torch.where(at_floor[:, None], torch.zeros_like(r), r)
        rhs = torch.where(dl[:, None] == 0, quiet, r - (self.y - r) * dl[:, None])
        return rhs, curve.root_slopes(state.psi, state.b, log_a, self.k_inverse), at_floor

    def _settled(self, state: PathState, asked: Tensor) -> Tensor:
        """Where ``asked``: whether the residual and the distance of t from range(Aᵀ) are at their rounding levels.

        Rounding of wild early steps may leave the second above it: it is then put into e for the next step to remove.
        """
        if not bool(asked.any()):
            return asked
        ratio, _, distance, _, drift = self._checks(state.psi, state.b, state.e)
        distance = self._shared(distance)
        mend = asked & (state.mended < 2) & (drift > _DRIFT)
        some = torch.nonzero(mend)[:, 0]
        if some.numel():
            # Of all Aᵀλ take the D-nearest, which leaves the large entries of D alone.
            b = state.b[some]
            offset, share = (x if x.ndim == 1 else x[some] for x in (self.offset, self.share))
            root = curve.root_slopes(state.psi[some], b, state.log_a[some, None] + offset, self.k_inverse)
            e = -solve(self.A[some].mT, root, share, torch.zeros_like(self.y[some]), distance[some])
            largest = self._displacement(state.b)[1][some, None]
            state.e = state.e.index_copy(0, some, torch.where(e.abs() > 0.1 * _DRIFT * largest, e, 0.0))
            state.mended = state.mended + mend
        return asked & ~mend & (ratio <= 4)

    # -- what judges an answer --------------------------------------------------------------------------------------

    def _checks(self, psi: Tensor, b: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """As :func:`~dlntorch.limit.central_path_judging.checks`, with a batch axis."""
        r, level = self._residual(psi)
        t, largest = self._displacement(b)
        distance = self._off_range(t)
        ratio = torch.where(level > 0, r.abs() / level, torch.zeros_like(r)).amax(-1)
        scale = self.y.abs().amax(-1, keepdim=True)
        scale = torch.where(scale > 0, scale, level.amax(-1, keepdim=True) / _EPS)
        size = torch.linalg.vector_norm(self.y / scale, dim=-1)
        relative = torch.linalg.vector_norm(r / scale, dim=-1) / torch.where(size > 0, size, torch.ones_like(size))
        return ratio, relative, distance, distance.abs().amax(-1) / largest, (distance - e).abs().amax(-1) / largest

    def _displacement(self, b: Tensor) -> tuple[Tensor, Tensor]:
        """t, less that of the start, and the largest that it or its rounding is, (B,)."""
        t = curve.dual(b, self.k_inverse)
        return t, t.abs().amax(-1)

    def _off_range(self, t: Tensor) -> Tensor:
        """t less its nearest point of range(WAᵀ), in the metric of W."""
        inner = t / self.share**2
        inner = inner - (self.basis @ (self.basis.mT @ inner[..., None]))[..., 0]
        return inner * self.share**2

    def _judged(self, record: PathRecord, k: int) -> BatchedPoints:
        """The recorded points with their residuals and uncertainties."""
        uncertainty, residual, dual_residual = (torch.empty_like(record.log_a) for _ in range(3))
        for j in range(k):
            psi, b, e = record.psi[:, j], record.b[:, j], record.e[:, j]
            self._set_level(record.log_a[:, j])
            _, residual[:, j], distance, dual_residual[:, j], _ = self._checks(psi, b, e)
            change = record.change[:, j]
            noise = torch.where(change > _TIGHT, change, torch.zeros_like(change))
            found = self._uncertainty(psi, b, record.log_a[:, j, None] + self.offset, distance)
            uncertainty[:, j] = torch.maximum(found, noise).clamp(max=1.0)
        tau, gap = curve.dual_variables(record.b, self.k_inverse)
        return BatchedPoints(
            record.psi,
            tau,
            gap,
            record.log_a,
            residual,
            dual_residual,
            uncertainty,
            record.steps,
            record.converged,
        )

    def _uncertainty(self, psi: Tensor, b: Tensor, log_a: Tensor, distance: Tensor) -> Tensor:
        """As :meth:`~dlntorch.limit.central_path.CentralPath._uncertainty`, (B,)."""
        root = curve.root_slopes(psi, b, log_a, self.k_inverse)
        scale = torch.maximum(psi.abs(), torch.minimum(2 * torch.exp(log_a), psi.abs().amax(-1, keepdim=True)))

        def response(dt: Tensor) -> Tensor:
            change = root * (dt.abs() * (root / scale))
            return torch.where(b != 0, change, torch.zeros_like(change)).amax(-1)

        def direction(r: Tensor, e: Tensor) -> Tensor:
            return solve(self.A.mT, root, self.share, r, e)

        _, level = self._residual(psi)
        i = torch.arange(max(self.A.shape[-2:]), device=psi.device)
        first = (0.5 + (i.double() * _GOLDEN) % 1.0) * torch.where(i % 2 == 1, 1.0, -1.0)
        second = (1 + (i.double() * _SILVER) % 1.0) * torch.where(i // 2 % 2 == 1, 1.0, -1.0)
        nothing, worst = torch.zeros_like(psi), 0.5 * _EPS * log_a.abs().expand_as(psi).amax(-1)
        terms = _EPS * self._terms(self._displacement(b)[0])
        noises = [(mixed[: level.shape[1]] * level, mixed[: psi.shape[1]] * terms) for mixed in (first, second)]
        for given, noise in (*noises, (torch.zeros_like(level), distance)):
            dt = direction(given, noise)
            found = response(dt)
            # The response to τ is a small difference where D is large: refine it, as it would be all rounding.
            refining = found > worst.clamp(min=_NOTABLE)
            for _ in range(_REFINEMENTS):
                if not bool(refining.any()):
                    break
                r = given - (self.A @ (root * (root * dt))[..., None])[..., 0]
                dt = torch.where(refining[:, None], dt + direction(r, nothing), dt)
                before, found = found, response(dt)
                refining = refining & (found < 0.5 * before) & (found > worst.clamp(min=_NOTABLE))
            counts = found > _CLEARLY * worst if noise is distance else found > worst
            worst = torch.where(counts, found, worst)
        return torch.where(torch.isfinite(worst), worst, torch.ones_like(worst))

    def _terms(self, t: Tensor) -> Tensor:
        """As :meth:`~dlntorch.limit.central_path.CentralPath._terms`, (B, n)."""
        weights = self.share**2
        projected = self.basis.mT @ (t / weights)[..., None]
        lam = torch.linalg.solve_triangular(self.R, projected, upper=True)
        return weights * self.A.abs().amax(-2) * lam[..., 0].abs().sum(-1, keepdim=True)


def _twins(equal: Sequence[EqualColumns] | None, A: Tensor) -> tuple[Tensor, ...] | None:
    """Index of the first, sign and number of the columns equal to each, (B, n), or None where all differ."""
    if equal is None or not any(one.some for one in equal):
        return None
    first = torch.from_numpy(np.stack([one.first for one in equal])).to(A.device)
    sign = torch.from_numpy(np.stack([one.sign for one in equal])).to(A)
    count = torch.zeros_like(sign).scatter_add(1, first, torch.ones_like(sign)).clamp(min=1.0)
    return first, sign, count
