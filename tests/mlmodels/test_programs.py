"""Artifacts that bring their own code: refused on every road unless allowed, then checked like any other."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import reverse

from mlmodels import artifacts, manifests, registry, runtime
from mlmodels.executor import ExecutorServer, exported
from mlmodels.manifests import RefusedArtifact
from mlmodels.models import ModelVersion, State, VersionCheck
from serving_site.accounts.models import User
from serving_site.jobs.drain import drain, stopping
from serving_site.jobs.kinds import KINDS
from tests import programs
from tests.mlmodels.conftest import edit
from tests.mlmodels.test_artifacts import Stored, zipped

NOT_ALLOWED = (
    "program.pt2 is an exported program, which can run code when loaded, and is refused: export weights.safetensors, "
    "or let an operator set ALLOW_EXECUTABLE_ARTIFACTS, which lets those who may give versions run code in the "
    "workers' sandbox."
)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A good artifact of the second tier."""
    return programs.artifact(tmp_path / "program")


@pytest.fixture
def allowed(settings: Any) -> None:
    settings.ALLOW_EXECUTABLE_ARTIFACTS = True


def test_a_program_is_refused_unless_an_operator_has_allowed_programs(program: Path, stored: Stored) -> None:
    for take in (artifacts.take_folder, lambda folder: artifacts.take_zip(zipped(folder))):
        with pytest.raises(RefusedArtifact) as refused:
            take(program)
        assert str(refused.value) == NOT_ALLOWED
    with pytest.raises(CommandError) as failed:
        call_command("import_version", str(program))
    assert str(failed.value) == NOT_ALLOWED
    assert stored() == []


def test_a_manifest_cannot_pass_weights_off_as_a_program_or_the_reverse(
    allowed: None, program: Path, folder: Path
) -> None:
    edit(folder, architecture="exported-program")
    with pytest.raises(RefusedArtifact) as refused:
        artifacts.take_folder(folder)
    assert str(refused.value) == "manifest.json: the file of the architecture exported-program is program.pt2."
    edit(program, architecture="ok")
    with pytest.raises(RefusedArtifact, match=r"^manifest.json: the file of the architecture ok is weights.safetensor"):
        artifacts.take_folder(program)


@pytest.mark.usefixtures("allowed")
def test_an_allowed_program_is_stored_like_weights(program: Path, stored: Stored) -> None:
    for take in (artifacts.take_folder, lambda folder: artifacts.take_zip(zipped(folder))):
        artifact = take(program)
        assert artifact.weights_sha256 == hashlib.sha256(programs.honest()).hexdigest()
        assert artifact.size == sum(path.stat().st_size for path in program.iterdir())
        assert stored() == sorted([artifact.manifest_sha256, artifact.weights_sha256])


def test_the_files_of_an_artifact_follow_from_its_manifest(program: Path, folder: Path) -> None:
    read = {path: json.loads((path / "manifest.json").read_text()) for path in (program, folder)}
    assert manifests.files_of(read[program]) == ("manifest.json", "program.pt2")
    assert manifests.files_of(read[folder]) == ("manifest.json", "weights.safetensors")
    assert [manifests.is_executable(manifest) for manifest in read.values()] == [True, False]


Spoil = Callable[[Path], Any]


def replace(folder: Path, data: bytes, size: int | None = None) -> None:
    """Another file in the program's place, named rightly in the manifest but for `size`."""
    (folder / "program.pt2").write_bytes(data)
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data) if size is None else size}
    edit(folder, files={"program.pt2": entry})


def linked(folder: Path) -> None:
    (folder / "program.pt2").rename(folder.parent / "elsewhere")
    (folder / "program.pt2").symlink_to(folder.parent / "elsewhere")


SPOILT: dict[str, tuple[Spoil, str]] = {
    "wrong hash": (
        lambda folder: (folder / "program.pt2").write_bytes(programs.honest() + b"x"),
        "program.pt2 has sha256 ",
    ),
    "lying size": (lambda folder: replace(folder, programs.honest(), 1), "… and 1."),
    "no archive": (
        lambda folder: replace(folder, b"\x80\x04 a pickle"),
        "program.pt2 is not an exported program: save it with torch.export.save.",
    ),
    "missing": (lambda folder: (folder / "program.pt2").unlink(), "weights.safetensors is missing."),
    "another name": (
        lambda folder: (folder / "program.pt2").rename(folder / "model.pt2"),
        "'model.pt2': an exported program must be called program.pt2.",
    ),
    "weights beside": (
        lambda folder: (folder / "weights.safetensors").write_bytes(b"x"),
        "'weights.safetensors' does not belong here: only manifest.json and program.pt2 are accepted.",
    ),
    "pickle beside": (
        lambda folder: (folder / "model.pt").write_bytes(b"x"),
        "'model.pt': PyTorch pickles can run code when loaded and are refused; export weights.safetensors.",
    ),
    "link": (
        linked,
        "program.pt2 is a link or not a plain file; give the file itself.",
    ),
}


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(("spoil", "sentence"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_program_is_refused_with_one_sentence_and_nothing_stored(
    spoil: Spoil, sentence: str, program: Path, stored: Stored
) -> None:
    spoil(program)
    with pytest.raises(RefusedArtifact) as refused:
        artifacts.take_folder(program)
    assert sentence in str(refused.value)
    assert stored() == []


@pytest.mark.usefixtures("allowed")
def test_a_program_without_its_manifest_is_refused_and_told_how(stored: Stored) -> None:
    with pytest.raises(RefusedArtifact) as refused:
        artifacts.take_zip(io.BytesIO(programs.honest()))
    assert str(refused.value) == (
        "The file is an exported program (.pt2) without its manifest: give a zip of manifest.json and program.pt2."
    )
    assert stored() == []


@pytest.mark.usefixtures("allowed")
def test_admin_takes_a_program_only_from_who_has_the_permission(db: None, program: Path, stored: Stored) -> None:
    user = User.objects.create_user("olga", "olga@example.org", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="add_modelversion"))
    user.user_permissions.add(Permission.objects.get(codename="view_modelversion"))
    client = Client()
    client.force_login(user)

    def upload() -> str:
        file = SimpleUploadedFile("program.zip", zipped(program).getvalue())
        return client.post(reverse("admin:mlmodels_upload"), {"artifact": file}, follow=True).content.decode()

    assert "giving one needs the permission “Can upload artifacts that run code when loaded”." in upload()
    assert (stored(), ModelVersion.objects.count()) == ([], 0)
    user.user_permissions.add(Permission.objects.get(codename="upload_executable"))
    assert "Stored as zoo-program@1." in upload()
    assert ModelVersion.objects.get().is_executable


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runtime.Runtime]:
    """What a worker process holds where programs are allowed."""
    with override_settings(MODEL_ARCHITECTURES=["tests.zoo"], ALLOW_EXECUTABLE_ARTIFACTS=True):
        made = runtime.Runtime(4, runtime.ArtifactCache(tmp_path_factory.mktemp("cache")))
    before, runtime._runtime = runtime._runtime, made
    yield made
    runtime._runtime = before
    made.close()


@pytest.fixture
def check(
    transactional_db: None, allowed: None, host: runtime.Runtime, stored: Stored, tmp_path: Path
) -> Callable[[Path], ModelVersion]:
    """Register the artifact in a folder and run its check; returns the version with its verdict."""
    stopping.clear()
    host.cache = runtime.ArtifactCache(tmp_path / "cache")

    def run(folder: Path) -> ModelVersion:
        version = registry.register(artifacts.take_folder(folder), by=None)
        drain(KINDS[VersionCheck])
        version.refresh_from_db()
        return version

    return run


Check = Callable[[Path], ModelVersion]


def test_a_good_program_becomes_healthy_and_answers(check: Check, program: Path, host: runtime.Runtime) -> None:
    version = check(program)
    assert (version.state, version.state_reason, version.is_executable) == (State.HEALTHY, "", True)
    run, _ = host.predict(version, [{"x": 3.0}], deadline_s=10)
    assert run.outcomes[0].output["label"] == "high"  # type: ignore[union-attr]


def a_plain_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")
    return file.getvalue()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda folder: replace(folder, a_plain_zip()),
            "The file is not an exported program: save it with torch.export.save.",
        ),
        (lambda folder: edit(folder, max_batch=17), "takes 1 to 16 rows at once, but max_batch is 17"),
        (lambda folder: edit(folder, params={"output": "value"}), "params.output is 'value'"),
        (lambda folder: edit(folder, params={"output": "probabilities"}), "golden example 1"),
    ],
    ids=["plain zip", "batch range too small", "params", "wrong answers"],
)
def test_a_bad_program_is_refused_by_its_check(
    check: Check, program: Path, stored: Stored, spoil: Spoil, sentence: str
) -> None:
    spoil(program)
    version = check(program)
    assert (version.state, sentence in version.state_reason) == (State.REFUSED, True), version.state_reason
    assert stored() == []


def test_an_evil_program_may_pass_and_has_done_nothing(check: Check, tmp_path: Path) -> None:
    (tmp_path / "database").write_text("people")
    places = {"marker": str(tmp_path / "marker"), "socket": str(tmp_path / "socket"), "pid": os.getpid(),
              "database": str(tmp_path / "database")}  # fmt: skip
    loud = programs.artifact(tmp_path / "loud", programs.evil("sample inputs", places))
    quiet = programs.artifact(tmp_path / "quiet", programs.evil("sample inputs", places, quiet=True))
    refused, healthy = check(loud), check(quiet)
    assert (refused.state, healthy.state) == (State.REFUSED, State.HEALTHY)
    assert "the payload ran, and these attempts worked: []" in refused.state_reason
    assert not (tmp_path / "marker").exists()


def test_a_worker_of_another_mind_refuses_what_the_web_host_has_taken(
    check: Check, program: Path, host: runtime.Runtime
) -> None:
    """Each worker goes by its own setting: loading is what runs code."""
    ours, host.server = host.server, ExecutorServer(["tests.zoo"])
    try:
        version = check(program)
    finally:
        host.server.close()
        host.server = ours
    assert version.state == State.REFUSED
    assert version.state_reason == exported.NOT_ALLOWED
