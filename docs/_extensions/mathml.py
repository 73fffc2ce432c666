"""Mathematics as MathML, made when the site is built: browsers typeset it without a script."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def _math(latex: str, display: str) -> str:
    """MathML in which an accent stays near its letter, and bars are neither stretched nor spaced like operators."""
    found = convert(latex, display=display)
    found = re.sub(r"<mover>(?=<mi>[^<]*</mi><mo>[^<]*</mo></mover>)", '<mover accent="true">', found)
    return re.sub(r"<mo[^>]*>(&#x02016;|&#x0007C;)</mo>", r"<mi>\1</mi>", found)


def _inline(writer: Any, node: nodes.Element) -> None:
    writer.body.append(_math(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.Element) -> None:
    writer.body.append(f'<div class="math" tabindex="0" role="group">{_math(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
