"""`manage.py doctor`: what is wrong with this installation, and what to do."""

import dataclasses
import json
from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from serving_site.jobs.management.base import Command as Base
from serving_site.keeping import doctor
from serving_site.keeping.doctor.findings import Finding, Severity

MARKS = {
    Severity.OK: "  ok     ",
    Severity.NOTE: "  note   ",
    Severity.WARNING: "! warning",
    Severity.ERROR: "! ERROR  ",
}


class Command(Base):
    requires_system_checks = []
    requires_migrations_checks = False
    help = (
        "Look at everything that an installation needs, and say what is wrong and what to do. It also works while the "
        "database or the broker is away. It writes, reads and deletes one small file in each storage and rings one "
        "bell; nothing else is changed. Exits with 1 where something is an error, with 0 otherwise.\n\n"
        "Examples:\n  manage.py doctor\n  manage.py doctor --quiet\n  manage.py doctor --json"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--quiet", action="store_true", help="only warnings and errors")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        found: list[Finding] = []
        for finding in doctor.examine():
            found.append(finding)
            if not options["json"] and not (options["quiet"] and finding.severity in (Severity.OK, Severity.NOTE)):
                self.stdout.write(as_text(finding))
        counts = Counter(finding.severity for finding in found)
        errors, warnings = counts[Severity.ERROR], counts[Severity.WARNING]
        if options["json"]:
            facts = {"ok": not errors, "errors": errors, "warnings": warnings}
            self.stdout.write(json.dumps({**facts, "findings": [dataclasses.asdict(one) for one in found]}))
        if errors:
            raise CommandError(f"{errors} errors, {warnings} warnings.")
        if not options["json"]:
            self.stdout.write(f"No errors, {warnings} warnings.")


def as_text(finding: Finding) -> str:
    line = f"{MARKS[finding.severity]} {finding.check}: {finding.text}"
    return f"{line}\n            → {finding.next_step}" if finding.next_step else line
