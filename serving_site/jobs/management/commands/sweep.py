"""`manage.py sweep --once`: one round of the sweeper, by hand."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from serving_site.jobs.sweep import sweep


class Command(BaseCommand):
    help = (
        "Free expired leases and ring for queued work, once. Workers do this every 5 s. Example: manage.py sweep --once"
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
