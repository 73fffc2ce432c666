"""The page in a browser: no sideways scrolling on a phone, every picture decoded, a clean print."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dlntorch.report import write_run_report
from dlntorch.report.ensemble import render_ensemble_page
from dlntorch.report.sweep import write_sweep_report
from dlntorch.run.ensemble_result import EnsembleResult, ensemble_summary
from dlntorch.sweep.points import write_failure
from tests.report.cases import made_up_run

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
)

#: Shows a page in frames of given widths (a browser window cannot be as narrow as a phone) and measures it there.
MEASURE = """<!doctype html><meta charset="utf-8">
{frames}
<script>
onload = () => {{
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument, root = page.documentElement;
    const outside = [...page.querySelectorAll("td, th, p, h1, h2, img, pre, figcaption")].filter(
      e => e.getBoundingClientRect().right > frame.clientWidth + 0.5 || e.getBoundingClientRect().left < -0.5);
    const decoded = [...page.images].filter(i => i.complete && i.naturalWidth > 600).length;
    const dark = getComputedStyle(page.body).color + " on " + getComputedStyle(page.body).backgroundColor;
    return [frame.clientWidth, root.scrollWidth, outside.length, decoded, page.title, dark].join("|");
  }});
  document.body.textContent = "MEASURED " + found.join(" ; ") + " END";
}};
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("no Chromium is installed: neither chromium, chromium-browser nor google-chrome is on the path")
    return found


def browse(chromium: str, profile: Path, *arguments: str) -> str:
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.parametrize("name", ["made up", "<b>" + "long_name_without_a_break" * 8])
def test_the_page_fits_phone_and_desk_and_needs_no_network(chromium: str, tmp_path: Path, name: str) -> None:
    result = made_up_run(tmp_path, name=name, truth=True)
    result.summary["signatures"] = ["x" * 200]
    result.config["path"] = "/a/very/long/path/" * 20
    write_run_report(result)
    page = html.escape((tmp_path / "report.html").read_text(encoding="utf-8"), quote=True)
    widths = (320, 390, 800, 1280)
    frames = "".join(f'<iframe style="width:{w}px;height:900px;border:0" srcdoc="{page}"></iframe>' for w in widths)
    (tmp_path / "measure.html").write_text(MEASURE.format(frames=frames), encoding="utf-8")
    dumped = browse(chromium, tmp_path / "profile", "--dump-dom", (tmp_path / "measure.html").as_uri())
    measured = re.search(r"MEASURED (.*) END", dumped)
    assert measured is not None
    rows = [row.split("|") for row in html.unescape(measured[1]).split(" ; ")]
    assert len(rows) == len(widths)
    for width, (client, scroll, outside, decoded, title, colours) in zip(widths, rows, strict=True):
        assert int(client) <= width
        assert int(scroll) <= int(client), width
        assert int(outside) == 0, width
        assert int(decoded) == 5
        assert title.startswith("dlntorch: ")
        assert colours == "rgb(26, 26, 26) on rgb(255, 255, 255)"


#: Counts cells that stick out of a page shown at given widths, or whose content is cut or hidden behind a scroll bar.
HIDDEN = """<!doctype html><meta charset="utf-8">
{frames}
<script>
onload = () => {{
  const found = [...document.querySelectorAll("iframe")].map(frame => {{
    const page = frame.contentDocument, wide = frame.clientWidth, root = page.documentElement;
    const hidden = [...page.querySelectorAll("td, table.numbers th, table.numbers, section.rows")].filter(e => {{
      const box = e.getBoundingClientRect();
      return box.right > wide + 0.5 || box.left < -0.5 || e.scrollWidth > e.clientWidth + 1;
    }});
    const broken = [...page.querySelectorAll("table.numbers td.number")].filter(e => {{
      const range = page.createRange();
      range.selectNodeContents(e);
      return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1;
    }});
    const first = hidden.length ? hidden[0].tagName + " " + hidden[0].textContent.slice(0, 40) : "none";
    return [wide, root.scrollWidth, first, broken.length, page.querySelectorAll("td.number").length].join("|");
  }});
  document.body.textContent = "MEASURED " + found.join(" ; ") + " END";
}};
</script>"""


def ensemble_page(folder: Path) -> str:
    networks = []
    for i in range(4):
        run = made_up_run(None, truth=True, name="a problem with a long name")
        run.summary.update(p=2 + i // 2, alpha=10.0**-i, seed=i, steps=10_000_000_000 + i, residual=-1.234e-101)
        run.summary.update({key: -1.234e-101 for key in run.summary if key.startswith(("distance", "l1_gap"))})
        run.summary["budget"].update(discretization=-1.23e-101, finite_time=4.56e-102, initialization=7.89e-103)
        networks.append(run)
    result = EnsembleResult(tuple(networks), ensemble_summary(networks, 3.2, 2))
    return render_ensemble_page(result, {})


def sweep_page(folder: Path) -> str:
    lines = []
    for i in range(3):
        point = folder / f"problem-p3-alpha0.0{i}-seed0-0123456789"
        point.mkdir(parents=True)
        (point / "config.yaml").write_text("{}")
        summary = made_up_run(None).summary
        summary.update(residual=-1.234e-101, steps=10_000_000_000, distance_to_selected=1.234e-101)
        (point / "summary.json").write_text(json.dumps(summary))
        lines.append(point.name)
    (folder / lines[0] / "summary.json").unlink()
    write_failure(folder / lines[0], 1, "a long reason " * 20)
    write_sweep_report(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [ensemble_page, sweep_page])
def test_no_number_of_many_is_cut_broken_or_behind_a_scroll_bar(chromium: str, tmp_path: Path, make: Any) -> None:
    page = html.escape(make(tmp_path / "results"), quote=True)
    widths = (320, 400, 560, 800, 1000, 1200, 1920)
    frames = "".join(f'<iframe style="width:{w}px;height:900px;border:0" srcdoc="{page}"></iframe>' for w in widths)
    (tmp_path / "measure.html").write_text(HIDDEN.format(frames=frames), encoding="utf-8")
    dumped = browse(chromium, tmp_path / "profile", "--dump-dom", (tmp_path / "measure.html").as_uri())
    measured = re.search(r"MEASURED (.*) END", dumped)
    assert measured is not None
    for found in html.unescape(measured[1]).split(" ; "):
        wide, scrolled, hidden, broken, numbers = found.split("|")
        assert hidden == "none", found
        assert int(scrolled) <= int(wide), found
        assert broken == "0", found
        assert int(numbers) > 8


def test_the_page_prints(chromium: str, tmp_path: Path) -> None:
    write_run_report(made_up_run(tmp_path))
    pdf = tmp_path / "page.pdf"
    browse(chromium, tmp_path / "profile", f"--print-to-pdf={pdf}", (tmp_path / "report.html").as_uri())
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", data))
    assert 4 <= pages <= 8
    assert len(re.findall(rb"/Subtype\s*/Image", data)) >= 5
