"""`manage.py runworker`: hear the doorbell, claim rows, drive executors, record results, sweep."""

import logging
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from serving_site.jobs.kinds import KINDS
from serving_site.jobs.management.base import Command as Base
from serving_site.jobs.worker import WorkerProcess, run_until_told


class Command(Base):
    logs = logging.INFO
    help = (
        "Run one worker process until INT or TERM; it then finishes what it holds (at most 60 s). "
        "Run as many as you like, on any machine.\n\nExamples:\n"
        "  manage.py runworker\n  manage.py runworker --slots 4\n  manage.py runworker --queue infer.v1\n"
        "  manage.py runworker --except train.v1"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--slots", type=int, default=settings.WORKER_SLOTS, help="runs at once (%(default)s)")
        parser.add_argument("--queue", action="append", help="only this queue; may be repeated (default: all)")
        parser.add_argument("--except", action="append", default=[], help="not this queue; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.EMBEDDED:
            raise CommandError("This install is embedded: the site works by itself. Set RABBITMQ_URL and DATABASE_URL.")
        if options["slots"] < 1:
            raise CommandError(f"--slots is {options['slots']}: expected 1 or more.")
        known = {kind.queue: kind for kind in KINDS.values()}
        named = options["queue"] or list(known)
        if unknown := [queue for queue in [*named, *options["except"]] if queue not in known]:
            raise CommandError(f"The queue {unknown[0]!r} is unknown: expected one of {', '.join(known)}.")
        wanted = [queue for queue in named if queue not in options["except"]]
        if not wanted:
            raise CommandError("--except leaves no queue to work on.")
        sys.exit(run_until_told(WorkerProcess(options["slots"], [known[queue] for queue in wanted])))
