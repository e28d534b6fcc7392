"""`manage.py check_migrations`: whether code that runs can live with the migrations that are not applied yet."""

from typing import Any

from django.core.management.base import CommandError

from serving_site.jobs.beside import DECLARED, hazards
from serving_site.jobs.management.base import Command as Base


class Command(Base):
    help = (
        "Look at the migrations that are not applied here yet: a release is started beside the one that runs, so they "
        "must leave what running code reads and writes. Exit status 1 names each that does not.\n\n"
        "Examples:\n  manage.py check_migrations"
    )

    def handle(self, *args: Any, **options: Any) -> None:
        found = hazards()
        if found:
            listed = "\n".join(f"  {sentence}" for sentence in found)
            raise CommandError(
                f"Running code cannot live with these changes of the database:\n{listed}\n"
                f"Where it can after all, the migration says `{DECLARED} = True`."
            )
        self.stdout.write("Running code can live with every migration.")
