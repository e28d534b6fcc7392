"""`manage.py restore FILE`: a backup in the place of what this site holds."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from serving_site.jobs.management.base import Command as Base
from serving_site.keeping import restore


class Command(Base):
    requires_migrations_checks = False
    help = (
        "Put a backup in the place of what this site holds: all of it, or, where anything is wrong, nothing. Stop web "
        "and workers first. Refused are a site that is not empty (without --replace), a damaged file (it says where), "
        "a backup of newer code, and one of the other kind of database. Older ones are brought up to this code. What "
        "was queued or running when the backup was made runs again once a worker starts.\n"
        "Copy SECRET_KEY and the other settings by hand, or people have to sign in anew, and links that were sent to "
        "them are void.\n\n"
        "Examples:\n  manage.py restore backups/serving-site-20261124T031500.000Z.tar\n"
        "  manage.py restore FILE.tar --check\n  manage.py restore FILE.tar --replace --json"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="what `manage.py backup` wrote")
        parser.add_argument("--check", action="store_true", help="read it from end to end and change nothing")
        parser.add_argument(
            "--replace", action="store_true", help="also where this site holds something, which is lost"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            if options["check"]:
                known = restore.check(file)
            else:
                known = restore.restore(
                    file, replace=options["replace"], say=lambda text: self.stderr.write(text, style_func=str)
                )
        except restore.NotRestored as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps({"restored": not options["check"], "manifest": known}))
            return
        files = f"{known['artifacts']:,} artifact files, {known['uploads']:,} uploads"
        did = "is whole" if options["check"] else "is restored; start web and workers"
        self.stdout.write(f"The backup of {known['site']} of {known['began_at']} {did}: the database, {files}.")
