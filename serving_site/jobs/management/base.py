"""A command whose help keeps its examples on lines of their own."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter


class PlainHelp(DjangoHelpFormatter):
    """Keeps the line breaks of the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in text.splitlines())


class Command(BaseCommand):
    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(prog_name, subcommand, formatter_class=PlainHelp, **kwargs)
