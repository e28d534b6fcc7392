"""`manage.py setup_demo`: train, check and release the three demo models, each only once."""

import json
import time
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mlmodels import creation, registry, snapshots
from mlmodels.datasets import Dataset
from mlmodels.management import foreground
from mlmodels.management.base import Command as Base
from mlmodels.management.progress import ProgressLine
from mlmodels.models import DatasetSnapshot, MLModel, ModelVersion, Promote
from mlmodels.training import DEMOS

SHOWN = {"accuracy": "accuracy", "r2": "R²"}


class Command(Base):
    help = (
        "Train, check and release the demo models on the data that scikit-learn carries; skips what is there.\n\n"
        "Examples:\n  manage.py setup_demo\n  manage.py setup_demo digits"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help=f"which of {', '.join(DEMOS)} (default: all)")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, slugs: list[str], **options: Any) -> None:
        if unknown := [slug for slug in slugs if slug not in DEMOS]:
            raise CommandError(f"There is no demo model {unknown[0]!r}: expected one of {', '.join(DEMOS)}.")
        live = set(MLModel.objects.exclude(live_release=None).values_list("slug", flat=True))
        missing = [slug for slug in slugs or DEMOS if slug not in live]
        if missing:
            self._set_up_all(missing)
        if options["json"]:
            self.stdout.write(json.dumps({"trained": missing, "models": self._live(slugs or DEMOS)}))
        elif not missing:
            self.say("The demo models are there already.")

    def _live(self, slugs: Sequence[str]) -> list[dict[str, Any]]:
        models = MLModel.objects.filter(slug__in=slugs).select_related("live_release__version")
        live = [(model.slug, model.live_version) for model in models]
        return [{"slug": slug, "version": one.number, "metrics": one.metrics} for slug, one in live if one]

    def _set_up_all(self, slugs: list[str]) -> None:
        self.say(f"Setting up the demo models: {', '.join(slugs)}.")
        try:
            with foreground.terminated_as_interrupted(), foreground.own_worker():
                for number, data in enumerate(foreground.own_data(slugs), start=1):
                    self._set_up(data, f"[{number}/{len(slugs)}]")
        except foreground.NoData as error:
            raise CommandError(str(error)) from None

    def _set_up(self, data: Dataset, place: str) -> None:
        started = time.monotonic()
        model = registry.model_for(data.schema, None)
        snapshot = snapshots.take(model, data, by=None)
        line = ProgressLine(self.stderr, f"{place} Training {model} … ")
        version = self._first_version(snapshot, line)
        shown = ", ".join(f"{SHOWN[name]} {value:.3f}" for name, value in version.measured.items() if name in SHOWN)
        line.end(f"done in {time.monotonic() - started:.0f} s ({shown})")

    def _first_version(self, snapshot: DatasetSnapshot, line: ProgressLine) -> ModelVersion:
        """The version that is live now. A model that has got none is removed again."""
        reason = "The demo model of a first start."
        try:
            run = foreground.train(snapshot, line, promote=Promote.ALWAYS, reason=reason)
            if run.version is None or run.version.model.live_version != run.version:
                raise CommandError(run.error or run.outcome or f"The training was {run.status}.")
        except BaseException:
            creation.abandon(snapshot.model, by=None)
            raise
        return run.version
