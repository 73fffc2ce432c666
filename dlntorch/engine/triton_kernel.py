"""One kernel program a network: θ and A stay in registers and Aᵀ in the multiprocessor's L1 cache for K steps.

Both products have a copy of A of their own, so that each sum runs inside a thread; with one copy, and sums across
threads, the kernel was half as fast. Sizes are padded to powers of two in registers only; a padded θ is 1 and never
counts. The arithmetic is that of :func:`dlntorch.engine.batched.step`, with sums in another order and real
powers by exp and log. Without a GPU the kernel runs in Triton's interpreter (TRITON_INTERPRET=1 before it is
imported), which is how it is tested.
"""

# The kernel is Triton's language, compiled from this text; Python's types do not describe it.
# pyright: reportGeneralTypeIssues=false, reportOperatorIssue=false, reportCallIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

from dlntorch.engine.batched import BatchState

__all__ = ["OnChip", "fits_on_chip"]

#: Bytes of a padded A: half of a multiprocessor's registers; Aᵀ, without padding, then fits in its L1 cache.
ON_CHIP_BYTES = 128 * 1024


def _padded(size: int) -> int:
    return max(16, triton.next_power_of_2(size))


def fits_on_chip(m: int, n: int, itemsize: int) -> bool:
    """Whether a padded A (m, n) fits beside θ in one multiprocessor's registers."""
    return _padded(m) * _padded(n) * itemsize <= ON_CHIP_BYTES


@triton.jit
def _power(x, q, WHOLE: tl.constexpr):
    """x^q for x > 0; by multiplication where q is the integer WHOLE >= 0, else by exp and log."""
    if WHOLE >= 0:
        result = x * 0 + 1
        for _ in tl.static_range(WHOLE):
            result = result * x
        return result
    return tl.exp(q * tl.log(x))


@triton.jit
def _largest(rho, top, other_rho, other_top):
    """Both maxima in one pass over the columns."""
    return tl.maximum(rho, other_rho), tl.maximum(top, other_top)


@triton.jit
def _steps(
    A, At, y, plus, minus, c, kappa, eta_given, norm2, threshold, max_steps, max_time, until,
    step, time, eta, eta_min, eta_max, residual, ending,
    depth, A_stride, y_stride, K,
    m: tl.constexpr, n: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    WHOLE: tl.constexpr, RELATIVE: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    rows, columns = tl.arange(0, BM), tl.arange(0, BN)
    row_in, column_in = rows < m, columns < n
    # A column of A to a thread, a row of A to a lane: both sums below run inside a thread. The loads have no masks, which
    # would take registers: what they read past a row's or the matrix's end is finite and meets a zero of psi or r.
    by_column = A + b * A_stride + (rows[:, None] * n + columns[None, :])
    by_row = At + b * A_stride + (columns[:, None] * m + rows[None, :])
    matrix = tl.load(by_column)
    target = tl.load(y + b * y_stride + rows, mask=row_in, other=0.0)
    up = tl.load(plus + b * n + columns, mask=column_in, other=1.0)
    down = tl.load(minus + b * n + columns, mask=column_in, other=1.0)
    kind = up.dtype
    p = tl.load(depth).to(kind)  # from memory: a float argument would arrive in single precision
    b_c, b_kappa, b_norm2 = tl.load(c + b).to(kind), tl.load(kappa + b).to(kind), tl.load(norm2 + b).to(kind)
    b_threshold, b_max_time = tl.load(threshold + b), tl.load(max_time + b)
    b_max_steps, b_until = tl.load(max_steps + b), tl.load(until + b)
    k, t, e = tl.load(step + b), tl.load(time + b), tl.load(eta + b)
    low, high, size, code = tl.load(eta_min + b), tl.load(eta_max + b), tl.load(residual + b), tl.load(ending + b)
    given = tl.load(eta_given + b).to(kind)
    paused = code != 0
    i = 0
    while (i < K) & (paused == 0):
        growth_up, growth_down = _power(up, p - 2, WHOLE), _power(down, p - 2, WHOLE)
        slope_up, slope_down = growth_up * up, growth_down * down
        psi = tl.where(column_in, slope_up * up - slope_down * down, 0.0)
        r = tl.where(row_in, target - tl.sum(tl.load(by_row) * psi[:, None], axis=0), 0.0)
        size = tl.sqrt(tl.sum(r * r, axis=0)).to(tl.float64)
        if size <= b_threshold:
            code = code * 0 + 1
        elif k >= b_max_steps:
            code = code * 0 + 2
        elif t >= b_max_time:
            code = code * 0 + 3
        paused = (code != 0) | (k >= b_until)
        if paused == 0:
            g = tl.sum(matrix * r[:, None], axis=0)
            new = given
            if RELATIVE:
                turn = tl.where(column_in, tl.maximum(growth_up, growth_down) * tl.abs(g), 0.0)
                bend = tl.where(column_in, slope_up * slope_up + slope_down * slope_down, 0.0)
                most, top = tl.reduce((turn, bend), 0, _largest)
                rho = p * most
                stable = b_c / (p * p * b_norm2 * top + (p - 1) * rho)
                new = tl.where(rho == 0, stable, tl.minimum(stable, b_kappa / rho))
            next_up = up + (new * p) * (slope_up * g)
            next_down = down - (new * p) * (slope_down * g)
            # x - x is 0 for finite x only; every comparison with what is not a number is false
            odd = (next_up - next_up != 0.0) | (next_down - next_down != 0.0)
            fault = tl.where((next_up <= 0.0) | (next_down <= 0.0), 1, 0)
            fault = tl.where(odd, 2, fault)
            fault = tl.where(g - g != 0.0, 3, fault)
            worst = tl.max(tl.where(column_in, fault, 0), axis=0)
            sound = (new > 0.0) & (new - new == 0.0)
            if sound == 0:
                code = code * 0 + tl.where(worst == 3, 4, 6)
            elif worst >= 2:
                code = code * 0 + 4
            elif worst == 1:
                code = code * 0 + 5
            if code == 0:
                up = tl.where(column_in, next_up, 1.0)
                down = tl.where(column_in, next_down, 1.0)
                k += 1
                e = new.to(tl.float64)
                t += e
                low = tl.minimum(low, e)
                high = tl.maximum(high, e)
            paused = code != 0
        i += 1
    tl.store(plus + b * n + columns, up, mask=column_in)
    tl.store(minus + b * n + columns, down, mask=column_in)
    tl.store(step + b, k)
    tl.store(time + b, t)
    tl.store(eta + b, e)
    tl.store(eta_min + b, low)
    tl.store(eta_max + b, high)
    tl.store(residual + b, size)
    tl.store(ending + b, code)


class OnChip:
    """Up to ``steps`` steps of every running network, in one kernel; as many calls of ``batched.step`` do the same.

    Args:
        state: The batch, which a call advances in place. Its A is copied twice here.
        warps: Warps of a program. By default 128 registers of each thread, the half of them, hold A.
    """

    def __init__(self, state: BatchState, *, warps: int | None = None) -> None:
        self.state = state
        m, n = self.shape = tuple(state.A.shape[1:])
        padded = _padded(m) * _padded(n)
        self.warps = warps or max(1, padded * state.A.element_size() // 16384)
        # A kernel reads a padded block: as much as that lies behind the last matrix, finite
        self.A, self.At = (torch.zeros(state.A.numel() + 2 * padded, dtype=state.A.dtype, device=state.A.device)
                           for _ in range(2))  # fmt: skip
        self.A[: state.A.numel()] = state.A.reshape(-1)
        self.At[: state.A.numel()] = state.A.mT.reshape(-1)
        self.depth = torch.tensor([state.p], dtype=torch.float64, device=state.A.device)

    def __call__(self, steps: int) -> None:
        s, (m, n) = self.state, self.shape
        whole = int(s.p - 2) if s.p == int(s.p) and s.p <= 10 else -1
        names = ("c", "kappa", "eta_given", "norm2", "threshold", "max_steps", "max_time", "until")
        names += ("step", "time", "eta", "eta_min", "eta_max", "residual", "ending")
        values = [getattr(s, name) for name in names]
        _steps[(len(s),)](
            self.A, self.At, s.y, s.plus, s.minus, *values,
            self.depth, 0 if len(s.A) == 1 else m * n, 0 if len(s.y) == 1 else m, steps,
            m=m, n=n, BM=_padded(m), BN=_padded(n), WHOLE=whole, RELATIVE=s.relative,
            num_warps=self.warps,
        )  # fmt: skip
