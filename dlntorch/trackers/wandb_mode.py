"""Whether W&B is to be online, offline or disabled: the run's setting, W&B's own switches, and whether a key is there.

W&B's switches are the environment's ``WANDB_MODE`` and ``WANDB_DISABLED``, and the files that ``wandb offline`` and
``wandb disabled`` write. They are read here, not asked of W&B, which takes seconds to import.
"""

from __future__ import annotations

import configparser
import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dlntorch.numerics.validation import InputError

__all__ = ["has_wandb_key", "prepared_wandb_mode", "wandb_mode"]

#: What the values of W&B's ``mode`` mean.
_MODES = {
    "online": "online", "run": "online", "shared": "online", "offline": "offline", "dryrun": "offline",
    "disabled": "disabled",
}  # fmt: skip


def wandb_mode(offline: Any) -> str:
    """``online``, ``offline`` or ``disabled``.

    Args:
        offline: The setting ``logger.offline``. With ``auto`` W&B's switches decide, and it is offline where no key is.
            ``True`` is offline, ``False`` insists on being online; W&B's ``disabled`` holds for all but ``False``.

    Raises:
        InputError: for another value, for ``False`` without a key or against W&B's switches, and for an unknown
            ``WANDB_MODE``.
    """
    if offline not in ("auto", True, False):
        raise InputError(f"logger.offline must be auto, true or false, got {offline!r}")
    mode, where = _switched()
    if offline is False:
        if mode in ("offline", "disabled"):
            raise InputError(f"logger.offline must be auto or true where {where} says {mode}, got False")
        if not has_wandb_key():
            raise InputError(
                "logger.offline must be auto or true where no W&B API key is (run `wandb login`), got False"
            )
        return "online"
    if mode == "disabled":
        return mode
    return "online" if offline == "auto" and mode != "offline" and has_wandb_key() else "offline"


def prepared_wandb_mode(offline: Any) -> str:
    """:func:`wandb_mode`, before W&B is imported: offline it sends nothing, its reports about itself included."""
    mode = wandb_mode(offline)
    if mode != "online":
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # else an offline run posts how it was made to W&B's servers
    return mode


def has_wandb_key() -> bool:
    """Whether a W&B API key is there: in the environment or in the netrc file (its value is never read out)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = os.environ.get("WANDB_BASE_URL") or _settings_files().get("base_url", ("https://api.wandb.ai", ""))[0]
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(server).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _switched() -> tuple[str | None, str]:
    """What W&B's switches ask for, None where they ask for nothing, and which of them it is."""
    if os.environ.get("WANDB_DISABLED", "").strip().lower() in ("1", "true", "yes", "y", "on", "t"):
        return "disabled", "WANDB_DISABLED"
    named = {"mode": (os.environ["WANDB_MODE"], "WANDB_MODE")} if os.environ.get("WANDB_MODE") else _settings_files()
    if "mode" not in named:
        return None, ""
    value, where = named["mode"]
    if value not in _MODES:
        raise InputError(f"{where} must be online, offline or disabled, got {value!r}")
    return _MODES[value], where


def _settings_files() -> dict[str, tuple[str, str]]:
    """Each setting of W&B's files with the file that says so: the user's, and the working folder's, which goes first."""
    user = Path(os.environ.get("WANDB_CONFIG_DIR") or Path("~") / ".config" / "wandb")
    here = Path(os.environ.get("WANDB_DIR") or ".")
    here = here / (".wandb" if (here / ".wandb").exists() else "wandb")
    found: dict[str, tuple[str, str]] = {}
    for folder in (user, here):
        file = _expanded(folder) / "settings"
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, UnicodeDecodeError, configparser.Error):
            continue  # W&B skips it too, and says so
        if parser.has_section("default"):
            found.update({key: (value, str(file)) for key, value in parser.items("default")})
    return found


def _expanded(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError:  # no home
        return folder
