"""`manage.py prune`: remove what may go, and nothing else."""

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from serving_site.jobs.management.base import Command as Base
from serving_site.keeping import prune

WORDS = {
    "predictions": "predictions with their files",
    "artifacts": "files of artifacts that no row names, or only that of a refused version",
    "uploads": "uploads that no row names",
    "drafts": "files that were left half written",
    "workers": "rows of workers that have been silent for an hour",
    "sessions": "sessions that ended",
}


class Command(Base):
    help = (
        "Say what may go, and with --yes remove it: files that no row names and that are a day old (also those of "
        "refused versions), rows of workers that are gone, sessions that ended, and with --older-than predictions that "
        "have ended, with their files, a thousand at a time.\n"
        "Never removed: what is queued or runs, models, versions, releases and their evidence, the data that versions "
        "were trained on, training runs, evaluations, people, and the record of who changed what. Backups made before "
        "still hold what goes.\n\n"
        "Examples:\n  manage.py prune\n  manage.py prune --yes\n  manage.py prune --older-than 365 --yes --json"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--older-than", type=int, metavar="DAYS", help="predictions made so long ago (default: none)"
        )
        parser.add_argument("--yes", action="store_true", help="remove it; otherwise it is only counted")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, older_than: int | None, yes: bool, **options: Any) -> None:
        if older_than is not None and older_than < 1:
            raise CommandError(f"--older-than is {older_than}: expected 1 day or more.")
        done = prune.prune(older_than, really=yes)
        if options["json"]:
            self.stdout.write(json.dumps({"removed": yes, **done}))
            return
        for name, count in done.items():
            if count:
                self.stdout.write(f"{'Removed' if yes else 'Would remove'}: {count:,} {WORDS[name]}.")
        if not prune.keeps_files_itself():
            self.stdout.write("Files were not looked at: they lie on the web host, so prune there.")
        if not any(done.values()):
            self.stdout.write("There is nothing to remove.")
        elif not yes:
            self.stdout.write("Nothing was removed: --yes does it.")
