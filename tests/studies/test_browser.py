"""A study's page in a browser: it renders without a network and without errors; hover, legend, phone width, print."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dlntorch.cli import study_command

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
)

#: Uses the page as a reader would, and leaves what was found in the title of a new body.
PROBE = """<script>
window.errors = [];
addEventListener("error", e => errors.push(e.message));
addEventListener("load", () => setTimeout(async () => {
  const plots = [...document.querySelectorAll(".js-plotly-plot")];
  const first = plots[0];
  Plotly.Fx.hover(first, [{curveNumber: 0, pointNumber: 3}]);
  const hover = first.querySelectorAll(".hoverlayer .hovertext").length;
  const words = first.querySelector(".hoverlayer .hovertext")?.textContent ?? "";
  const toggle = first.querySelector(".legendtoggle");
  for (const kind of ["mousedown", "mouseup"]) toggle.dispatchEvent(new MouseEvent(kind, {bubbles: true}));
  await new Promise(r => setTimeout(r, 1500));
  const hidden = first.data[0].visible;
  const wide = [...document.querySelectorAll("td, th, p, h1, h2, h3, pre, figcaption, .plot svg")].filter(
    e => e.getBoundingClientRect().right > innerWidth + 0.5 && e.getBoundingClientRect().width > 0).length;
  const shownStatic = [...document.querySelectorAll("img.static")].filter(i => i.offsetWidth > 0).length;
  const found = [plots.length, plots.filter(p => p.querySelector(".main-svg").clientWidth > 200).length, hover, words,
                 hidden, document.documentElement.scrollWidth, innerWidth, wide, shownStatic, errors.join(",")];
  document.body.textContent = "MEASURED " + found.join(" | ") + " END";
}, 1500));
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium is installed: neither chromium, chromium-browser nor google-chrome is on the path")
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    assert study_command.main(["study=figure3", "study.small=true", f"folder={folder}", "workers=1"]) == 0
    return folder / "figure3" / "report.html"


def browse(chromium: str, profile: Path, *arguments: str) -> tuple[str, str]:
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, done.stderr


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_used(chromium: str, page: Path, tmp_path: Path, width: int) -> None:
    """In a frame, because a window cannot be as narrow as a phone."""
    (tmp_path / "page.html").write_text(page.read_text().replace("<body>", "<body>" + PROBE, 1))
    frame = f'<iframe id="f" style="width:{width}px;height:1500px;border:0" src="page.html"></iframe>'
    tell = (
        "<script>setInterval(() => { const t = f.contentDocument?.body?.textContent ?? '';"
        " if (t.startsWith('MEASURED')) document.title = t; }, 200)</script>"
    )
    (tmp_path / "frame.html").write_text(f"<!doctype html><meta charset=utf-8><title>-</title>{frame}{tell}")
    out, log = browse(
        chromium,
        tmp_path / "profile",
        "--allow-file-access-from-files",
        f"--window-size={max(width, 500)},1600",
        "--dump-dom",
        (tmp_path / "frame.html").as_uri(),
    )
    measured = re.search(r"<title>MEASURED (.*) END</title>", out)
    assert measured is not None
    plots, rendered, hover, words, hidden, scroll, inner, wide, static, errors = measured[1].split(" | ")
    assert (int(plots), int(rendered)) == (3, 3)
    assert int(hover) == 1
    assert "p = 2" in words
    assert hidden == "legendonly"
    assert int(inner) == width
    assert int(scroll) <= width
    assert int(wide) == 0
    assert int(static) == 0
    assert errors.strip() == ""
    assert "CONSOLE" not in log


def test_the_page_asks_for_nothing_from_elsewhere(page: Path) -> None:
    outside = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.S)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)[^"']""", outside)


def test_the_page_prints(chromium: str, page: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "page.pdf"
    browse(chromium, tmp_path / "profile", f"--print-to-pdf={pdf}", page.as_uri())
    data = pdf.read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", data))
    assert 1 <= pages <= 4
    assert len(re.findall(rb"/Subtype\s*/Image", data)) >= 1
