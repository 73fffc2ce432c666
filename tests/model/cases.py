"""Parametrizations written outside the package, as a user would, and starts of every kind."""

from __future__ import annotations

import torch

import dlntorch as dln


class Sinh(dln.Parametrization):
    """ψ = sinh θ from θ = 0, so D = 1 + ψ² and Ψ = tan: a pole at ±π/2."""

    width = 1

    def value(self, theta):
        return torch.sinh(theta[0])

    def slope(self, theta):
        return torch.cosh(theta)

    def start(self, alpha, n):
        return torch.zeros(1, n, dtype=torch.float64)


class TwoSinh(dln.Parametrization):
    """ψ = sinh³θ₊ − sinh³θ₋: no closed form at all; like depth 3 at small α."""

    width = 2

    def value(self, theta):
        return torch.sinh(theta[0]) ** 3 - torch.sinh(theta[1]) ** 3

    def slope(self, theta):
        powers = 3 * torch.sinh(theta) ** 2 * torch.cosh(theta)
        return torch.stack([powers[0], -powers[1]])

    def start(self, alpha, n):
        return torch.full((2, n), alpha, dtype=torch.float64)


class Tanh(dln.Parametrization):
    """ψ = tanh θ: values in (−1, 1) only."""

    width = 1

    def value(self, theta):
        return torch.tanh(theta[0])

    def slope(self, theta):
        return 1 / torch.cosh(theta) ** 2

    def start(self, alpha, n):
        return torch.full((1, n), alpha, dtype=torch.float64)
