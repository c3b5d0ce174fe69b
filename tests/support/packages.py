"""Runs Python without some of the installed packages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import openssl_tickets

TIMEOUT = 60.0  # seconds; only a program that hangs takes this long


class Packages:
    """
    A folder with links to all installed packages, and to this one.

    If a test changes the folder, that affects only the programs of this test.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "packages"
        self.folder.mkdir()
        (self.folder / "openssl_tickets").symlink_to(Path(openssl_tickets.__file__).parent)
        for place in map(Path, sys.path):
            if place.name in ("site-packages", "dist-packages") and place.is_dir():
                for entry in place.iterdir():
                    link = self.folder / entry.name
                    if not link.exists() and entry.name != "__pycache__":
                        link.symlink_to(entry)

    def remove(self, *names: str) -> Packages:
        """Removes the packages with these names, and pip's metadata about them."""
        for entry in list(self.folder.iterdir()):
            if entry.name.lower().partition("-")[0] in names:
                entry.unlink()
        return self

    def python(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs Python with only these packages."""
        return subprocess.run(
            [sys.executable, "-S", *arguments],
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            cwd=cwd or self.folder.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
