"""Files are capped while they stream in, whatever their declared length says."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import StopUpload
from django.test import Client, RequestFactory

from predictions.models import Prediction, Upload
from serving_site import uploads
from serving_site.accounts.models import User
from tests import registry

MEGABYTE = 1024**2


@pytest.fixture
def client_of_alice(db: None) -> Client:
    client = Client(enforce_csrf_checks=False)
    client.force_login(User.objects.create_user("alice", "alice@example.org", "x"))
    return client


def big(megabytes: int) -> SimpleUploadedFile:
    return SimpleUploadedFile("big.png", registry.png() + bytes(megabytes * MEGABYTE), "image/png")


def test_fifty_megabytes_are_refused_with_a_sentence_at_the_field(client_of_alice: Client) -> None:
    registry.live_model("pictures", registry.picture_signature())
    response = client_of_alice.post("/models/pictures/", {"image": big(50)})
    assert response.status_code == 413
    assert "The file is too large: at most 10 MB are accepted." in response.content.decode()
    assert 'href="#field-image"' in response.content.decode()
    assert (Prediction.objects.count(), Upload.objects.count()) == (0, 0)


def test_a_refused_upload_is_answered_413_also_where_no_file_belongs(client_of_alice: Client) -> None:
    response = client_of_alice.post("/accounts/", {"photo": big(20)})
    assert response.status_code == 413
    assert "at most 10 MB" in response.content.decode()


def test_what_is_refused_is_never_kept_in_memory_or_on_disk() -> None:
    request = RequestFactory().post("/models/pictures/")
    handler = uploads.CappedUpload(request)
    handler.handle_raw_input(None, {}, 100, b"x")
    handler.new_file("image", "a.png", "image/png", 0)
    for number in range(10):
        assert len(handler.receive_data_chunk(bytes(MEGABYTE), number * MEGABYTE)) == MEGABYTE
    with pytest.raises(StopUpload) as stopped:
        handler.receive_data_chunk(b"x", 10 * MEGABYTE)
    assert not stopped.value.connection_reset


@pytest.mark.parametrize(("declared", "cut"), [(50 * MEGABYTE, False), (10_000 * MEGABYTE, True)])
def test_a_declared_length_over_the_limit_is_refused_before_a_byte_is_stored(declared: int, cut: bool) -> None:
    handler = uploads.CappedUpload(RequestFactory().post("/models/pictures/"))
    handler.handle_raw_input(None, {}, declared, b"x")
    with pytest.raises(StopUpload) as stopped:
        handler.new_file("image", "a.png", "image/png", 0)
    assert stopped.value.connection_reset == cut


def test_only_staff_in_admin_may_send_whole_artifacts(settings: Any) -> None:
    request = RequestFactory().post("/admin/mlmodels/mlmodel/upload/")
    for is_staff, limit in ((False, settings.MAX_UPLOAD_BYTES), (True, settings.MAX_ARTIFACT_BYTES)):
        request.user = User(is_staff=is_staff)
        assert uploads.limit_for(request) == limit
    request = RequestFactory().post("/models/pictures/")
    request.user = User(is_staff=True)
    assert uploads.limit_for(request) == settings.MAX_UPLOAD_BYTES


def test_a_form_of_endless_text_is_answered_413(client_of_alice: Client) -> None:
    registry.live_model("animals")
    response = client_of_alice.post("/models/animals/", {"length": "1" * (3 * MEGABYTE)})
    assert response.status_code == 413
