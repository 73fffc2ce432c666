"""Text in Hydra's grammar of overrides."""

from __future__ import annotations

import re

from hydra.core.override_parser.types import Quote, QuotedString

__all__ = ["quoted"]


def quoted(text: str) -> str:
    """The text as Hydra and OmegaConf read it back, whatever is in it."""
    # OmegaConf looks for ${, which a backslash takes for what it is, and then halves the backslashes before it
    literal = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", text)
    return QuotedString(text=literal, quote=Quote.single).with_quotes()
