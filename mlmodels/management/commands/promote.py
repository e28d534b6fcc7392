"""`manage.py promote SLUG VERSION --reason …`: make a healthy version live, if the gate lets it pass."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mlmodels import releases
from mlmodels.management.base import Command as Base
from mlmodels.management.base import model_or_error, refusals_shown


class Command(Base):
    help = (
        "Make a healthy version live, if the gate lets it pass.\n\n"
        "Examples:\n  manage.py promote digits 4 --reason 'better on thin pens'\n"
        "  manage.py promote digits 4 --reason 'new camera' --override 'the old one sees nothing on the new pictures'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("version", type=int, help="its number")
        parser.add_argument("--reason", required=True, help="why, kept with the release")
        parser.add_argument("--override", default="", metavar="REASON", help="release it even if the gate refuses; why")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, slug: str, version: int, reason: str, override: str, **options: Any) -> None:
        model = model_or_error(slug)
        chosen = model.versions.select_related("model", "snapshot").filter(number=version).first()
        if chosen is None:
            known = ", ".join(str(number) for number in model.versions.values_list("number", flat=True)) or "none"
            raise CommandError(f"{slug} has no version {version}. Known: {known}.")
        with refusals_shown(self):
            release = releases.promote(model, chosen, by=None, reason=reason, override=override)
        said = f"{chosen} is live as release {release.number}."
        self.answer(chosen, options["json"], said, release=release.number)
