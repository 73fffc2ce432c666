"""Problems from real data that scikit-learn carries inside its package: nothing is downloaded.

scikit-learn is an extra (``pip install dlntorch[data]``), imported when one of these problems is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from dlntorch.numerics.validation import InputError, check_count, check_unmasked
from dlntorch.problem.problem import Problem
from dlntorch.problem.synthetic import planted

__all__ = ["diabetes", "digit_image", "digits", "digits_images"]

_SIDE = 8  # pixels of a digit's side
_PATIENTS = 442
_DIGITS = 1797
_GREYS = 16  # the largest pixel


def _from_sklearn(module: str, name: str) -> Any:
    """``sklearn.<module>.<name>``, or one line that says how to install it."""
    try:
        return getattr(import_module(f"sklearn.{module}"), name)
    except ImportError:
        raise InputError(
            "name must be a problem whose data are installed, got diabetes or digits without scikit-learn: "
            "pip install 'dlntorch[data]'"
        ) from None


def diabetes(m: int = 120, degree: int = 3, seed: int = 1) -> Problem:
    """Disease progression of m diabetes patients against all monomials of 10 measurements up to a degree.

    The columns are the C(10 + d, d) − 1 monomials of degree 1 … d of the 10 features (285 for d = 3), in scikit-learn's
    order; each column, and y, is then centred and scaled to variance 1 over the patients drawn, so that ψ_i are
    regression coefficients of standardised features. Two facts follow, and both are left as they are: centring
    makes rank(A) at most m − 1 (119 at the default; y is centred too, so it lies in range(A)), and the powers of the
    two-valued feature ``sex`` are the same column up to sign. With the default seed the ℓ1-minimiser gives ``sex`` no
    weight, is unique, has 119 nonzeros, and the largest off-support |A_iᵀλ| is 0.9962; with seeds 0 and 2 … 7 ``sex``
    has weight, so that its powers share it and the minimiser is not unique.

    Args:
        m: Patients, 2 … 442, drawn without replacement by ``numpy.random.default_rng(seed)`` and kept in file order.
        degree: Highest degree d of a monomial, 1 … 4.
        seed: Which patients, >= 0.

    Raises:
        InputError: naming the argument; also when a column is constant over the patients drawn (small m), and when
            scikit-learn is not installed.

    Source: Efron, Hastie, Johnstone and Tibshirani, Least angle regression, Ann. Statist. 32 (2004).
    """
    m = check_count("m", m, at_least=2, at_most=_PATIENTS)
    degree = check_count("degree", degree, at_most=4)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    rows = np.sort(rng.choice(_PATIENTS, m, replace=False))
    data = _from_sklearn("datasets", "load_diabetes")()
    expand = _from_sklearn("preprocessing", "PolynomialFeatures")(degree=degree, include_bias=False)
    # The features come with column norm 1; with variance 1 their cubes are of order 1 too.
    features = expand.fit_transform(data.data[rows] * np.sqrt(_PATIENTS))
    A, y = features - features.mean(axis=0), data.target[rows] - data.target[rows].mean()
    spread = A.std(axis=0)
    constant = np.flatnonzero(spread <= 1e-12 * np.abs(features).max(axis=0))
    if constant.size or y.std() == 0:
        raise InputError(f"m must be large enough that no column is constant over the patients drawn, got {m}")
    return Problem(A / spread, y / y.std(), name="diabetes")


def digits(index: int = 0, m: int = 40, nonzeros: int | None = 10, noise: float = 0.0, seed: int = 0) -> Problem:
    """A handwritten digit, sparse in a cosine basis, from few random measurements of its pixels.

    The 8×8 image x (pixels scaled to [0, 1]) is x = Ψc with Ψ (64, 64) the orthonormal inverse cosine transform
    (DCT-II in both directions, rows first). ``truth`` is c with all but its ``nonzeros`` largest moduli set to 0 (10 of
    64 hold 93 % of the energy of image 0); ``nonzeros=None`` keeps all of c. The measurements are y = G Ψ truth +
    noise·N(0, I) with G (m, 64) independent N(0, 1/m), and A = GΨ. The measured image is thus exactly sparse, and the
    ℓ1-minimiser is the truth at the default; all of c is not sparse, and 40 measurements do not determine it.

    Args:
        index: Which of the 1797 images, 0 … 1796 (0 is a "0").
        m: Measurements, 1 … 64; fewer than 64 are under-determined.
        nonzeros: Coefficients kept, 1 … 64, or None for all.
        noise: Standard deviation of the noise on each entry of y, >= 0.
        seed: Seed of G, >= 0.

    Raises:
        InputError: naming the argument; also when scikit-learn is not installed.

    Source: Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI (1998), as in scikit-learn.
    """
    index = check_count("index", index, at_least=0, at_most=_DIGITS - 1)
    pixels = _SIDE * _SIDE
    m = check_count("m", m, at_most=pixels)
    keep = pixels if nonzeros is None else check_count("nonzeros", nonzeros, at_most=pixels)
    rng = np.random.default_rng(check_count("seed", seed, at_least=0))
    from scipy.fft import dctn

    image = _from_sklearn("datasets", "load_digits")().images[index] / 16.0
    truth = np.asarray(dctn(image, norm="ortho")).ravel()
    truth[np.argsort(-np.abs(truth), kind="stable")[keep:]] = 0.0
    A = rng.standard_normal((m, pixels)) / np.sqrt(m) @ _cosine_basis()
    return planted(A, A @ truth, truth, noise, rng, "digits")


def digits_images() -> np.ndarray:
    """All 1797 images, one a row of 64 pixels in [0, 1], shape (1797, 64)."""
    return _from_sklearn("datasets", "load_digits")().data / float(_GREYS)


def digit_image(psi: Any) -> np.ndarray:
    """The images (..., 8, 8) of coefficient vectors ψ (..., 64) of :func:`digits`: x = Ψψ, pixels in about [0, 1]."""
    check_unmasked("psi", psi)
    coefficients = np.asarray(psi, dtype=np.float64)
    if coefficients.shape[-1:] != (_SIDE * _SIDE,):
        raise InputError(f"psi must have shape (..., 64), got shape {coefficients.shape}")
    return (coefficients @ _cosine_basis().T).reshape(*coefficients.shape[:-1], _SIDE, _SIDE)


def _cosine_basis() -> np.ndarray:
    """Ψ (64, 64), orthogonal: column j is the image whose only cosine coefficient is the j-th, 1."""
    from scipy.fft import idctn

    units = np.eye(_SIDE * _SIDE).reshape(-1, _SIDE, _SIDE)
    return np.asarray(idctn(units, axes=(1, 2), norm="ortho")).reshape(_SIDE * _SIDE, -1).T
