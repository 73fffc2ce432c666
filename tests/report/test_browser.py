"""The page in a browser: no sideways scrolling on a phone, every picture decoded, a clean print."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dlntorch.report import write_run_report
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


def test_the_page_prints(chromium: str, tmp_path: Path) -> None:
    write_run_report(made_up_run(tmp_path))
    pdf = tmp_path / "page.pdf"
    browse(chromium, tmp_path / "profile", f"--print-to-pdf={pdf}", (tmp_path / "report.html").as_uri())
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", data))
    assert 4 <= pages <= 8
    assert len(re.findall(rb"/Subtype\s*/Image", data)) >= 5
