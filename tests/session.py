"""The one temporary folder of a test process; it goes when the process does, even by SIGKILL."""

import os
import tempfile
from pathlib import Path

from deploy.local.ground import Ground

REPOSITORY = Path(__file__).resolve().parent.parent

# A process that shares the tests with others inherits their folder; its own stands beside it, not deeper: the names of
# sockets are short.
tempfile.tempdir = os.environ.setdefault("TESTS_TMPDIR", tempfile.gettempdir())
GROUND = Ground()

# Libraries and browsers leave things in the temporary folder; here they go with the rest.
_temporary = GROUND.directory / "tmp"
_temporary.mkdir()
os.environ["TMPDIR"] = tempfile.tempdir = str(_temporary)
