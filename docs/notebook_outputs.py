"""What the notebooks print and draw, kept for the site: ``python docs/notebook_outputs.py [NAME ...]`` executes them.

The notebooks are kept without outputs; the tests execute them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).resolve().parent
OUTPUTS = DOCS / "tutorials" / "outputs"


def digest(cells: list[Any]) -> str:
    """Of the code, so that outputs of another version are noticed."""
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()[:16]


def keep(file: Path) -> None:
    """Execute a notebook in an empty folder; write its texts into one file, its pictures beside it."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as empty:
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": empty}}).execute()
    found: dict[str, Any] = {"code": digest(notebook.cells)}
    for number, cell in enumerate(notebook.cells):
        for i, output in enumerate(cell.get("outputs", [])):
            found.setdefault(str(number), []).append(_kept(output, f"{file.stem}-{number}-{i}.png"))
    OUTPUTS.mkdir(exist_ok=True)
    (OUTPUTS / f"{file.stem}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def _kept(output: Any, picture: str) -> list[str]:
    """An output as ("image", name of its file) or ("text", what it says)."""
    data = output.get("data", {})
    if "image/png" in data:
        OUTPUTS.mkdir(exist_ok=True)
        (OUTPUTS / picture).write_bytes(base64.b64decode(data["image/png"]))
        return ["image", picture]
    text = data.get("text/plain", output.get("text", ""))
    return ["text", re.sub(r"/tmp/\w+/", "", text)]


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(DOCS.parent), os.environ.get("PYTHONPATH", "")])
    for path in sorted((DOCS.parent / "notebooks").glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            print(path.stem)
            keep(path)
