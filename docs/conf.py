"""The documentation site: ``python -m sphinx -W --keep-going -b html docs docs/_build/html``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_extensions")]

from dlntorch import __version__  # noqa: E402

project = "dlntorch"
author = "The dlntorch developers"
copyright = "2026, the dlntorch developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "docstring_formulas",
    "mathml",
    "generated_pages",
    "whole_links",
]
exclude_patterns = ["_build", "_extensions", "_templates", "README.md", "generated/summary_keys.md"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings name the types that matter
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False

smartquotes = False  # they would turn primes of formulas into quotation marks

html_theme = "furo"
html_title = f"dlntorch {version}"
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": False, "top_of_page_buttons": []}
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
