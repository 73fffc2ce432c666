"""Partial cosine and Fourier transforms: m rows of an orthonormal transform of Rⁿ, in n log n operations a product.

Both are real FFTs. With the frequencies' half spectrum V = rfft(x), a row of either transform is Re(c·V_k) for one
k and one complex c, so that a product picks m numbers of V, and its adjoint is one inverse FFT.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlntorch.numerics.validation import InputError, check_count, check_number, check_unmasked
from dlntorch.problem.operators.base import Operator

__all__ = ["PartialCosine", "PartialFourier"]


class _PartialTransform(Operator):
    """Rows Re(c_j · rfft(x)_{k_j}), times a scale, of an orthonormal set of rows.

    Args:
        n: Length of the signal.
        frequencies: The frequencies whose rows are kept, distinct, in any order.
        scale: What the orthonormal rows are multiplied by: all singular values of A equal it.
        dtype: float64 or float32.
        device: Where its vectors live.
    """

    def __init__(
        self,
        n: int,
        frequencies: Any,
        scale: float = 1.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ) -> None:
        n = check_count("n", n)
        self.frequencies = _distinct(frequencies, *self._range(n))
        self.scale = check_number("scale", scale, above=0)
        place = device or torch.device("cpu")
        bins, factors = self._rows(n)
        super().__init__((len(bins), n), dtype, place)
        complex_kind = torch.complex128 if dtype == torch.float64 else torch.complex64
        self._bins = torch.from_numpy(bins).to(place)
        self._factors = torch.from_numpy(self.scale * factors).to(place, complex_kind)

    def _range(self, n: int) -> tuple[int, int]:
        """The smallest and the largest frequency."""
        raise NotImplementedError

    def _rows(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """k_j and c_j of every row."""
        raise NotImplementedError

    def _reorder(self, x: Tensor) -> Tensor:
        """What is Fourier transformed in x's place."""
        return x

    def _restore(self, v: Tensor) -> Tensor:
        """The inverse of :meth:`_reorder`, which is its adjoint."""
        return v

    def apply(self, x: Tensor) -> Tensor:
        return (torch.fft.rfft(self._reorder(x.detach()))[..., self._bins] * self._factors).real

    def adjoint(self, r: Tensor) -> Tensor:
        n = self.shape[1]
        half = torch.zeros(*r.shape[:-1], n // 2 + 1, dtype=self._factors.dtype, device=self.device)
        half.index_add_(-1, self._bins, r.detach() * self._factors.conj())
        half *= 0.5  # irfft adds the conjugate half spectrum, which the first and the middle frequency do not have
        half[..., 0] *= 2.0
        if n % 2 == 0:
            half[..., -1] *= 2.0
        return self._restore(torch.fft.irfft(half, n=n, norm="forward"))

    def to(self, device: torch.device, dtype: torch.dtype) -> Operator:
        if (device, dtype) == (self.device, self.dtype):
            return self
        return type(self)(self.shape[1], self.frequencies, self.scale, dtype, device)

    def arrays(self) -> dict[str, np.ndarray]:
        n, scale = np.array(self.shape[1], dtype=np.int64), np.array(self.scale)
        parts = {"n": n, "frequencies": self.frequencies, "scale": scale}
        return {f"{self.kind.split()[1]}_{name}": value for name, value in parts.items()}

    @property
    def rank(self) -> int:
        """m: the rows are orthogonal."""
        return self.shape[0]

    @property
    def sigma_min(self) -> float:
        """The scale, which every singular value equals."""
        return self.scale

    @property
    def spectral_norm(self) -> float:  # type: ignore[override]
        """The scale, which every singular value equals."""
        return self.scale


class PartialCosine(_PartialTransform):
    """Rows of the orthonormal DCT-II: A_jl = scale·√(2/n) cos(π f_j (2l + 1)/(2n)), and scale/√n for f_j = 0.

    Frequencies are distinct and in 0 … n−1; m is their number. The FFT is that of Makhoul (1980): of the even
    entries followed by the odd ones backwards.
    """

    kind = "partial cosine"

    def _range(self, n: int) -> tuple[int, int]:
        return 0, n - 1

    def _rows(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        f = self.frequencies
        turned = np.exp(-0.5j * math.pi * f / n) * np.where(f == 0, math.sqrt(1 / n), math.sqrt(2 / n))
        upper = f > n // 2  # V_f is the conjugate of V_{n−f} there
        return np.where(upper, n - f, f), np.where(upper, turned.conj(), turned)

    def _reorder(self, x: Tensor) -> Tensor:
        return torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)

    def _restore(self, v: Tensor) -> Tensor:
        even = (v.shape[-1] + 1) // 2
        x = torch.empty_like(v)
        x[..., ::2] = v[..., :even]
        x[..., 1::2] = v[..., even:].flip(-1)
        return x

    def column_norms(self) -> Tensor:
        # Σ_f (2/n) cos²(φ) = Σ_f (1 + cos 2φ)/n with 2φ = πf(2l + 1)/n, whose cosines one FFT adds up
        n, f = self.shape[1], self.frequencies
        chosen = np.zeros(n, dtype=np.complex128)
        chosen[f[f > 0]] = np.exp(1j * math.pi * f[f > 0] / n)
        squares = (len(f) + n * np.fft.ifft(chosen).real) / n
        return torch.from_numpy(self.scale * np.sqrt(squares)).to(device=self.device, dtype=self.dtype)


class PartialFourier(_PartialTransform):
    """Real and imaginary parts of the Fourier transform: rows scale·√(2/n) cos(2πkl/n), then −scale·√(2/n) sin(2πkl/n).

    Frequencies are distinct and strictly between 0 and n/2, where both parts are there and the rows are orthonormal;
    m is twice their number.
    """

    kind = "partial fourier"

    def _range(self, n: int) -> tuple[int, int]:
        return 1, (n - 1) // 2

    def _rows(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        root = math.sqrt(2 / n)
        count = len(self.frequencies)
        return np.tile(self.frequencies, 2), np.repeat([root + 0j, -1j * root], count)

    def column_norms(self) -> Tensor:
        norm = self.scale * math.sqrt(self.shape[0] / self.shape[1])
        return torch.full((self.shape[1],), norm, dtype=self.dtype, device=self.device)


def _distinct(frequencies: Any, low: int, high: int) -> np.ndarray:
    """Frequencies as int64, checked to be distinct and in ``low … high``."""
    check_unmasked("frequencies", frequencies)
    found = np.asarray(frequencies)
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu":
        raise InputError(f"frequencies must be a nonempty vector of integers, got shape {found.shape} of {found.dtype}")
    found = found.astype(np.int64)
    if found.min() < low or found.max() > high:
        raise InputError(f"frequencies must be in {low} ... {high}, got {found.min()} ... {found.max()}")
    if len(np.unique(found)) != len(found):
        raise InputError("frequencies must be distinct, got one twice")
    return found
