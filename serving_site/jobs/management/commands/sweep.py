"""`manage.py sweep --once`: one round of the sweeper, by hand."""

import json
from typing import Any

from django.core.management.base import CommandParser

from serving_site.jobs.management.base import Command as Base
from serving_site.jobs.sweep import sweep


class Command(Base):
    help = (
        "Free expired leases and ring for queued work, once. Workers do this every 5 s.\n\n"
        "Examples:\n  manage.py sweep --once\n  manage.py sweep --once --json"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", required=True, help="sweep one round and return")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        done = sweep()
        if options["json"]:
            self.stdout.write(json.dumps(done))
        else:
            text = "{recovered} leases recovered, {gave_up} rows given up, {rings} rings sent"
            self.stdout.write(text.format(**done))
