"""Durations for people."""

from __future__ import annotations

__all__ = ["format_seconds"]


def format_seconds(seconds: float) -> str:
    """A duration for people: 0.03 s, 8 s, 4 min, 3.2 h, 5 days, 300 years."""
    if seconds < 1:
        return f"{seconds:.1g} s" if seconds >= 1e-3 else "less than 1 ms"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    days = seconds / 86_400
    return f"{days:.0f} days" if days < 1000 else f"{days / 365.25:.2g} years"
