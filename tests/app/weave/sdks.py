"""The real Weave SDKs, each installed once per checkout in a separate environment."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.installation import PythonInstallation

VERSIONS: Final = ("0.52.10", "0.54.0")
"""Versions of the SDK: the one that the reference describes, and the newest, to be raised after each release."""

NEWEST: Final = VERSIONS[-1]
PICTURES: Final = "pillow"


class Sdk(PythonInstallation):
    """One version of the SDK in its own environment."""

    def __init__(self, version: str) -> None:
        super().__init__(f"weave-{version}", "sdks", f"weave=={version}", PICTURES)
        self.version = version

    def start(self, program: Sequence[str | Path], url: str, folder: Path) -> "subprocess.Popen[str]":
        """Start a program with the server's address in three variables, and with a private cache and home."""
        settings = {
            "WANDB_BASE_URL": url,
            "WF_TRACE_SERVER_URL": url,
            "WANDB_API_KEY": "k" * 40,
            "WEAVE_SERVER_CACHE_DIR": str(folder / "cache"),
            "HOME": str(folder),
        }
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "WEAVE", "WF_"))
        }
        return subprocess.Popen(
            [str(self.bin / "python"), *map(str, program)],
            cwd=folder,
            env={**inherited, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


SDKS: Final = {version: Sdk(version) for version in VERSIONS}
