"""What may come into the registry: refused with one sentence and nothing stored, or stored by its hash."""

import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from mlmodels import artifacts, registry
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import MLModel, ModelVersion, State, VersionCheck
from serving_site.accounts.models import AuditEvent, User
from tests import zoo
from tests.mlmodels.conftest import edit

Stored = Callable[[], list[str]]
Spoil = Callable[[Path], Any]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def zipped(folder: Path, **more: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
        for name, data in more.items():
            archive.writestr(name, data)
    file.seek(0)
    return file


def claim(folder: Path, data: bytes) -> None:
    """Put `data` in the weights' place, and its hash and size into the manifest."""
    (folder / "weights.safetensors").write_bytes(data)
    edit(folder, files={"weights.safetensors": {"sha256": sha256(data), "size": len(data)}})


def saved(save: Callable[..., Any], value: Any) -> bytes:
    file = io.BytesIO()
    save(value, file)
    return file.getvalue()


def pytorch_pickle() -> bytes:
    return saved(torch.save, torch.nn.Linear(1, 2).state_dict())


def torchscript() -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return saved(torch.jit.save, torch.jit.script(torch.nn.Linear(1, 2)))


def exported_program() -> bytes:
    return saved(torch.export.save, torch.export.export(torch.nn.Linear(1, 2), (torch.zeros(1, 1),)))


def safetensors(header: bytes, tensors: bytes = bytes(8)) -> bytes:
    return struct.pack("<Q", len(header)) + header + tensors


def instead(make: Callable[[Path], None]) -> Spoil:
    """Something else in the weights' place."""

    def spoil(folder: Path) -> None:
        (folder / "weights.safetensors").unlink()
        make(folder / "weights.safetensors")

    return spoil


def linked(folder: Path) -> None:
    shutil.move(folder / "weights.safetensors", folder.parent / "elsewhere")
    (folder / "weights.safetensors").symlink_to(folder.parent / "elsewhere")


def without_manifest(folder: Path) -> io.BytesIO:
    (folder / "manifest.json").unlink()
    return zipped(folder)


@pytest.mark.parametrize("take", [artifacts.take_folder, lambda folder: artifacts.take_zip(zipped(folder))])
def test_an_artifact_is_stored_under_the_hashes_of_its_bytes(take: Any, folder: Path, stored: Stored) -> None:
    artifact = take(folder)
    manifest, weights = (folder / name for name in ("manifest.json", "weights.safetensors"))
    assert artifact.manifest_sha256 == sha256(manifest.read_bytes())
    assert artifact.weights_sha256 == sha256(weights.read_bytes())
    assert artifact.size == manifest.stat().st_size + weights.stat().st_size
    assert stored() == sorted([artifact.manifest_sha256, artifact.weights_sha256])


def test_the_same_artifact_again_repairs_what_a_disk_has_spoilt(folder: Path, stored: Stored, tmp_path: Path) -> None:
    artifact = artifacts.take_folder(folder)
    (spoilt,) = (tmp_path / "files").rglob(artifact.weights_sha256)
    spoilt.write_bytes(b"spoilt")
    artifacts.take_folder(folder)
    assert sha256(spoilt.read_bytes()) == artifact.weights_sha256


OPERATOR = "an operator may allow exported programs: ALLOW_EXECUTABLE_ARTIFACTS)."
SPOILT_FOLDERS: dict[str, tuple[Spoil, str]] = {
    "pickle beside": (
        lambda folder: (folder / "model.pt").write_bytes(pytorch_pickle()),
        "'model.pt': PyTorch pickles can run code when loaded and are refused; export weights.safetensors.",
    ),
    "pickle instead": (
        lambda folder: (folder / "weights.safetensors").rename(folder / "weights.pkl"),
        "'weights.pkl': pickles can run code when loaded and are refused; export weights.safetensors.",
    ),
    "pickle renamed": (
        lambda folder: claim(folder, pickle.dumps({"weight": [1.0]})),
        "weights.safetensors is a PyTorch pickle or archive, which can run code; save it as safetensors.",
    ),
    "pytorch pickle renamed": (
        lambda folder: claim(folder, pytorch_pickle()),
        "weights.safetensors is a PyTorch pickle or archive, which can run code; save it as safetensors.",
    ),
    "torchscript renamed": (
        lambda folder: claim(folder, torchscript()),
        "weights.safetensors is a PyTorch pickle or archive, which can run code; save it as safetensors.",
    ),
    "exported program": (
        lambda folder: (folder / "model.pt2").write_bytes(exported_program()),
        "'model.pt2': exported programs (.pt2) can run code when loaded and are refused; export weights.safetensors ("
        + OPERATOR,
    ),
    "exported program renamed": (
        lambda folder: claim(folder, exported_program()),
        "weights.safetensors is a PyTorch pickle or archive, which can run code; save it as safetensors.",
    ),
    "old pickle renamed": (
        lambda folder: claim(folder, pickle.dumps({"weight": [1.0]}, protocol=0)),
        "weights.safetensors is not a safetensors file: its header claims ",
    ),
    "missing weights": (lambda folder: (folder / "weights.safetensors").unlink(), "weights.safetensors is missing."),
    "missing manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing."),
    "extra file": (
        lambda folder: (folder / "notes.txt").write_text("hello"),
        "'notes.txt' does not belong here: only manifest.json and weights.safetensors are accepted.",
    ),
    "hidden file": (
        lambda folder: (folder / ".env").write_text("hello"),
        "'.env' is not a plain file name: only manifest.json and weights.safetensors are accepted.",
    ),
    "link": (
        linked,
        "weights.safetensors is a link or not a plain file; give the file itself.",
    ),
    "pipe": (
        instead(os.mkfifo),
        "weights.safetensors is a link or not a plain file; give the file itself.",
    ),
    "folder in its place": (
        instead(Path.mkdir),
        "weights.safetensors is a link or not a plain file; give the file itself.",
    ),
    "wrong hash": (
        lambda folder: edit(folder, files={"weights.safetensors": {"sha256": "0" * 64, "size": 160}}),
        "the manifest says 0000000000000000… and 160.",
    ),
    "wrong size": (
        lambda folder: edit(
            folder,
            files={"weights.safetensors": {"sha256": sha256((folder / "weights.safetensors").read_bytes()), "size": 1}},
        ),
        "… and 1.",
    ),
    "truncated, claimed so": (
        lambda folder: claim(folder, (folder / "weights.safetensors").read_bytes()[:-4]),
        "weights.safetensors claims 16 bytes of tensors and has 12.",
    ),
    "truncated": (
        lambda folder: os.truncate(folder / "weights.safetensors", 100),
        "weights.safetensors has sha256 ",
    ),
    "empty": (
        lambda folder: claim(folder, b"x"),
        "weights.safetensors is not a safetensors file: its header claims 0 bytes.",
    ),
    "header of 10 GB": (
        lambda folder: claim(folder, struct.pack("<Q", 10 * 1024**3) + b"{}"),
        "weights.safetensors is not a safetensors file: its header claims 10,737,418,240 bytes.",
    ),
    "tensor of 10 GB": (
        lambda folder: claim(
            folder,
            safetensors(b'{"w":{"dtype":"F32","shape":[2684354560],"data_offsets":[0,10737418240]}}'),
        ),
        "weights.safetensors claims 10,737,418,240 bytes of tensors and has 8.",
    ),
    "header that is no JSON": (
        lambda folder: claim(folder, safetensors(b'{"w":')),
        "weights.safetensors is not a safetensors file: its header cannot be read.",
    ),
    "header of other things": (
        lambda folder: claim(folder, safetensors(b'{"w":{"data_offsets":["a",{}]},"v":{"data_offsets":[0,8]}}')),
        "weights.safetensors is not a safetensors file: its header cannot be read.",
    ),
    "nested header": (
        lambda folder: claim(folder, safetensors(b'{"w":' + b"[" * 100_000)),
        "weights.safetensors is not a safetensors file: its header cannot be read.",
    ),
    "no tensors": (
        lambda folder: claim(folder, safetensors(b"{}")),
        "weights.safetensors claims 0 bytes of tensors and has 8.",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT_FOLDERS.values(), ids=SPOILT_FOLDERS)
def test_a_folder_is_refused_with_one_sentence_and_nothing_stored(
    spoil: Spoil, sentence: str, folder: Path, stored: Stored
) -> None:
    spoil(folder)
    with pytest.raises(RefusedArtifact) as refusal:
        artifacts.take_folder(folder)
    assert sentence in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)
    assert stored() == []


@pytest.mark.parametrize("length", [0x80, 0x180, 0x4B50])
def test_weights_whose_header_is_as_long_as_a_pickle_begins_are_taken(
    folder: Path, stored: Stored, length: int
) -> None:
    """A length of 128 bytes is written as a pickle's first byte is, one of 19,280 as the first two of a zip are."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode().ljust(length)
    claim(folder, safetensors(header))
    assert artifacts.take_folder(folder).manifest["files"]["weights.safetensors"]["size"] == 8 + length + 8


def test_what_is_no_folder_of_an_artifact_is_refused(tmp_path: Path, stored: Stored) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedArtifact, match=r"^empty is not a folder with manifest.json and weights.safetensors.$"):
        artifacts.take_folder(tmp_path / "empty")
    assert stored() == []


def test_a_file_that_cannot_be_read_is_refused(folder: Path, stored: Stored) -> None:
    """Between the look and the open somebody may put a link there."""
    from mlmodels.artifacts import _open_plain

    (folder / "link").symlink_to(folder / "manifest.json")
    with pytest.raises(RefusedArtifact, match=r"^link cannot be read: Too many levels of symbolic links.$"):
        _open_plain(folder / "link")
    assert stored() == []


def renamed(name: str) -> Spoil:
    def spoil(folder: Path) -> io.BytesIO:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.write(folder / "manifest.json", "manifest.json")
            archive.writestr(name, (folder / "weights.safetensors").read_bytes())
        return file

    return spoil


def with_link(folder: Path) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(folder / "manifest.json", "manifest.json")
        link = zipfile.ZipInfo("weights.safetensors")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return file


def with_the_same_name_twice(folder: Path) -> io.BytesIO:
    file = zipped(folder)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("manifest.json", "{}")
    return file


def with_member_that_claims_less(folder: Path) -> io.BytesIO:
    data = zipped(folder).getvalue()
    at = data.rindex(b"PK\x01\x02")  # the last entry of the directory: weights.safetensors
    return io.BytesIO(data[: at + 24] + struct.pack("<I", 50) + data[at + 28 :])


def with_ten_gigabytes(folder: Path) -> io.BytesIO:
    """A member whose 64-bit size says 10 GB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.write(folder / "manifest.json", "manifest.json")
        archive.writestr("weights.safetensors", b"x")
        archive.infolist()[1].file_size = 10 * 1024**3
    return file


def damaged(folder: Path) -> io.BytesIO:
    data = bytearray(zipped(folder).getvalue())
    start = data.index(b"manifest.json") + len(b"manifest.json")
    data[start : start + 40] = b"\xff" * 40
    return io.BytesIO(bytes(data))


def encrypted(folder: Path) -> io.BytesIO:
    data = bytearray(zipped(folder).getvalue())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark) + place
        data[at] |= 1
    return io.BytesIO(bytes(data))


SPOILT_ZIPS: dict[str, tuple[Spoil, str]] = {
    "pytorch pickle": (
        lambda _: io.BytesIO(pytorch_pickle()),
        "The file is a PyTorch pickle, which can run code when loaded; export weights.safetensors instead.",
    ),
    "torchscript": (
        lambda _: io.BytesIO(torchscript()),
        "The file is a TorchScript archive, which can run code when loaded; export weights.safetensors instead.",
    ),
    "exported program": (
        lambda _: io.BytesIO(exported_program()),
        "The file is an exported program (.pt2), which can run code when loaded; export weights.safetensors instead ("
        + OPERATOR,
    ),
    "plain pickle": (
        lambda _: io.BytesIO(pickle.dumps([1])),
        "The file is not a zip of manifest.json and weights.safetensors.",
    ),
    "no zip": (lambda _: io.BytesIO(b""), "The file is not a zip of manifest.json and weights.safetensors."),
    "truncated": (
        lambda folder: io.BytesIO(zipped(folder).getvalue()[:-30]),
        "The file is not a zip of manifest.json and weights.safetensors.",
    ),
    "parent folder": (renamed("../weights.safetensors"), "'../weights.safetensors' is not a plain file name"),
    "absolute": (renamed("/etc/weights.safetensors"), "'/etc/weights.safetensors' is not a plain file name"),
    "backslashes": (renamed("..\\weights.safetensors"), "weights.safetensors' is not a plain file name"),
    "sub-folder": (renamed("model/weights.safetensors"), "'model/weights.safetensors' is not a plain file name"),
    "link": (with_link, "weights.safetensors is a link or not a plain file; give the file itself."),
    "same name twice": (with_the_same_name_twice, "The same file name occurs twice."),
    "member of 10 GB": (
        with_ten_gigabytes,
        "weights.safetensors has 10,737,418,240 bytes; at most 1,073,741,824 are accepted.",
    ),
    "member that claims less": (with_member_that_claims_less, "The zip cannot be read: "),
    "damaged": (damaged, "The zip cannot be read: "),
    "encrypted": (encrypted, "The zip cannot be read: "),
    "missing manifest": (without_manifest, "manifest.json is missing."),
    "extra file": (lambda folder: zipped(folder, readme=b"x"), "'readme' does not belong here"),
}


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT_ZIPS.values(), ids=SPOILT_ZIPS)
def test_a_zip_is_refused_with_one_sentence_and_nothing_stored(
    spoil: Spoil, sentence: str, folder: Path, stored: Stored
) -> None:
    file = spoil(folder)
    file.seek(0)
    with pytest.raises(RefusedArtifact) as refusal:
        artifacts.take_zip(file)
    assert sentence in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert stored() == []


def test_a_manifest_of_many_megabytes_is_refused(folder: Path, stored: Stored) -> None:
    edit(folder, description="x" * 34_000_000)
    for take in (artifacts.take_folder, lambda folder: artifacts.take_zip(zipped(folder))):
        with pytest.raises(RefusedArtifact, match=r"^manifest.json has 34,\d+,\d+ bytes; at most 33,554,432 are"):
            take(folder)
    assert stored() == []


def test_a_refused_registration_leaves_neither_rows_nor_files(db: None, folder: Path, stored: Stored) -> None:
    MLModel.objects.create(slug="zoo-ok", title="Zoo", task="regression")
    with pytest.raises(RefusedArtifact, match="zoo-ok is a regression model; the manifest says classification"):
        registry.register(artifacts.take_folder(folder), by=None)
    assert stored() == []
    assert (ModelVersion.objects.count(), VersionCheck.objects.count(), AuditEvent.objects.count()) == (0, 0, 0)


def test_a_refused_registration_keeps_the_files_that_a_version_uses(db: None, folder: Path, stored: Stored) -> None:
    version = registry.register(artifacts.take_folder(folder), by=None)
    other = MLModel.objects.create(slug="other", title="Other", task="classification")
    with pytest.raises(RefusedArtifact, match=r"^The manifest is for the model zoo-ok, not for other.$"):
        registry.register(artifacts.take_folder(folder), by=None, model=other)
    assert stored() == sorted([version.manifest_sha256, version.weights_sha256])


def test_the_same_artifact_is_the_same_version(db: None, folder: Path, stored: Stored) -> None:
    first = registry.register(artifacts.take_folder(folder), by=None)
    assert registry.register(artifacts.take_zip(zipped(folder)), by=None) == first
    edit(folder, title="Another title")
    second = registry.register(artifacts.take_folder(folder), by=None)
    assert (second.model, first.number, second.number) == (first.model, 1, 2)
    assert len(stored()) == 3  # the weights are the same


def test_a_quarantined_version_is_checked_again_when_its_artifact_is_given_again(
    db: None, folder: Path, stored: Stored
) -> None:
    version = registry.register(artifacts.take_folder(folder), by=None)
    ModelVersion.objects.update(state=State.QUARANTINED, state_reason="its file is missing")
    again = registry.register(artifacts.take_folder(folder), by=None)
    assert (again.pk, again.state, again.state_reason) == (version.pk, State.CHECKING, "")
    assert version.checks.count() == 2


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.org"))
    return client


def test_admin_takes_a_zip_and_shows_the_version(operator: Client, folder: Path, stored: Stored) -> None:
    file = SimpleUploadedFile("v1.zip", zipped(folder).getvalue())
    answer = operator.post(reverse("admin:mlmodels_upload"), {"artifact": file}, follow=True)
    assert "Stored as zoo-ok@1. A worker checks it" in answer.content.decode()
    version = ModelVersion.objects.get()
    assert (version.state, version.created_by) == (State.CHECKING, User.objects.get(username="root"))
    event = AuditEvent.objects.get(action="version.upload")
    assert (event.actor, event.target, event.ip) == (version.created_by, "zoo-ok@1", "127.0.0.1")


def test_admin_shows_why_a_zip_is_refused(operator: Client, stored: Stored) -> None:
    file = SimpleUploadedFile("model.pt", pytorch_pickle())
    answer = operator.post(reverse("admin:mlmodels_upload"), {"artifact": file})
    assert "The file is a PyTorch pickle, which can run code when loaded" in answer.content.decode()
    assert stored() == []
    assert (MLModel.objects.count(), ModelVersion.objects.count()) == (0, 0)


def test_the_command_prints_why_an_artifact_is_refused(db: None, folder: Path, stored: Stored) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(CommandError, match=r"^weights.safetensors is missing.$") as error:
        call_command("import_version", str(folder))
    assert error.value.returncode == 1
    with pytest.raises(CommandError, match="nowhere does not exist: expected a folder or a zip file"):
        call_command("import_version", str(folder / "nowhere"))
    assert (stored(), MLModel.objects.count()) == ([], 0)


def test_an_artifact_of_the_zoo_is_one_that_the_registry_accepts(folder: Path, stored: Stored) -> None:
    """Otherwise the refusals above might have another reason."""
    manifest = artifacts.take_folder(folder).manifest
    assert manifest == json.loads(json.dumps(zoo.manifest("ok", {}, (folder / "weights.safetensors").read_bytes())))
