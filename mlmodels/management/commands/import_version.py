"""`manage.py import_version PATH`: bring an artifact into the registry, have it checked, and release it if asked."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mlmodels import artifacts, registry, releases
from mlmodels.management.base import Command as Base
from mlmodels.management.base import await_check, refusals_shown
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import ModelVersion, Promote, State


class Command(Base):
    help = (
        "Import a version: a folder or zip that holds manifest.json and weights.safetensors (or program.pt2, where "
        "ALLOW_EXECUTABLE_ARTIFACTS is set). A worker checks it.\n\n"
        "Examples:\n  manage.py import_version ./digits-v4\n"
        "  manage.py import_version digits.zip --promote always --reason 'better on thin pens'"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="a folder, or a zip file")
        parser.add_argument(
            "--promote", choices=Promote.values, default=Promote.NEVER.value,
            help="release it: always (if the gate lets it pass) or only if-better than what is live (%(default)s)",
        )  # fmt: skip
        parser.add_argument("--reason", default="", help="why, kept with the release")
        parser.add_argument("--override", default="", metavar="REASON", help="release it even if the gate refuses; why")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, path: Path, promote: str, reason: str, override: str, **options: Any) -> None:
        version = self._import(path)
        release, told = None, f"; manage.py promote {version.model} {version.number}"
        if promote != Promote.NEVER:
            try:
                with refusals_shown(self):
                    release = releases.promote(
                        version.model, version, by=None, reason=reason or f"imported from {path.name}",
                        override=override, only_better=promote == Promote.IF_BETTER,
                    )  # fmt: skip
                told = f" and live as release {release.number}"
            except releases.NotBetter as error:
                told = f". {error} It stays a candidate."
        number = release.number if release else None
        self.answer(version, options["json"], f"{version} is healthy{told}", release=number)

    def _import(self, path: Path) -> ModelVersion:
        if not path.exists():
            raise CommandError(f"{path} does not exist: expected a folder or a zip file.")
        try:
            artifact = artifacts.take_folder(path) if path.is_dir() else artifacts.take_zip(path)
            version = registry.register(artifact, by=None)
        except RefusedArtifact as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"The artifact could not be stored: {error}.") from None
        self.say(f"{version} is stored; a worker checks it now.")
        version = await_check(version)
        if version.state != State.HEALTHY:
            raise CommandError(f"{version} is {version.state}: {version.state_reason}")
        return version
