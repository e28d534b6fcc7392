"""Which code trained a version: known in a clone, and in a release that has no repository around it."""

import subprocess
import sys
from pathlib import Path

from mlmodels.training.commit import code_commit
from tests.session import REPOSITORY


def test_a_clone_knows_its_commit_and_an_archive_of_it_too(tmp_path: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    assert code_commit().removesuffix("-dirty") == commit
    archive = subprocess.run(["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], input=archive.stdout, cwd=tmp_path, check=True)
    ask = "from mlmodels.training.commit import code_commit; print(code_commit())"
    done = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == commit
