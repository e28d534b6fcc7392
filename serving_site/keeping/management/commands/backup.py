"""`manage.py backup`: everything that cannot be made again, in one file."""

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from serving_site.jobs.management.base import Command as Base
from serving_site.keeping import backup


class Command(Base):
    help = (
        "Write the database, the artifacts, the uploads and the repository of models into one file that only its owner "
        "may read, and read it again. The site may run meanwhile. Exits with 1 also where the site itself has lost or "
        "spoilt files: then the backup is written without them, and no older one is removed. "
        f"{backup.NOT_INSIDE}\n\n"
        "Examples:\n  manage.py backup\n  manage.py backup --to /mnt/backups --keep 14\n  manage.py backup --json"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", type=Path, default=settings.BACKUP_DIR, metavar="DIR", help="default: BACKUP_DIR")
        parser.add_argument("--keep", type=int, metavar="N", help="remove all but the newest N afterwards")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, to: Path, keep: int | None, **options: Any) -> None:
        if keep is not None and keep < 1:
            raise CommandError(f"--keep is {keep}: expected 1 or more.")
        folder = to.absolute()
        try:
            made = backup.make(folder, say=lambda text: self.stderr.write(text, style_func=str))
        except backup.NotMade as error:
            raise CommandError(str(error)) from None
        old = backup.forget_old(folder, keep) if keep and not made.problems else []
        facts = {"path": str(made.path), "bytes": made.path.stat().st_size, "removed": [str(path) for path in old]}
        if options["json"]:
            self.stdout.write(json.dumps({**facts, "problems": made.problems, "manifest": made.manifest}))
        else:
            self.stdout.write(as_text(facts, made))
        if made.problems:
            told = "; ".join(made.problems[:5]) + ("; …" if len(made.problems) > 5 else "")
            raise CommandError(f"The backup is written, but the site has lost files, and older backups stay: {told}.")


def as_text(facts: dict[str, Any], made: backup.Made) -> str:
    known = made.manifest
    files = f"{known['artifacts']:,} artifact files, {known['uploads']:,} uploads"
    lines = [f"{facts['path']}: {facts['bytes']:,} bytes, the database, {files}.", backup.NOT_INSIDE]
    if known["deleted_meanwhile"]:
        lines.insert(1, f"Left out: {known['deleted_meanwhile']:,} files that were deleted meanwhile.")
    if facts["removed"]:
        lines.insert(1, f"Removed: {len(facts['removed'])} older backups.")
    return "\n".join(lines)
