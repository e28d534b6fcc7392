"""The one temporary folder of a test session; it goes when the session's process does, even by SIGKILL."""

import os
import tempfile
from pathlib import Path

from deploy.local.ground import Ground

REPOSITORY = Path(__file__).resolve().parent.parent
GROUND = Ground()

# Libraries and browsers leave things in the temporary folder; here they go with the rest.
_temporary = GROUND.directory / "tmp"
_temporary.mkdir()
os.environ["TMPDIR"] = tempfile.tempdir = str(_temporary)
