"""`manage.py retrain SLUG`: a new version of a model from its data, here or by a worker."""

import contextlib
import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mlmodels import datasets, snapshots, training_runs
from mlmodels.datasets.known import read_known
from mlmodels.management import foreground
from mlmodels.management.base import Command as Base
from mlmodels.management.base import model_or_error
from mlmodels.management.progress import ProgressLine
from mlmodels.models import DatasetSnapshot, MLModel, Promote, TrainingRun
from mlmodels.training.arguments import whole
from serving_site.jobs import sweep, wait
from serving_site.jobs.kinds import KINDS
from serving_site.jobs.models import Status

LOOK_S = 0.5
UNHEARD_S = 15.0


class Command(Base):
    help = (
        "Train a model again, by its own recipe, and have a worker check and measure the new version.\n\n"
        "Examples:\n  manage.py retrain digits\n"
        "  manage.py retrain digits --seed 7 --promote if-better --reason 'another seed'\n"
        "  manage.py retrain wines --data wines-2027.csv --promote always\n"
        "  manage.py retrain digits --queue --no-wait\n  manage.py retrain digits --cancel"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument(
            "--data", type=Path, metavar="FILE", help="a CSV with the model's columns (its newest data)"
        )
        parser.add_argument("--no-header", action="store_true", help="the file's columns have no names: c1, c2, …")
        parser.add_argument("--epochs", type=whole(1), metavar="N", help="the most epochs of one fit (the recipe's)")
        parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="same seed, same weights (0)")
        parser.add_argument("--promote", choices=Promote.values, default=Promote.NEVER, help="release it (%(default)s)")
        parser.add_argument("--reason", default="", help="why, kept with the run and the release")
        parser.add_argument("--queue", action="store_true", help="let a worker train, and follow it")
        parser.add_argument("--no-wait", action="store_true", help="with --queue: do not follow it")
        parser.add_argument("--cancel", action="store_true", help="stop the model's queued or running training instead")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, slug: str, **options: Any) -> None:
        model = model_or_error(slug)
        if options["no_wait"] and not options["queue"]:
            raise CommandError("--no-wait goes with --queue: a training in the foreground is waited for.")
        if options["cancel"]:
            self._cancel(model)
            return
        asked = {name: options[name] for name in ("seed", "epochs", "promote", "reason")}
        snapshot = self._snapshot(model, options["data"], has_header=not options["no_header"])
        try:
            if options["queue"]:
                run = self._queue(model, snapshot, asked, follow=not options["no_wait"])
            else:
                run = self._train(snapshot, asked)
        except (training_runs.Busy, training_runs.CannotTrain) as error:
            raise CommandError(str(error)) from None
        self._conclude(run, as_json=options["json"])

    def _snapshot(self, model: MLModel, data: Path | None, *, has_header: bool) -> DatasetSnapshot:
        newest = model.snapshots.order_by("-id").first()
        if newest is None:
            raise CommandError(
                f"No data of {model} is known here: its versions were imported. Train it where they come from and "
                "import_version the result, or make a model of a table: manage.py create_model."
            )
        if data is None:
            return newest
        try:
            dataset, extra = read_known(data, newest.schema, header=has_header)
            if extra:
                self.say(f"Left out, because {model} does not know them: {', '.join(extra)}.")
            return snapshots.take(model, dataset, by=None)
        except datasets.BadData as error:
            raise CommandError(f"{data.name}: {error}") from None
        except OSError as error:
            raise CommandError(f"{data} cannot be read: {error.strerror or error}.") from None

    def _train(self, snapshot: DatasetSnapshot, asked: dict[str, Any]) -> TrainingRun:
        try:
            with foreground.terminated_as_interrupted(), foreground.own_worker():
                return foreground.train(snapshot, ProgressLine(self.stderr), **asked)
        except KeyboardInterrupt:
            raise CommandError("Stopped: the run is canceled and nothing of it is kept.", returncode=130) from None

    def _queue(self, model: MLModel, snapshot: DatasetSnapshot, asked: dict[str, Any], *, follow: bool) -> TrainingRun:
        run = training_runs.submit(model, snapshot, by=None, **asked)
        if follow:
            with contextlib.closing(ProgressLine(self.stderr)) as line:
                try:
                    self._follow(run, line)
                except KeyboardInterrupt:
                    line.close()
                    stop = f"Stop it: manage.py retrain {model} --cancel"
                    raise CommandError(f"The run goes on without you. {stop}", returncode=130) from None
        run.refresh_from_db()
        return run

    def _follow(self, run: TrainingRun, line: ProgressLine) -> None:
        warned, waited_s = False, 0.0
        while not wait.wait_for(TrainingRun, run.pk, LOOK_S):
            run.refresh_from_db()
            line(run.progress if run.status == Status.RUNNING else {"stage": "queued"})
            waited_s += LOOK_S
            if not warned and run.status == Status.QUEUED and waited_s > UNHEARD_S:
                warned = True
                if not sweep.live_slots(KINDS[TrainingRun]):
                    line.close()
                    self.say("No worker is alive. Start one (manage.py runworker, or the site where it is embedded).")

    def _cancel(self, model: MLModel) -> None:
        run = training_runs.current(model)
        if run is None or not training_runs.cancel(run, by=None):
            raise CommandError(f"No training of {model} is queued or running.")
        self.say(f"The training of {model} is canceled.")

    def _conclude(self, run: TrainingRun, *, as_json: bool) -> None:
        """Say what became of it. Raises CommandError where that is not what was asked for."""
        waits = f"The training of {run.model} is {run.status} as {run.pk}."
        outcome = run.outcome or run.error or waits
        version = run.version
        if as_json:
            answer = {
                "slug": run.model.slug,
                "version": version.number if version else None,
                "metrics": version.metrics if version else {},
                "weights_sha256": run.weights_sha256,
                "outcome": outcome,
                "run": str(run.pk),
                "status": run.status,
            }
            self.stdout.write(json.dumps(answer))
        if run.status in (Status.FAILED, Status.CANCELED):
            raise CommandError(outcome)
        if run.status == Status.SUCCEEDED and run.promote == Promote.ALWAYS and not _is_live(run):
            raise CommandError(outcome)
        if not as_json:
            self.stdout.write(outcome)


def _is_live(run: TrainingRun) -> bool:
    live = MLModel.objects.select_related("live_release__version").get(pk=run.model_id).live_version
    return live is not None and live.pk == run.version_id
