"""The pictures of the page "The idea in pictures", made by the package: ``python docs/pictures/make.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

import dlntorch as dln
from dlntorch.problem import make_problem

HERE = Path(__file__).resolve().parent
STYLE = {
    "svg.hashsalt": "dlntorch",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
LINES = ("-", "--", "-.", ":")
COLOURS = ("#1b4f8a", "#b3541e", "#2f7d4f", "#6b3fa0", "#444444")


def save(figure, name: str) -> None:
    figure.savefig(HERE / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def jumps() -> None:
    """The flow of the paper's random problem at p = 3, and its saddles."""
    problem, p, alpha = make_problem("random"), 3, 1e-6
    path = dln.saddle_path(problem, p)
    T = np.geomspace(0.3 * float(path.times[0]), 5 * float(path.times[-1]), 500)
    unit = p * (p - 2) * alpha ** (p - 2)
    flow = dln.integrate_flow(problem, p, alpha, T / unit)
    figure, axis = plt.subplots(figsize=(7, 3.4))
    for i in range(problem.n):
        axis.semilogx(flow.t * unit, flow.psi[:, i], color=COLOURS[i], label=f"$\\psi_{i + 1}$")
        saddles = [float(path.at(float(t))[i]) for t in T]
        axis.semilogx(T, saddles, ":", color=COLOURS[i], linewidth=1)
    axis.set(xlabel=r"slow time $T = c_p t$  ($p = 3$, $\alpha = 10^{-6}$)", ylabel=r"$\psi(t)$")
    axis.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save(figure, "jumps")


def mirror() -> None:
    """ψ against τ for three depths."""
    figure, axes = plt.subplots(1, 2, figsize=(7, 3.2), sharey=True)
    for axis, power in zip(axes, (1e-1, 1e-3), strict=True):
        for p, line, colour in zip((2, 3, 4), LINES, COLOURS, strict=False):
            if p == 2:
                tau = np.linspace(-9, 9, 1001)
                psi = power * 2 * np.sinh(tau)
            else:
                tau = np.linspace(-1, 1, 4003)[1:-1]
                k = p / (p - 2)
                psi = power * ((1 - tau) ** -k - (1 + tau) ** -k)
            inside = np.abs(psi) < 2
            axis.plot(tau[inside], psi[inside], line, color=colour, label=f"p = {p}")
        axis.set(xlabel=r"$\tau$", title=rf"$\alpha^p = {power:g}$")
    axes[0].set(ylabel=r"$\psi = \alpha^p h_p(\tau)$")
    axes[1].legend()
    save(figure, "mirror")


def segment() -> None:
    """Where on the segment of minimisers W_p lies, and where the flow ends."""
    problem = make_problem("line")
    depths = np.array([2, 2.2, 2.5, 3, 4, 5, 6, 8, 10, 12])
    figure, axis = plt.subplots(figsize=(6.4, 3.2))
    for alpha, mark in ((0.5, "^"), (0.1, "s")):
        limits = [float(dln.flow_limit(problem, float(p), alpha).psi[2]) / 3 for p in depths]
        label = rf"limit of the flow, $\alpha = {alpha:g}$"
        axis.plot(depths, limits, mark, color=COLOURS[1], fillstyle="none", label=label)
    chosen = [float(dln.selected_minimizer(problem, float(p)).psi[2]) / 3 for p in depths]
    axis.plot(depths, chosen, "o-", color=COLOURS[0], label="$W_p$")
    axis.set(xlabel="depth p", ylabel="position t on the segment")
    axis.legend()
    save(figure, "segment")


def budget() -> None:
    """Runs on the segment problem that differ in the step size only."""
    problem = make_problem("line")
    target = dln.selected_minimizer(problem, 3).psi
    figure, axis = plt.subplots(figsize=(7, 3.4))
    for kappa, line, colour in zip((1e-2, 3e-3, 1e-3, 1e-4), LINES, COLOURS, strict=False):
        run = dln.train(problem, 3, 1e-2, kappa=kappa)
        distance = torch.linalg.vector_norm(run.trajectory.psi - target, dim=1)
        axis.semilogy(run.trajectory.t, distance, line, color=colour, label=rf"$\kappa = {kappa:g}$")
    axis.set(xlabel=r"$t = \sum\eta$", ylabel=r"$\|\psi_k - W_3\|_2$")
    axis.legend()
    save(figure, "budget")


if __name__ == "__main__":
    with plt.rc_context(STYLE):
        for picture in (jumps, mirror, segment, budget):
            picture()
