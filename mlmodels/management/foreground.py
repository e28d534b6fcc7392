"""Train in the foreground of a command: a child of its own, so that this process needs no torch."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from mlmodels import artifacts, datasets, evaluations, registry, releases, snapshots
from mlmodels.datasets import Dataset
from mlmodels.management.base import await_check, report_or_error
from mlmodels.models import DatasetSnapshot, Evaluation, MLModel, ModelVersion, Purpose, State, VersionCheck
from serving_site.accounts.models import User
from serving_site.jobs import worker
from serving_site.jobs.kinds import KINDS

EVALUATION_S = 600.0


class TrainingFailed(Exception):
    """The child gave no version; the message is its sentence."""


def own_data(recipes: Sequence[str]) -> list[Dataset]:
    """The data that recipes bring. Raises TrainingFailed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(["--own-data", *recipes, "--out", name], lambda _: None)
        return [_read(folder / f"{recipe}.csv", folder / f"{recipe}.json") for recipe in recipes]


def _read(data: Path, schema: Path) -> Dataset:
    with data.open(encoding="utf-8", newline="") as file:
        return datasets.read_csv(file, json.loads(schema.read_bytes()))


def train(
    model: MLModel,
    snapshot: DatasetSnapshot,
    *,
    by: User | None,
    seed: int = 0,
    epochs: int | None = None,
    progress: Callable[[dict[str, Any]], None],
) -> ModelVersion:
    """Train on a snapshot's rows, which are not those held out, and register the version. Raises TrainingFailed."""
    with tempfile.TemporaryDirectory() as name:
        data, schema, out = (Path(name) / part for part in ("train.csv", "schema.json", "out"))
        with snapshots.open_train(snapshot) as source:
            data.write_bytes(source.read())
        schema.write_text(json.dumps(snapshot.schema))
        call = ["--data", str(data), "--schema", str(schema), "--out", str(out), "--seed", str(seed)]
        run(call + (["--epochs", str(epochs)] if epochs else []), progress)
        return registry.register(artifacts.take_folder(out), by=by, model=model, snapshot=snapshot)


def run(arguments: list[str], progress: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run the training child; what it said last. Raises TrainingFailed."""
    environment = {**os.environ, "PYTHONPATH": str(settings.BASE_DIR)}
    call = [sys.executable, "-m", "mlmodels.training", *arguments]
    last: dict[str, Any] = {}
    with subprocess.Popen(call, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            for line in child.stdout or ():
                last = json.loads(line)
                progress(last)
        except BaseException:
            child.kill()
            raise
    if child.returncode or "done" not in last:
        raise TrainingFailed(last.get("error") or f"The training ended with status {child.returncode}.")
    return last


def admit(version: ModelVersion, *, promote: bool, reason: str) -> Evaluation:
    """See a trained version checked, measured on the rows held out and, if asked, released; what was measured.

    Raises CommandError where a worker refuses it, does not come, or the gate does not let it pass.
    """
    checked = await_check(version)
    if checked.state != State.HEALTHY:
        raise CommandError(f"{checked} is {checked.state}: {checked.state_reason}")
    measured = report_or_error(evaluations.submit(checked, purpose=Purpose.EVALUATE, by=None), EVALUATION_S)
    if promote:
        try:
            releases.promote(checked.model, checked, by=None, reason=reason, warm_s=0)
        except (releases.NotReleasable, releases.LostRace) as error:
            raise CommandError(str(error)) from None
    version.refresh_from_db()
    return measured


@contextmanager
def own_worker() -> Iterator[None]:
    """Where the site itself is the worker and may not run now, this command does what its version waits for.

    It says nothing of that: its log would stand between the lines of somebody's terminal.
    """
    if not settings.EMBEDDED:
        yield
        return
    own = worker.WorkerProcess(slots=1, kinds=[KINDS[VersionCheck], KINDS[Evaluation]])
    logging.disable(logging.INFO)
    own.start()
    try:
        yield
    finally:
        own.stop(timeout_s=10)
        logging.disable(logging.NOTSET)


def whole(least: int) -> Callable[[str], int]:
    """A type of argument: a whole number from `least` to what a seed can be."""

    def whole_number(text: str) -> int:
        number = int(text)
        if not least <= number < 2**32:
            raise ValueError
        return number

    return whole_number
