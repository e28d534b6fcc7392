"""A command whose help keeps its examples on lines of their own, and whose logs keep out of what a person reads."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter


class PlainHelp(DjangoHelpFormatter):
    """Keeps the line breaks of the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.splitlines())


class Command(BaseCommand):
    logs: ClassVar[int] = logging.WARNING
    """From which level on it logs. Less is for processes that run on; a command says itself what it does."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        with _logged_from(self.logs):
            return super().execute(*args, **options)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=PlainHelp, **kwargs)


@contextlib.contextmanager
def _logged_from(level: int) -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(max(before, level - 1))
    try:
        yield
    finally:
        logging.disable(before)
