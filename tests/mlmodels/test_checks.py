"""The admission check as the job that it is, and quarantine: with real executors, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from django.core.files.storage import storages
from safetensors.torch import load_file, save_file

from mlmodels import artifacts, registry, releases
from mlmodels.models import ModelVersion, Release, State, VersionCheck, VersionHealth
from predictions.models import Prediction
from serving_site.accounts.models import AuditEvent, User
from serving_site.jobs import submit
from serving_site.jobs.drain import drain
from serving_site.jobs.kinds import KINDS
from tests import zoo
from tests.mlmodels.conftest import Stored, edit
from tests.mlmodels.test_artifacts import sha256
from tests.registry import passed_gate

Accept = Callable[[Path], ModelVersion]


@pytest.fixture
def check(worker: None) -> Accept:
    """Register the artifact in a folder and run its check; returns the version with its verdict."""

    def run(folder: Path) -> ModelVersion:
        version = registry.register(artifacts.take_folder(folder), by=None)
        assert version.state == State.CHECKING
        drain(KINDS[VersionCheck])
        version.refresh_from_db()
        return version

    return run


def weights(folder: Path, **tensors: torch.Tensor) -> None:
    """Replace tensors of the artifact and name the new file in its manifest."""
    path = folder / "weights.safetensors"
    save_file({**load_file(path), **tensors}, path)
    data = path.read_bytes()
    edit(folder, files={"weights.safetensors": {"sha256": sha256(data), "size": len(data)}})


def test_a_good_version_becomes_healthy(check: Accept, folder: Path, stored: Stored) -> None:
    version = check(folder)
    assert (version.state, version.state_reason) == (State.HEALTHY, "")
    assert stored() == sorted([version.manifest_sha256, version.weights_sha256])
    (job,) = version.checks.all()
    assert (job.status, job.error) == ("succeeded", "")
    actions = list(AuditEvent.objects.order_by("id").values_list("action", "target"))
    assert actions == [("version.upload", "zoo-ok@1"), ("version.healthy", "zoo-ok@1")]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: edit(folder, architecture="transformer"), "transformer"),
        (lambda folder: edit(folder, architecture="table-mlp", params={"surprise": 1}), "surprise"),
        (lambda folder: weights(folder, **{"linear.weight": torch.zeros(3, 1)}), "linear.weight"),
        (lambda folder: weights(folder, more=torch.zeros(3, 1)), "more"),
        (lambda folder: weights(folder, **{"linear.weight": torch.tensor([[float("nan")], [1.0]])}), "linear.weight"),
        (lambda folder: weights(folder, **{"linear.weight": torch.tensor([[float("inf")], [1.0]])}), "linear.weight"),
        (
            lambda folder: edit(folder, golden=[{"input": {"x": 1.0}, "output": zoo.expected(-1.0)}]),
            "does not reproduce golden example 1",
        ),
        (lambda folder: edit(folder, golden=[{"input": {"x": "?"}, "output": zoo.expected(1.0)}]), "golden input"),
        (lambda folder: edit(folder, golden=[{"input": {"x": 1.0}, "output": {"label": "low"}}]), "golden output"),
    ],
)
def test_a_bad_version_is_refused_with_one_sentence_and_its_files_are_gone(
    check: Accept, folder: Path, stored: Stored, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(folder)
    version = check(folder)
    assert version.state == State.REFUSED
    assert words in version.state_reason
    assert "\n" not in version.state_reason
    assert version.state_reason.rstrip('"').endswith((".", "…"))
    assert stored() == []
    event = AuditEvent.objects.get(action="version.refused")
    assert event.after == {"reason": version.state_reason}


@pytest.mark.parametrize(
    ("architecture", "words"),
    [("raises", "raised"), ("nan", "bad_output"), ("segv", "died"), ("random", "differently")],
)
def test_a_version_that_misbehaves_in_its_check_is_refused(
    check: Accept, tmp_path: Path, stored: Stored, architecture: str, words: str
) -> None:
    zoo.artifact(tmp_path / "bad", architecture)
    version = check(tmp_path / "bad")
    assert version.state == State.REFUSED
    assert words in version.state_reason
    assert stored() == []


def test_a_refused_version_leaves_the_weights_that_another_version_uses(
    check: Accept, folder: Path, stored: Stored
) -> None:
    good = check(folder)
    edit(folder, golden=[{"input": {"x": 1.0}, "output": zoo.expected(-1.0)}])
    assert check(folder).state == State.REFUSED
    assert stored() == sorted([good.manifest_sha256, good.weights_sha256])


def test_a_refused_artifact_may_be_given_again_and_becomes_another_version(check: Accept, folder: Path) -> None:
    edit(folder, architecture="transformer")
    assert [check(folder).number, check(folder).number] == [1, 2]


def test_a_stored_file_that_is_spoilt_before_the_check_is_refused(worker: None, folder: Path) -> None:
    version = registry.register(artifacts.take_folder(folder), by=None)
    storages["artifacts"].delete(version.weights_sha256)
    drain(KINDS[VersionCheck])
    version.refresh_from_db()
    assert version.state == State.REFUSED
    assert version.state_reason == f"The stored file {version.weights_sha256[:16]}… is missing."


def release(version: ModelVersion) -> Release:
    passed_gate(version)
    return releases.promote(version.model, version, by=None, reason="a test", warm_s=0)


@pytest.fixture
def two(check: Accept, folder: Path) -> tuple[ModelVersion, ModelVersion]:
    """Two healthy versions with files of their own; the second is live and loaded nowhere."""
    one = check(folder)
    release(one)
    weights(folder, **{"linear.weight": torch.tensor([[-2.0], [2.0]])})
    edit(folder, golden=[{"input": {"x": 1.0}, "output": zoo.expected(2.0)}])
    second = check(folder)
    assert second.state == State.HEALTHY, second.state_reason
    release(second)
    return one, second


def ask(version: ModelVersion, x: float = 1.0, *, pinned: bool = False) -> Prediction:
    owner, _ = User.objects.get_or_create(username="alice", defaults={"email": "alice@example.org"})
    prediction = Prediction(owner=owner, model=version.model, version=version, inputs=[{"x": x}], pinned=pinned)
    submit.submit(prediction)
    return prediction


def answered(prediction: Prediction) -> tuple[str, int, str]:
    found = Prediction.objects.select_related("version").get(pk=prediction.pk)
    return found.status, found.version.number, found.reason_code


def spoil_file(sha256: str, tmp_path: Path, content: bytes | None) -> None:
    """In the storage; a worker's own copy goes too, as on a worker that never had one."""
    for path in (tmp_path / "files").rglob(sha256), (tmp_path / "cache").rglob(sha256):
        for file in path:
            if content is None or "cache" in file.parts:
                file.unlink()
            else:
                file.write_bytes(content)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "is missing."), (b"spoilt", "is corrupt: its bytes do not have that hash.")]
)
@pytest.mark.parametrize("part", ["weights_sha256", "manifest_sha256"])
def test_a_version_whose_file_is_broken_is_quarantined_and_the_previous_one_answers(
    two: tuple[ModelVersion, ModelVersion], tmp_path: Path, content: bytes | None, words: str, part: str
) -> None:
    one, second = two
    spoil_file(getattr(second, part), tmp_path, content)
    free, pinned = ask(second), ask(second, pinned=True)
    drain(KINDS[Prediction])
    assert answered(free) == ("succeeded", 1, "")
    assert answered(pinned) == ("failed", 2, "model_unavailable")
    second.refresh_from_db()
    assert second.state == State.QUARANTINED
    assert second.state_reason.endswith(words)
    one.model.refresh_from_db()
    assert one.model.live_version == one


def test_a_workers_spoilt_copy_is_fetched_again(two: tuple[ModelVersion, ModelVersion], tmp_path: Path) -> None:
    _, second = two
    copies = list((tmp_path / "cache").rglob(second.weights_sha256))
    assert copies
    copies[0].write_bytes(b"spoilt")
    asked = ask(second)
    drain(KINDS[Prediction])
    assert answered(asked) == ("succeeded", 2, "")


def test_giving_a_quarantined_artifact_again_brings_its_version_back(
    two: tuple[ModelVersion, ModelVersion], tmp_path: Path, check: Accept, folder: Path
) -> None:
    _, second = two
    spoil_file(second.weights_sha256, tmp_path, None)
    ask(second)
    drain(KINDS[Prediction])
    assert check(folder).pk == second.pk
    second.refresh_from_db()
    assert second.state == State.HEALTHY
    assert release(second).number == 4


def test_a_version_whose_last_ten_runs_died_is_quarantined(
    worker: None, check: Accept, folder: Path, tmp_path: Path
) -> None:
    one = check(folder)
    release(one)
    zoo.artifact(tmp_path / "bad", "segv")
    edit(tmp_path / "bad", slug="zoo-ok")
    bad = registry.register(artifacts.take_folder(tmp_path / "bad"), by=None)
    VersionCheck.objects.all().delete()
    ModelVersion.objects.filter(pk=bad.pk).update(state=State.HEALTHY)  # a crash that its golden examples do not show
    release(bad)
    asked = [ask(bad, x) for x in range(6)]
    drain(KINDS[Prediction])
    bad.refresh_from_db()
    assert (bad.state, bad.state_reason) == (State.QUARANTINED, "its last 10 runs all died")
    ended = [answered(prediction) for prediction in asked]
    assert set(ended) == {("failed", 2, "worker_crashed"), ("succeeded", 1, "")}
    assert ended.count(("failed", 2, "worker_crashed")) <= 3


def test_one_run_that_lives_forgets_the_deaths_before_it(worker: None, check: Accept, folder: Path) -> None:
    version = check(folder)
    VersionHealth.objects.create(version=version, deaths_in_a_row=9)
    ask(version)
    drain(KINDS[Prediction])
    assert VersionHealth.objects.get().deaths_in_a_row == 0


def test_golden_pictures_of_a_manifest_are_shown_to_the_model(check: Accept, tmp_path: Path) -> None:
    zoo.artifact(tmp_path / "picture", "picture")
    version = check(tmp_path / "picture")
    assert (version.state, version.state_reason) == (State.HEALTHY, "")
    edit(tmp_path / "picture", golden=[{"input": {"x": zoo.grey_picture(200)}, "output": zoo.expected(-1.0)}])
    assert check(tmp_path / "picture").state_reason == "The model does not reproduce golden example 1."
