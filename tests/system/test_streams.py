"""What is printed never ends what is computed: full disks, pipes without a reader, closed streams, other encodings."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from dlntorch.system.streams import unfailing_streams
from tests.run.conftest import QUICK, ROOT


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [Full, closed, lambda: None], ids=["full", "closed", "none"])
def test_what_cannot_be_written_is_lost_and_said_once(monkeypatch, make):
    err = io.StringIO()
    monkeypatch.setattr(sys, "stdout", make())
    monkeypatch.setattr(sys, "stderr", err)
    with unfailing_streams():
        for _ in range(3):
            print("ψ", flush=True)
        sys.stdout.writelines(["a", "b"])
    lines = err.getvalue().splitlines()
    assert len(lines) == (0 if make is not Full and make is not closed else 1)
    assert all(line.startswith("warning: what is printed is lost from here on (") for line in lines)


def test_letters_that_the_encoding_lacks_are_spelled(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with unfailing_streams():
        print("‖ψ‖ = 3")
        assert sys.stdout.encoding == "ascii"  # asked for by what draws tables
    assert raw.getvalue() == rb"\u2016\u03c8\u2016 = 3" + b"\n"


def test_streams_are_as_before_afterwards_also_inside_one_another(monkeypatch):
    before = sys.stdout, sys.stderr
    with unfailing_streams():
        inner = sys.stdout
        with unfailing_streams():
            assert sys.stdout is inner
        assert sys.stdout is inner
    assert (sys.stdout, sys.stderr) == before


#: How a shell starts a command whose output goes nowhere.
ENDS = {
    "full disk": "exec {} >/dev/full",
    "full disk for both": "exec {} >/dev/full 2>&1",
    "closed": "exec {} >&-",
    "closed both": "exec {} >&- 2>&-",
    "ascii": "PYTHONIOENCODING=ascii exec {}",
    "latin-1": "PYTHONIOENCODING=latin-1 exec {}",
    "no reader": "( {}; echo $? >'$OUT/status' ) | true; exit $(cat '$OUT/status')",
}


@pytest.mark.slow
@pytest.mark.parametrize(("end", "sweep"), [*((end, False) for end in ENDS), ("full disk", True), ("no reader", True)])
def test_a_run_is_finished_whatever_becomes_of_its_output(tmp_path, end, sweep):
    words = [*QUICK, "logger=none", f"hydra.run.dir={tmp_path}/run", f"hydra.sweep.dir={tmp_path}"]
    command = " ".join([sys.executable, "train.py", *(["-m"] if sweep else []), "alpha=0.1", *words])
    line = ENDS[end].replace("{}", command).replace("$OUT", str(tmp_path))
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*/summary.json")
    assert json.loads(file.read_text())["status"] == "max_steps"
    assert b"defect" not in done.stderr
    assert not (tmp_path / "failed").exists()
    if end == "full disk":
        assert done.stderr.count(b"warning: what is printed is lost from here on (No space left on device)") == 1


@pytest.mark.slow
def test_a_study_is_finished_whatever_becomes_of_its_output(tmp_path):
    for line in ("{} >/dev/full", "PYTHONIOENCODING=ascii {}"):
        command = f"{sys.executable} -m dlntorch study=figure2 study.small=true folder={tmp_path} workers=1"
        done = subprocess.run(
            ["bash", "-c", line.format(command)], cwd=ROOT, capture_output=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "figure2" / "report.html").is_file(), os.listdir(tmp_path)
