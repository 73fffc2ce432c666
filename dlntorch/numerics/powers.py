"""θ^q for whole vectors, compiled: by multiplication for integer and half-integer q, by SIMD log2 and exp2 otherwise.

``libm``'s pow is scalar and slow. Here log2 θ = e + log2 m with m in [√½, √2) is kept as a sum of two floats, the
product with q is made exact by a fused multiply-add, and 2^x is a polynomial; every step is an operation that LLVM
vectorises. The result is within 2 units in the last place of θ^q for q in (0, 32); above, it has been seen within 3 at q = 40.
The logarithm's coefficients are those of FreeBSD's e_log.c (Sun Microsystems, 1993); 2^x uses Taylor's.
"""

from __future__ import annotations

import math

from dlntorch.numerics.bits import as_bits, as_float, fused, unsigned_shift
from dlntorch.numerics.compiling import kernel

__all__ = ["exponential", "multiplied_power", "power", "split_exponent"]

#: Above this exponent repeated multiplication loses to log2 and exp2.
LARGEST_BY_MULTIPLICATION = 32.0


def split_exponent(q: float) -> tuple[int, bool]:
    """(⌊q⌋, whether q − ⌊q⌋ = ½) where θ^q is made by multiplication, (−1, False) where it is not."""
    if 0 <= q <= LARGEST_BY_MULTIPLICATION and float(2 * q).is_integer():
        return int(q), bool(q % 1)
    return -1, False


_ONE_BITS = 0x3FF0000000000000
_HALF_ROOT_BITS = 0x3FE6A09E667F3BCD  # √½
_MANTISSA = 0x000FFFFFFFFFFFFF
_MAGIC_BITS = 0x4330000000000000  # 2⁵²: its low bits hold a small integer
_MAGIC = 4503599627370496.0
_ROUND = 6755399441055744.0  # 1.5·2⁵²: adding it rounds to an integer
_INVERSE_LN2, _INVERSE_LN2_LOW = 1.4426950408889634, 2.0355273740931033e-17
_LN2 = 0.6931471805599453
_SMALLEST_NORMAL_BITS, _INF_BITS = 0x0010000000000000, 0x7FF0000000000000
_L1, _L2, _L3, _L4, _L5, _L6, _L7 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_E = tuple(_LN2**k / math.factorial(k) for k in range(14))
_E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11, _E12, _E13 = _E[2:]


@kernel(inline="always")
def _exp2(t):
    """2^t for |t| <= ½ and a little more."""
    u = fused(fused(fused(fused(_E13, t, _E12), t, _E11), t, _E10), t, _E9)
    u = fused(fused(fused(fused(u, t, _E8), t, _E7), t, _E6), t, _E5)
    u = fused(fused(fused(u, t, _E4), t, _E3), t, _E2)
    return 1.0 + fused(u * t, t, _LN2 * t)


@kernel
def exponential(x, out):
    """out = e^x for |x| < 700; within 2 units in the last place."""
    for i in range(x.size):
        y = x[i] * _INVERSE_LN2
        k = (y + _ROUND) - _ROUND
        t = (y - k) + (fused(x[i], _INVERSE_LN2, -y) + x[i] * _INVERSE_LN2_LOW)
        out[i] = _exp2(t) * as_float((as_bits(k + (_MAGIC + 1023.0)) - _MAGIC_BITS) << 52)


@kernel
def _real_power(x, q, out):
    """out = x^q; False where an entry is not positive and normal, or its power is not: then out is not to be used."""
    odd = 0
    for i in range(x.size):
        bits = as_bits(float(x[i]))
        odd |= (bits - _SMALLEST_NORMAL_BITS) | (_INF_BITS - 1 - bits)  # negative unless positive and normal
        bits += _ONE_BITS - _HALF_ROOT_BITS
        e = as_float(unsigned_shift(bits) | _MAGIC_BITS) - (_MAGIC + 1023.0)
        f = as_float((bits & _MANTISSA) + _HALF_ROOT_BITS) - 1.0
        s = f / (2.0 + f)
        z = s * s
        poly = fused(fused(fused(fused(fused(fused(_L7, z, _L6), z, _L5), z, _L4), z, _L3), z, _L2), z, _L1) * z
        half = 0.5 * f * f
        rest = s * (half + poly) - half  # log m = f + rest
        main, small = f * _INVERSE_LN2, rest * _INVERSE_LN2
        log2 = main + small
        high = e + log2
        low = (log2 - (high - e)) + ((main - log2) + small) + (fused(f, _INVERSE_LN2, -main) + f * _INVERSE_LN2_LOW)
        y = q * high
        k = (y + _ROUND) - _ROUND
        t = (y - k) + (fused(q, high, -y) + q * low)
        exp2 = _exp2(t)
        biased = as_bits(k + (_MAGIC + 1023.0)) - _MAGIC_BITS
        odd |= (biased - 2) | (2045 - biased)
        out[i] = exp2 * as_float(biased << 52)
    return odd >= 0


@kernel(inline="always")
def power(x, q, out):
    """out = x^q."""
    if not _real_power(x, q, out):
        for i in range(x.size):
            out[i] = x[i] ** q


@kernel(inline="always")
def multiplied_power(x, whole, half, base, out):
    """out = x^q by multiplication, for whole, half = split_exponent(q) with whole >= 0; ``base`` is scratch like x."""
    for i in range(x.size):
        out[i] = math.sqrt(x[i]) if half else 1.0
        base[i] = x[i]
    while whole > 0:
        odd = whole & 1
        for i in range(x.size):
            b = base[i]
            if odd:
                out[i] *= b
            base[i] = b * b
        whole >>= 1
