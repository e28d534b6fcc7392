"""`manage.py setup_demo`: train, check and release the three demo models, each only once."""

import json
import time
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mlmodels import registry, snapshots
from mlmodels.datasets import Dataset
from mlmodels.management import foreground
from mlmodels.management.base import Command as Base
from mlmodels.models import MLModel
from mlmodels.training import DEMOS

SHOWN = ("accuracy", "r2")


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
        try:
            with foreground.own_worker():
                for number, data in enumerate(foreground.own_data(slugs), start=1):
                    self._set_up(data, f"[{number}/{len(slugs)}]")
        except foreground.TrainingFailed as error:
            raise CommandError(str(error)) from None

    def _set_up(self, data: Dataset, place: str) -> None:
        started = time.monotonic()
        model = registry.model_for(data.schema, None)
        self.say(f"{place} Training {model} …")
        snapshot = snapshots.take(model, data, by=None)
        version = foreground.train(model, snapshot, by=None, progress=self._tell)
        foreground.admit(version, promote=True, reason="The demo model of a first start.")
        shown = ", ".join(f"{k} {v:.3f}" for k, v in version.measured.items() if k in SHOWN)
        self.say(f"{place} {version} is live after {time.monotonic() - started:.0f} s ({shown}).")

    def _tell(self, line: dict[str, Any]) -> None:
        if line.get("stage") == "fit":
            self.say("epoch {epoch}/{epochs}  loss {loss:.4f}  metric {metric:.4f}".format(**line))
