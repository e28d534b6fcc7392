"""Which code trains here; without torch, so that a worker can write it down before it starts a child."""

from __future__ import annotations

import subprocess
from pathlib import Path


def code_commit() -> str:
    """The commit of this code, "-dirty" behind it if changed since; "" where unknown.

    A release has no repository around it: `git archive` writes the commit into commit.txt.
    """
    written = Path(__file__).with_name("commit.txt").read_text().strip()
    if not written.startswith("$Format"):
        return written
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
