"""`manage.py create_model SLUG --data FILE.csv --target COLUMN`: a table becomes a served model."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from mlmodels import creation, datasets, evaluations, registry
from mlmodels.datasets import BadData, Dataset
from mlmodels.management import foreground, inferred
from mlmodels.management.base import Command as Base
from mlmodels.management.commands.evaluate import as_lines
from mlmodels.management.progress import ProgressLine
from mlmodels.models import SLUG, DatasetSnapshot, Promote, TrainingRun
from mlmodels.training import RECIPES
from mlmodels.training.arguments import whole
from serving_site.jobs.models import Status

LONGEST_SLUG, LONGEST_TITLE = 60, 120


class Command(Base):
    help = (
        "Make a model of a CSV file: find out what its columns are, hold rows out, train, release if asked.\n\n"
        "Examples:\n  manage.py create_model iris --data iris.csv --target species --promote always\n"
        "  manage.py create_model rings --data abalone.data --no-header --target c9 --title 'Rings of an abalone'\n"
        "  manage.py create_model wine --data winequality-red.csv --target quality --task regression --dry-run\n"
        "  manage.py create_model survival --data titanic.csv --target Survived --drop Boat --drop Body --json"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="its name in addresses: small letters, digits, single hyphens")
        parser.add_argument("--data", type=Path, metavar="FILE", help="a CSV file: commas, semicolons or tabs; UTF-8")
        parser.add_argument("--target", metavar="COLUMN", help="the column to predict")
        parser.add_argument("--title", default="", help="its name for people (made of SLUG)")
        parser.add_argument("--description", default="", help="what it is for, shown on its page")
        parser.add_argument(
            "--task", choices=["auto", "classification", "regression"], default="auto",
            help="auto: texts and at most 20 different whole numbers are classes, other numbers a number (%(default)s)",
        )  # fmt: skip
        parser.add_argument("--no-header", action="store_true", help="the columns have no names: they are c1, c2, …")
        parser.add_argument(
            "--drop", action="append", default=[], metavar="COLUMN", help="leave it out; may be repeated"
        )
        parser.add_argument("--recipe", default="table", help="how to train: one of MODEL_RECIPES (%(default)s)")
        parser.add_argument("--seed", type=whole(0), default=0, metavar="N", help="same seed, same weights (0)")
        parser.add_argument("--epochs", type=whole(1), metavar="N", help="the most epochs of one fit")
        parser.add_argument("--promote", choices=["never", "always"], default="never", help="release it (%(default)s)")
        parser.add_argument("--reason", default="", help="why, kept with the release")
        parser.add_argument("--dry-run", action="store_true", help="only say what was found in the file")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, slug: str, **options: Any) -> None:
        _judge(slug, options)
        with foreground.terminated_as_interrupted():
            self._create(slug, options)

    def _create(self, slug: str, options: dict[str, Any]) -> None:
        try:
            creation.refuse_known(slug)
            dataset = self._dataset(slug, options)
            self.say(inferred.as_text(dataset))
            if options["dry_run"]:
                self._say_schema(dataset, as_json=options["json"])
                return
            snapshot = creation.begin(dataset, by=None)
        except (creation.Exists, BadData, foreground.NoData) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{options['data']} cannot be read: {error.strerror or error}.") from None
        self.say(f"{snapshot.train_rows:,} rows to train on; {snapshot.holdout_rows:,} are held out to judge by.")
        self._conclude(self._first_version(snapshot, options), as_json=options["json"])

    def _dataset(self, slug: str, options: dict[str, Any]) -> Dataset:
        about = {"slug": slug, "title": options["title"], "description": options["description"]}
        if options["data"]:
            dataset = datasets.read_table(
                options["data"], target=options["target"], header=not options["no_header"], task=options["task"],
                drop=options["drop"], **about,
            )  # fmt: skip
        else:
            (dataset,) = foreground.own_data([options["recipe"]])
        given = {name: value for name, value in about.items() if value}
        return replace(dataset, schema={**dataset.schema, **given, "recipe": options["recipe"]})

    def _first_version(self, snapshot: DatasetSnapshot, options: dict[str, Any]) -> TrainingRun:
        """Its run: trained, checked, measured and released if asked. Without a version in the end there is no model."""
        asked = {name: options[name] for name in ("seed", "epochs", "promote")}
        reason = options["reason"] or "The first version of a new model."
        try:
            with foreground.own_worker():
                run = foreground.train(snapshot, ProgressLine(self.stderr), reason=reason, **asked)
        except BaseException as error:
            is_gone = creation.abandon(snapshot.model, by=None)
            if isinstance(error, KeyboardInterrupt):
                kept = "nothing of it is kept" if is_gone else f"{snapshot.model} stays, as its first version is stored"
                raise CommandError(f"Stopped: {kept}.", returncode=130) from None
            raise
        if run.version is None:
            creation.abandon(snapshot.model, by=None)
            raise CommandError(run.error or f"The training was {run.status}.")
        return run

    def _conclude(self, run: TrainingRun, *, as_json: bool) -> None:
        """Say what became of it. Raises CommandError where that is not what was asked for."""
        version = run.version
        assert version is not None  # without one the model is gone
        is_live = version.model.live_version == version
        if measured := evaluations.newest(version):
            self.say("\n".join(as_lines(str(version), measured.report)))
        if run.status != Status.SUCCEEDED or (run.promote == Promote.ALWAYS and not is_live):
            raise CommandError(run.error or run.outcome or f"The training was {run.status}.")
        url = f"{settings.SITE_URL}/models/{version.model.slug}/"
        state = f"live at {url}" if is_live else f"a candidate; manage.py promote {version.model} {version.number}"
        self.answer(version, as_json, f"{version} is {state}.", url=url, run=str(run.pk))

    def _say_schema(self, dataset: Dataset, *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"slug": dataset.schema["slug"], "schema": dataset.schema}))


def _judge(slug: str, options: dict[str, Any]) -> None:
    """What can be said before a file is opened. Raises CommandError."""
    if not re.fullmatch(SLUG, slug) or len(slug) > LONGEST_SLUG:
        raise CommandError(
            f"{slug!r} is no name for a model: small letters, digits and single hyphens, {LONGEST_SLUG} at most."
        )
    if len(options["title"]) > LONGEST_TITLE:
        raise CommandError(f"The title has {len(options['title'])} characters: expected at most {LONGEST_TITLE}.")
    recipe = options["recipe"]
    if not registry.known_recipe(recipe):
        known = ", ".join([*RECIPES, *settings.MODEL_RECIPES])
        raise CommandError(f"There is no recipe {recipe!r}: expected one of {known}.")
    if options["data"] and not options["target"]:
        raise CommandError("--target is missing: which column is to be predicted?")
    if not options["data"] and recipe == "table":
        raise CommandError("--data is missing: expected a CSV file.")
