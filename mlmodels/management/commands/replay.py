"""`manage.py replay SLUG[@VERSION] --last N`: run stored inputs again and say how many answers are the same."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mlmodels import replays
from mlmodels.management.base import Command as Base
from mlmodels.management.base import report_or_error, version_or_error

SHOWN = 10


class Command(Base):
    help = (
        "Run stored inputs of succeeded predictions again and compare the answers with the stored ones: how many agree "
        "(the same decision, every number within 1e-5 relative), and how many are the same in every bit. A worker runs "
        "them; nothing is stored but the report.\n\n"
        "Examples:\n  manage.py replay digits --last 200\n"
        "  manage.py replay digits@3 --last 1000 --alone --json\n  manage.py replay digits@4 --last 1000 --all"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", metavar="SLUG[@VERSION]", help="without @VERSION: the live one")
        parser.add_argument("--last", type=int, required=True, metavar="N", help="how many rows, the newest first")
        parser.add_argument(
            "--alone", action="store_true",
            help="one row per forward: rows that first ran alone then give the same bits on the same machine",
        )  # fmt: skip
        parser.add_argument("--all", action="store_true", help="also rows that other versions of the model answered")
        parser.add_argument("--timeout", type=float, default=600.0, help="seconds to wait for a worker (%(default)g)")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, version: str, last: int, timeout: float, **options: Any) -> None:
        if not 1 <= last <= replays.MOST_ROWS:
            raise CommandError(f"--last is {last}: expected 1 to {replays.MOST_ROWS:,}.")
        chosen = version_or_error(version)
        self.say(f"A worker runs stored inputs again on {chosen} …")
        queued = replays.submit(chosen, last=last, by=None, is_alone=options["alone"], of_any_version=options["all"])
        done = report_or_error(queued, timeout)
        text = "\n".join(as_lines(str(chosen), done.report))
        self.answer(chosen, options["json"], text, evaluation=str(done.pk), **done.report)


def as_lines(name: str, report: dict[str, Any]) -> list[str]:
    rows = report["rows"]
    if not rows:
        return [f"{name} has no stored inputs to run again.", *_gone(report)]
    lines = [
        f"{name}, {rows:,} rows run again",
        f"  agree                {report['agree']:,} of {rows:,}",
        f"  identical in bits    {report['identical']:,} of {rows:,}",
        f"  first run alone      {report['alone_rows']:,}, of which {report['alone_identical']:,} identical in bits",
    ]
    if report["unanswered"]:
        lines.append(f"  not answered         {report['unanswered']:,}")
    worst = report["disagreements"]
    lines += [f"  prediction {one['prediction']} differs by {one['distance']:.3g}" for one in worst[:SHOWN]]
    return lines + ([f"  … and {len(worst) - SHOWN} more"] if len(worst) > SHOWN else []) + _gone(report)


def _gone(report: dict[str, Any]) -> list[str]:
    return [f"  {report['gone']:,} predictions were left out: their files are gone"] if report["gone"] else []
