"""The effective initialization that the steps of a planned run amount to, and how wrong its prediction may be."""

from __future__ import annotations

import numpy as np

from dlntorch.model import Initialization

__all__ = ["doubtful", "growth", "shrunk"]

#: What the steps add may differ from its prediction by this part, and by this times what is of first order in κ.
_DOUBT, _SECOND = 0.004, 0.3


def growth(p: float, kappa: float) -> float:
    """What descent with κ adds to the weights, over what the integral along the flow from α says: 1 + O(κ).

    The coefficient (3p − 4)/4 is measured (p = 2 to 6, κ to 0.3, to a tenth of itself); 1/2 at p = 2 is the logistic
    curve's: ln(1 + κ) = κ − κ²/2.
    """
    return 1 + _first_order(p) * kappa


def _first_order(p: float) -> float:
    return (3 * p - 4) / 4


def shrunk(alpha: float, p: float, added: np.ndarray) -> Initialization:
    """α± whose weights (α±/α)^{2−p} are 1 + ``added`` (2, n); at p = 2 −ln(α±/α) = ``added``."""
    sides = alpha * (np.exp(-added) if p == 2 else (1 + added) ** (1 / (2 - p)))
    return Initialization(*sides)


def doubtful(
    A: np.ndarray, selected: np.ndarray, alpha: float, p: float, added: np.ndarray, kappa: float
) -> list[np.ndarray]:
    """What the steps may have added instead, (2, n) each: the error of the prediction where it does most harm.

    The weighted minimiser keeps the support S and the signs σ while |Σ_j (A_S⁺A_i)_j σ_j w_j| <= w_i off S. The entries of
    S and the column i whose slack an error can make the least are changed together. On a face, where S has dependent
    columns, any unequal change counts: the second one has signs by chance, the same in every plan.

    Args:
        A: Shape (m, n), full row rank.
        selected: W_p, shape (n,).
        alpha: Initialization.
        p: Depth.
        added: The prediction, (2, n).
        kappa: κ.
    """
    part = _DOUBT + _SECOND * _first_order(p) * kappa
    chance = np.random.default_rng(0).choice([-1.0, 1.0], added.shape)
    found = [added * (1 + part * chance)]
    support, off = np.flatnonzero(selected), np.flatnonzero(selected == 0)
    if support.size and off.size:
        sigma = np.sign(selected[support])
        side = np.where(sigma > 0, 0, 1)
        mine = added[side, support]
        base = -np.log(alpha) if p == 2 else 1.0
        C = np.linalg.pinv(A[:, support]) @ A[:, off] * sigma[:, None]  # (|S|, off)
        value, reach = (base + mine) @ C, np.abs(C).T @ mine
        slack = np.stack([base + added[0, off] - value, base + added[1, off] + value])
        slack -= part * (np.stack([added[0, off], added[1, off]]) + reach)
        where, i = np.unravel_index(int(np.argmin(slack)), slack.shape)
        worse = added.copy()
        worse[side, support] *= 1 + part * np.sign(C[:, i]) * (1 if where == 0 else -1)
        worse[where, off[i]] *= 1 - part
        found.append(worse)
    return found
