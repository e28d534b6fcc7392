"""export_version: what was stored, byte for byte, beside whatever else the folder holds."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from mlmodels import artifacts, registry
from mlmodels.models import ModelVersion, State
from tests.mlmodels.conftest import edit

Stored = Callable[[], list[str]]
pytestmark = pytest.mark.django_db


@pytest.fixture
def version(folder: Path, stored: Stored) -> ModelVersion:
    return registered(folder)


def registered(folder: Path) -> ModelVersion:
    version = registry.register(artifacts.take_folder(folder), by=None)
    ModelVersion.objects.filter(pk=version.pk).update(state=State.HEALTHY)
    return version


def export(*arguments: str | Path) -> str:
    out = io.StringIO()
    call_command("export_version", *map(str, arguments), stdout=out)
    return out.getvalue()


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_the_two_files_are_what_was_imported(version: ModelVersion, folder: Path, tmp_path: Path) -> None:
    said = export("zoo-ok", tmp_path / "out" / "here")
    assert said == f"zoo-ok@1 is in {tmp_path}/out/here: manifest.json, weights.safetensors.\n"
    assert bytes_in(tmp_path / "out" / "here") == bytes_in(folder)


def test_a_program_reads_the_hashes(version: ModelVersion, tmp_path: Path) -> None:
    said = json.loads(export("zoo-ok@1", tmp_path / "out", "--json"))
    assert (said["slug"], said["version"]) == ("zoo-ok", 1)
    assert said["files"] == {
        "manifest.json": version.manifest_sha256, "weights.safetensors": version.weights_sha256
    }  # fmt: skip


def test_the_newest_healthy_version_is_taken_where_none_is_live(
    version: ModelVersion, folder: Path, tmp_path: Path
) -> None:
    edit(folder, title="Another")
    registered(folder)
    edit(folder, title="Unchecked")
    registry.register(artifacts.take_folder(folder), by=None)
    assert export("zoo-ok", tmp_path / "out").startswith("zoo-ok@2 is in ")


def test_a_clone_keeps_its_history_and_a_file_that_differs_is_kept_unless_forced(
    version: ModelVersion, folder: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    (clone / ".git").mkdir(parents=True)
    (clone / "README.md").write_text("ours")
    export("zoo-ok", clone)
    export("zoo-ok", clone)  # the same again
    (clone / "manifest.json").write_text("{}")
    with pytest.raises(CommandError, match=r"manifest.json is there already and differs; --force replaces it.$"):
        export("zoo-ok", clone)
    assert (clone / "manifest.json").read_text() == "{}"
    export("zoo-ok", clone, "--force")
    assert bytes_in(clone) == {**bytes_in(folder), "README.md": b"ours"}
    assert sorted(path.name for path in clone.iterdir()) == [
        ".git", "README.md", "manifest.json", "weights.safetensors"
    ]  # fmt: skip


def test_a_link_is_replaced_and_never_followed(version: ModelVersion, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CommandError, match="is there already and differs"):
        export("zoo-ok", tmp_path / "out")
    export("zoo-ok", tmp_path / "out", "--force")
    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_a_stored_file_that_is_spoilt_is_not_exported(version: ModelVersion, tmp_path: Path) -> None:
    (spoilt,) = (tmp_path / "files").rglob(version.weights_sha256)
    spoilt.write_bytes(b"spoilt")
    with pytest.raises(CommandError, match=r"The stored weights\.safetensors is corrupt"):
        export("zoo-ok", tmp_path / "out")
    assert not (tmp_path / "out" / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("plants", "There is no model 'plants'. Known: zoo-ok."),
        ("zoo-ok@9", "zoo-ok has no stored version '9'. Known: 1."),
        ("zoo-ok@../1", "zoo-ok has no stored version '../1'. Known: 1."),
    ],
)
def test_what_is_not_there_is_said(version: ModelVersion, tmp_path: Path, wanted: str, sentence: str) -> None:
    with pytest.raises(CommandError) as error:
        export(wanted, tmp_path / "out")
    assert str(error.value) == sentence
