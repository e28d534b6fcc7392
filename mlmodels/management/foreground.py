"""Train in the foreground of a command, which keeps the run, its lease and its child, and needs no torch for it."""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from mlmodels import datasets, training_runs
from mlmodels.datasets import Dataset
from mlmodels.management.progress import ProgressLine
from mlmodels.models import DatasetSnapshot, Evaluation, TrainingRun, VersionCheck
from mlmodels.training_runs.child import environment
from serving_site.jobs import worker
from serving_site.jobs.kinds import KINDS


class NoData(Exception):
    """A recipe has not brought its data; the message is its sentence."""


def own_data(recipes: Sequence[str]) -> list[Dataset]:
    """The data that recipes bring, read by a child that is told no more than one that trains. Raises NoData."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call = [sys.executable, "-m", "mlmodels.training", "--own-data", *recipes, "--out", name]
        done = subprocess.run(call, env=environment(folder), stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise NoData(_complaint(done.stdout) or f"Reading the data ended with status {done.returncode}.")
        return [_read(folder / f"{recipe}.csv", folder / f"{recipe}.json") for recipe in recipes]


def _complaint(said: str) -> str:
    """The sentence of its last line: {"error": "…"}."""
    try:
        return str(json.loads(said.splitlines()[-1]).get("error", ""))
    except (ValueError, IndexError, AttributeError):
        return ""


def _read(data: Path, schema: Path) -> Dataset:
    with data.open(encoding="utf-8", newline="") as file:
        return datasets.read_csv(file, json.loads(schema.read_bytes()))


def train(snapshot: DatasetSnapshot, line: ProgressLine, **asked: Any) -> TrainingRun:
    """Train on a snapshot of a model, as training_runs.run_here does, telling `line`; the run, as it ended.

    Raises CommandError where nothing can be trained now.
    """
    try:
        with contextlib.closing(line):
            return training_runs.run_here(snapshot.model, snapshot, by=None, progress=line, **asked)
    except (training_runs.Busy, training_runs.CannotTrain) as error:
        raise CommandError(str(error)) from None


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let a SIGTERM end what runs as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def own_worker() -> Iterator[None]:
    """Where the site itself is the worker and may not run now, this command does what its version waits for."""
    if not settings.EMBEDDED:
        yield
        return
    own = worker.WorkerProcess(slots=1, kinds=[KINDS[VersionCheck], KINDS[Evaluation]])
    own.start()
    try:
        yield
    finally:
        own.stop(timeout_s=10)
