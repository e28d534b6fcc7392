"""The one temporary folder of a test session; it goes when the session's process does, even by SIGKILL."""

from pathlib import Path

from deploy.local.services import Ground

REPOSITORY = Path(__file__).resolve().parent.parent
GROUND = Ground()
