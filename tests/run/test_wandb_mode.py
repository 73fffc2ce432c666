"""W&B's own switches are obeyed, and offline means that no request leaves the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import dlntorch as dln
from dlntorch.trackers.loggers import check_logger, make_logger
from dlntorch.trackers.wandb_mode import has_wandb_key, wandb_mode
from tests.run.conftest import ROOT

KEY = "a" * 40


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)


def settings(folder: str, **values: str) -> None:
    Path(folder).mkdir(exist_ok=True)
    lines = [f"{name} = {value}" for name, value in values.items()]
    Path(folder, "settings").write_text("\n".join(["[default]", *lines, ""]))


@pytest.mark.parametrize(
    ("environment", "here", "user", "auto", "true"),
    [
        ({}, None, None, "online", "offline"),
        ({"WANDB_MODE": "online"}, "offline", None, "online", "offline"),
        ({"WANDB_MODE": "offline"}, None, None, "offline", "offline"),
        ({"WANDB_MODE": "dryrun"}, None, None, "offline", "offline"),
        ({"WANDB_MODE": "disabled"}, None, None, "disabled", "disabled"),
        ({"WANDB_DISABLED": "true"}, None, None, "disabled", "disabled"),
        ({"WANDB_DISABLED": "1", "WANDB_MODE": "online"}, None, None, "disabled", "disabled"),
        ({"WANDB_DISABLED": "false"}, None, None, "online", "offline"),
        ({}, "offline", None, "offline", "offline"),  # `wandb offline`
        ({}, "disabled", None, "disabled", "disabled"),  # `wandb disabled`
        ({}, None, "offline", "offline", "offline"),
        ({}, "online", "offline", "online", "offline"),  # the working folder's file goes first
    ],
)
def test_wandbs_own_switches_decide_where_a_key_is(monkeypatch, environment, here, user, auto, true):
    for name, value in {"WANDB_API_KEY": KEY, **environment}.items():
        monkeypatch.setenv(name, value)
    if here is not None:
        settings("wandb", mode=here)
    if user is not None:
        settings("user", mode=user)
    assert wandb_mode("auto") == auto
    assert wandb_mode(True) == true
    if auto == "online":
        assert wandb_mode(False) == "online"
    else:
        with pytest.raises(
            dln.InputError, match=f"logger.offline must be auto or true where .* says {auto}, got False"
        ):
            wandb_mode(False)
    monkeypatch.delenv("WANDB_API_KEY")
    assert wandb_mode("auto") == ("disabled" if auto == "disabled" else "offline")


def test_settings_of_another_wandb_folder_are_found_where_wandb_finds_them(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    (tmp_path / "other").mkdir()
    settings("other/wandb", mode="offline")
    assert wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "other"))
    assert wandb_mode("auto") == "offline"


def test_a_settings_file_that_nobody_can_read_switches_nothing(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    Path("wandb").mkdir()
    Path("wandb", "settings").write_bytes(b"\xff\xfe no section")
    assert wandb_mode("auto") == "online"


def test_the_key_is_looked_for_at_the_server_that_the_settings_name():
    Path("netrc").write_text(f"machine own.example login user password {KEY}\n")
    assert not has_wandb_key()
    settings("wandb", base_url="https://own.example")
    assert has_wandb_key()


def test_an_unknown_mode_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "dry")
    with pytest.raises(dln.InputError, match="WANDB_MODE must be online, offline or disabled, got 'dry'"):
        check_logger({"name": "wandb", "offline": "auto", "timeout": 60})


def test_a_disabled_wandb_is_no_logger_and_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    config = {"name": "wandb", "offline": "auto", "timeout": 60}
    assert make_logger(config, tmp_path / "run", {}) is None
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("switch", [{}, {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}], ids=["no key", "switched"])
def test_an_offline_run_makes_no_request(tmp_path, switch):
    """W&B's two programs, Python's and Go's, both go where the proxy variables send them: here, into a trap."""
    knocked = []

    def answer(trap: socket.socket) -> None:
        while True:
            try:
                visitor, _ = trap.accept()
            except OSError:
                return
            knocked.append(visitor.recv(200))
            visitor.close()

    script = (
        "import sys; from pathlib import Path; from dlntorch.trackers.loggers import finish_logger, make_logger\n"
        "config = dict(name='wandb', offline='auto', timeout=60, project='p', entity=None, group=None, run_name=None,"
        " run_id=None, tags=[])\n"
        "logger = make_logger(config, Path(sys.argv[1]), {})\n"
        "logger.log_metrics({'step': 1.0, 'residual': 0.5}, step=1)\n"
        "finish_logger(logger, {}, {}, 0)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as trap:
        threading.Thread(target=answer, args=(trap,), daemon=True).start()
        proxy = f"http://127.0.0.1:{trap.getsockname()[1]}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"), proxy)
        environment = {**os.environ, **proxies, "NO_PROXY": "", "no_proxy": "", **switch}
        environment["PYTHONPATH"] = str(ROOT)
        words = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "run")]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert knocked == []
