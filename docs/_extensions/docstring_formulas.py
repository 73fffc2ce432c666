"""Formulas of docstrings, which are plain text for ``help()``, with raised and lowered letters on the site.

``θ_{k+1}``, ``A_i``, ``α^{2−p}`` and ``x^p`` become subscripts and superscripts; what reStructuredText would take for its
own, as the bars of ``|ψ_i|``, is escaped; and indented paragraphs of a module's docstring are displayed formulas.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

#: Literal text, roles and strong words, which reStructuredText does not look into.
_LITERAL = re.compile(r"``.+?``|:\w+(?::\w+)*:`[^`]+`|\*\*.+?\*\*")
_LETTER = r"(?:(?<![a-z0-9_])[A-Za-z]|[^\W\d_A-Za-z])[̀-ͯ]?"  # with the hat or the bar that combines with it
_LOWERED = re.compile(
    rf"({_LETTER}|[)\]‖|₊₋±]|(?<![A-Za-z0-9_])(?:min|max))"
    r"_(\{[^{}]*\}|(?:low|ref|min|max|eff|[A-Za-zα-ω\d∞])(?![A-Za-z\d_]))"
)
_AFTER_BAR = re.compile(r"([‖)])_(\{[^{}]*\}|[A-Za-z\d∞])(?![A-Za-z\d_])")
_RAISED = re.compile(r"(?:(?<=\S)|(?<=\\ ))\^(\{[^{}]*\}|[⁻−-]?[\w+*∞](?![A-Za-z0-9_]))")
_NUMBER = re.compile(r"^(\s*)(\d+)\.(?= )")


def _role(name: str) -> Any:
    def replaced(match: re.Match[str]) -> str:
        *before, text = match.groups()
        text = text[1:-1] if text.startswith("{") else text
        return f"{''.join(before)}\\ :{name}:`{text}`\\ "

    return replaced


def _typeset(text: str) -> str:
    """A line without its literals, for reStructuredText."""
    text = text.replace("|", "\\|").replace("<=", "≤").replace(">=", "≥")
    text = re.sub(r"(?<=[\s(])\*(?=\w+[,)])", r"\\*", text)  # (*batch, n)
    text = _LOWERED.sub(_role("sub"), text)
    text = _AFTER_BAR.sub(_role("sub"), text)
    text = _RAISED.sub(_role("sup"), text)
    return re.sub(r"(?<=\w)_(?=[\s.,;:)\]]|$)", r"\\_", text)


def typeset(line: str) -> str:
    """A line of a docstring, with its literals as they are."""
    parts, end = [], 0
    for literal in _LITERAL.finditer(line):
        kept = literal.group()
        parts += [_typeset(line[end : literal.start()]), kept.replace("^p", "ᵖ") if kept.startswith("**") else kept]
        end = literal.end()
    return "".join([*parts, _typeset(line[end:])])


#: What plain words mark as code or as strong, in a docstring's way or in Markdown's.
_MARKED = re.compile(r"``(?P<code>.+?)``|:\w+(?::\w+)*:`~?(?P<name>[^`]+)`|`(?P<plain>[^`]+)`|\*\*(?P<strong>.+?)\*\*")
_IN_BRACKETS = re.compile(r"\^(\((?:[^()]|\([^()]*\))*\))")


def typeset_markdown(text: str) -> str:
    """Plain words with formulas for Markdown: other marks of its own are escaped."""
    parts, end = [], 0
    for mark in _MARKED.finditer(text):
        parts.append(_markdown(text[end : mark.start()]))
        if mark["strong"]:
            parts.append(f"**{_markdown(mark['strong'])}**")
        else:
            parts.append(f"`{mark['code'] or mark['plain'] or mark['name'].split('.')[-1]}`")
        end = mark.end()
    return "".join([*parts, _markdown(text[end:])])


def _markdown(text: str) -> str:
    for pattern, tag in ((_LOWERED, "sub"), (_AFTER_BAR, "sub"), (_RAISED, "sup"), (_IN_BRACKETS, "sup")):

        def replaced(match: re.Match[str], tag: str = tag) -> str:
            *before, inner = match.groups()
            inner = inner[1:-1] if inner[0] in "{(" else inner
            return f"{''.join(before)}\x01{tag}\x02{inner}\x01/{tag}\x02"

        text = pattern.sub(replaced, text)
    for own in "\\*_<>|[]`$":
        text = text.replace(own, f"\\{own}")
    return text.replace("\x01", "<").replace("\x02", ">")


def _is_code(lines: list[str], at: int) -> bool:
    """Whether a line belongs to a doctest: it begins with a prompt, or follows one without a blank line."""
    for line in reversed(lines[: at + 1]):
        if not line.strip():
            return False
        if line.lstrip().startswith((">>>", "...")):
            return True
    return False


def _formulas(lines: list[str]) -> list[str]:
    """Indented paragraphs of a module's docstring as lines that are kept; numbers of paragraphs that are no list."""
    bare = any(
        _NUMBER.match(line) and following.strip() and not following.startswith(" ")
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
    )
    found, inside = [], False
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            inside = False
        elif indent >= 4 and (inside or not (i and lines[i - 1].strip())):
            inside = True
            line = f"{line[:indent]}| {line.lstrip()}"
        elif bare:
            line = _NUMBER.sub(r"\1\2\\.", line)
        else:
            line = re.sub(r"^(\s*(?:\d+\. )?)\((?=\d+\))", r"\1\\(", line)
        found.append(line)
    return found


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    done = [line if _is_code(lines, i) else typeset(line) for i, line in enumerate(lines)]
    lines[:] = _formulas(_lists(done)) if what == "module" else _lists(done)
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # napoleon takes what stands before a colon of the first line for a type


def _lists(lines: list[str]) -> list[str]:
    """A blank line before a list that begins below a paragraph."""
    found: list[str] = []
    inside = False
    for line in lines:
        item = line.startswith("- ")
        if item and not inside and found and found[-1].strip():
            found.append("")
        inside = item or (inside and (not line.strip() or line.startswith(" ")))
        found.append(line)
    return found


def _find(app: Sphinx, env: Any, node: nodes.Element, content: nodes.Element) -> nodes.Element | None:
    """A reference to a public name by its home is one to its page; other modules' names stay plain text."""
    import dlntorch

    target = node.get("reftarget", "")
    name = target.lstrip("~.").split(".")
    for i, part in enumerate(name):
        if part not in dlntorch.__all__ or node.get("refdomain") != "py":
            continue
        if ".".join(name[:i]) not in ("", "dlntorch") and not hasattr(import_module("dlntorch"), part):
            continue
        domain = env.get_domain("py")
        full = ".".join(["dlntorch", part, *name[i + 1 :]])
        if full != target:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, content)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")  # whose event it is
    app.connect("autodoc-process-docstring", _process, priority=400)  # before napoleon, which takes docstrings apart
    app.connect("missing-reference", _find)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
