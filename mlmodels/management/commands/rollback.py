"""`manage.py rollback SLUG --reason …`: the version that was live before is live again."""

from typing import Any

from django.core.management.base import CommandParser

from mlmodels import releases
from mlmodels.management.base import Command as Base
from mlmodels.management.base import model_or_error, refusals_shown


class Command(Base):
    help = (
        "Release the last healthy version that was live before; it has passed the gate then.\n\n"
        "Example:\n  manage.py rollback digits --reason 'worse on photos'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--reason", required=True, help="why, kept with the release")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, slug: str, reason: str, **options: Any) -> None:
        with refusals_shown(self):
            release = releases.rollback(model_or_error(slug), by=None, reason=reason)
        said = f"{release.version} is live again as release {release.number}."
        self.answer(release.version, options["json"], said, release=release.number)
