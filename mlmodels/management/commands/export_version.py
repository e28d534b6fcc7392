"""`manage.py export_version SLUG[@VERSION] DIR`: the files of a stored version, byte for byte, ready to be pushed."""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.files.storage import storages
from django.core.management.base import CommandError, CommandParser

from mlmodels.management.base import Command as Base
from mlmodels.management.base import model_or_error
from mlmodels.manifests import MANIFEST
from mlmodels.models import ModelVersion, State


class Command(Base):
    help = (
        "Write manifest.json and the weights of a version into a folder, exactly as they are stored. Whatever else is "
        "in the folder stays, so it may be a clone of the site's repository of models.\n\n"
        "Examples:\n  manage.py export_version digits ./digits\n  manage.py export_version digits@4 ./digits --force\n"
        "  cd digits && git add . && git commit -m 'Better on thin pens' && git push origin main"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", metavar="SLUG[@VERSION]", help="without a number: the live one, else the newest")
        parser.add_argument("folder", metavar="DIR", type=Path, help="made where it does not exist")
        parser.add_argument("--force", action="store_true", help="replace files that differ")
        parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")

    def handle(self, *args: Any, version: str, folder: Path, force: bool, **options: Any) -> None:
        chosen = _chosen(version)
        files = _files(chosen)
        try:
            if not force:
                _refuse_to_replace(folder, files)
            folder.mkdir(parents=True, exist_ok=True)
            for name, sha256 in files.items():
                _write(sha256, folder / name)
        except OSError as error:
            raise CommandError(f"{chosen} could not be written to {folder}: {error}.") from None
        self.answer(chosen, options["json"], f"{chosen} is in {folder}: {', '.join(files)}.", files=files)


def _chosen(wanted: str) -> ModelVersion:
    slug, _, number = wanted.partition("@")
    model = model_or_error(slug)
    versions = model.versions.select_related("model").exclude(state=State.REFUSED)
    if not number:
        newest = versions.filter(state=State.HEALTHY).order_by("-number").first()
        if found := model.live_version or newest:
            return found
        raise CommandError(f"{slug} has no healthy version yet.")
    found = versions.filter(number=number).first() if number.isdecimal() else None
    if found is None:
        known = ", ".join(str(one) for one in versions.values_list("number", flat=True)) or "none"
        raise CommandError(f"{slug} has no stored version {number!r}. Known: {known}.")
    return found


def _files(version: ModelVersion) -> Mapping[str, str]:
    """The sha256 of each file, by the name that it has in an artifact."""
    others = {name: entry["sha256"] for name, entry in version.manifest["files"].items()}
    return {MANIFEST: version.manifest_sha256, **others}


def _refuse_to_replace(folder: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        path = folder / name
        if path.is_symlink() or path.exists():
            if path.is_file() and not path.is_symlink() and _sha256(path) == sha256:
                continue
            raise CommandError(f"{path} is there already and differs; --force replaces it.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(sha256: str, path: Path) -> None:
    """Beside the file, hashed, then renamed: whole or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as aside:
        draft = Path(aside, path.name)
        with storages["artifacts"].open(sha256) as source, draft.open("wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
        if _sha256(draft) != sha256:
            raise CommandError(f"The stored {path.name} is corrupt: its bytes do not have the hash {sha256[:16]}….")
        draft.replace(path)
