"""Every address of the site, walked as nobody, as another person, as the owner and as staff."""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from mlmodels.models import MLModel
from predictions import uploads
from predictions.models import Prediction
from serving_site.accounts.models import User, audit
from serving_site.jobs.models import Worker
from serving_site.jobs.uuid7 import uuid7
from tests import registry

ANYBODY, LOGGED_IN, OWNER, STAFF = "anybody", "logged in", "owner", "staff"

# Who may open each address. An address that is missing here fails the walk: decide, then add it.
WHO = {
    "/livez": ANYBODY,
    "/readyz": ANYBODY,
    "/metrics": "nobody",
    "/accounts/login/": ANYBODY,
    "/accounts/logout/": ANYBODY,
    "/accounts/signup/": "nobody",
    "/accounts/password/reset/": ANYBODY,
    "/accounts/password/reset/sent/": ANYBODY,
    "/accounts/password/reset/x/y/": ANYBODY,
    "/accounts/": LOGGED_IN,
    "/accounts/password/": LOGGED_IN,
    "/": LOGGED_IN,
    "/predictions/": LOGGED_IN,
    "/models/animals/": LOGGED_IN,
    "/predictions/{key}/": OWNER,
    "/predictions/{key}/status/": OWNER,
    "/predictions/{key}/cancel/": OWNER,
    "/predictions/{key}/again/": OWNER,
    "/predictions/{key}/note/": OWNER,
    "/predictions/{key}/delete/": OWNER,
    "/files/{preview}/": OWNER,
    "/internal/files/x/x": "workers",
}
POST_ONLY = ("/cancel/", "/again/", "/note/", "/logout/")


@dataclass(frozen=True)
class World:
    """One prediction of alice's with a picture drawn for her, and the four who try."""

    row: Prediction
    preview: str
    clients: dict[str, Client]

    def address(self, template: str) -> str:
        return template.format(key=self.row.pk, preview=self.preview)


@pytest.fixture
def world(alice: User, bob: User, animals: MLModel) -> Iterator[World]:
    preview = uploads.store_preview(alice.pk, registry.png())
    row = registry.prediction(alice, animals, previews={"0": {"image": preview}})
    staff = User.objects.create_superuser("carol", "carol@example.org", "correct horse battery")
    clients = {"nobody": Client(raise_request_exception=False)}
    for name, person in (("owner", alice), ("other", bob), ("staff", staff)):
        clients[name] = Client(raise_request_exception=False)
        clients[name].force_login(person)
    yield World(row, preview, clients)
    uploads.remove([preview])


def patterns(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    """Every address of the URL configuration, with its parameters as regular text."""
    for one in resolver.url_patterns:
        path = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from patterns(one, path)
        elif isinstance(one, URLPattern):
            yield path


SAMPLES = {
    "<slug:slug>": "animals",
    "<uidb64>/<token>": "x/y",
    "<slug:area>/<slug:name>": "x/x",
    "predictions/<uuid:key>": "predictions/{key}",
    "files/<uuid:key>": "files/{preview}",
}


def site_addresses() -> list[str]:
    found = []
    for path in patterns(get_resolver()):
        if path.startswith("/admin/"):
            continue
        found.append(reduce(lambda text, one: text.replace(*one), SAMPLES.items(), path))
    return sorted(set(found))


def admin_addresses() -> list[str]:
    return sorted({path for path in patterns(get_resolver()) if path.startswith("/admin/") and path != "/admin/login/"})


def goes_to_login(response: Any) -> bool:
    return bool(response.status_code == 302 and response["Location"].startswith("/accounts/login/?next="))


def ask(client: Client, method: str, path: str) -> Any:
    response = client.get(path) if method == "GET" else client.post(path)
    response.close()
    return response


@pytest.mark.parametrize("template", site_addresses())
def test_every_address_opens_only_to_whom_it_is_for(world: World, template: str) -> None:
    who, path = WHO[template], world.address(template)
    method = "POST" if path.endswith(POST_ONLY) else "GET"
    answers = {name: ask(client, method, path) for name, client in world.clients.items()}
    statuses = {name: response.status_code for name, response in answers.items()}
    assert all(status < 500 for status in statuses.values()), statuses
    if who in ("nobody", "workers"):
        assert set(statuses.values()) == {404}
    elif who == ANYBODY:
        assert set(statuses.values()) <= {200, 302}
    else:
        assert goes_to_login(answers["nobody"])
        assert statuses["owner"] in (200, 302)
        expected = (404, 404) if who == OWNER else (200, 200)
        assert (statuses["other"], statuses["staff"]) == expected


@pytest.mark.parametrize("template", [path for path, who in WHO.items() if who == OWNER])
def test_what_is_somebody_elses_answers_exactly_like_what_does_not_exist(world: World, template: str) -> None:
    method = "POST" if template.endswith(POST_ONLY) else "GET"
    path = world.address(template)
    missing = template.format(key=uuid7(), preview=uuid7())
    theirs, nothing = (ask(world.clients["other"], method, one) for one in (path, missing))
    request_id = re.compile(rb"[0-9a-f-]{36}")
    assert theirs.status_code == nothing.status_code == 404
    assert request_id.sub(b"", theirs.content) == request_id.sub(b"", nothing.content)
    assert set(theirs.headers) == set(nothing.headers)
    assert Prediction.objects.filter(pk=world.row.pk, note="").exists()


def admin_path(world: World, template: str) -> str:
    """`template` with the key of a row that exists, so that its page is really made."""
    release = world.row.release
    assert release is not None
    rows = {
        "user": world.row.owner_id,
        "group": Group.objects.create(name="vets").pk,
        "mlmodel": world.row.model_id,
        "modelversion": world.row.version_id,
        "release": release.pk,
        "prediction": world.row.pk,
        "worker": Worker.objects.create(host="h", pid=1, slots=1, started_at=timezone.now(), seen_at=timezone.now()).pk,
        "auditevent": audit(world.row.owner, "test", "test").pk,
    }
    path = re.sub(r"\^?\(\?P<app_label>[^)]*\)/\$", "mlmodels/", template).replace("(?P<url>.*)$", "nothing")
    path = path.replace("<path:content_type_id>/<path:object_id>", f"1/{uuid.uuid4()}")
    return re.sub(r"<[^>]*>", str(rows.get(path.split("/")[3] if path.count("/") > 3 else "", "")), path)


@pytest.mark.parametrize("template", admin_addresses())
def test_admin_is_closed_to_everybody_but_staff(world: World, template: str) -> None:
    path = admin_path(world, template)
    assert not set("<>()") & set(path)
    for name in ("nobody", "owner", "other"):
        response = ask(world.clients[name], "GET", path)
        if path == "/admin/logout/":
            assert response.status_code in (302, 405)
        else:
            assert response.status_code == 302
            assert response["Location"].startswith(("/admin/login/?next=", "/accounts/login/?next="))
    assert ask(world.clients["staff"], "GET", path).status_code < 500


def test_people_who_are_not_staff_are_told_so_instead_of_being_sent_in_circles(world: World) -> None:
    response = world.clients["owner"].get("/admin/", follow=True)
    assert response.status_code == 403


def test_admin_has_no_login_form_of_its_own(world: World) -> None:
    response = world.clients["nobody"].get("/admin/login/?next=/admin/jobs/")
    assert goes_to_login(response)


@pytest.mark.parametrize("action", ["cancel", "again", "note"])
def test_who_had_to_sign_in_before_an_action_ends_on_the_predictions_page(world: World, action: str) -> None:
    response = world.clients["owner"].get(f"/predictions/{world.row.pk}/{action}/")
    assert response["Location"] == f"/predictions/{world.row.pk}/"
    assert Prediction.objects.count() == 1


def test_a_model_with_groups_does_not_exist_for_others(world: World, bob: User, animals: MLModel) -> None:
    animals.groups.add(Group.objects.create(name="vets"))
    other = world.clients["other"]
    assert other.get("/models/animals/").status_code == 404
    assert other.post("/models/animals/", {"length": "80"}).status_code == 404
    assert "Animals" not in other.get("/").content.decode()
    bob.groups.add(Group.objects.get(name="vets"))
    assert other.get("/models/animals/").status_code == 200


def test_a_picture_that_a_person_gave_is_never_sent_back(world: World, alice: User) -> None:
    given = uploads.store(alice.pk, ContentFile(registry.png()), "image/png", "preview.png")
    assert world.clients["owner"].get(f"/files/{given.pk}/").status_code == 404
    uploads.remove([given.pk])


def test_a_preview_is_sent_as_a_picture_and_nothing_else(world: World) -> None:
    response = world.clients["owner"].get(f"/files/{world.preview}/")
    assert b"".join(response) == registry.png()
    assert response["Content-Type"] == "image/png"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response["Content-Disposition"].startswith('inline; filename="preview-')
    response.close()


@pytest.mark.parametrize("path", ["/", "/predictions/", "/predictions/{key}/", "/models/animals/", "/accounts/"])
def test_pages_may_load_nothing_from_elsewhere_and_nothing_inline(world: World, path: str) -> None:
    response = world.clients["owner"].get(world.address(path))
    policy, page = response["Content-Security-Policy"], response.content.decode()
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert " style=" not in page
    assert "<style" not in page
    assert " on" + "click=" not in page
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/predictions/", "/predictions/{key}/", "/predictions/{key}/status/"])
def test_results_are_not_kept_by_caches(world: World, path: str) -> None:
    assert "no-store" in world.clients["owner"].get(world.address(path))["Cache-Control"]
