"""One's own account: password forgotten, changed or first set; name and address; signing up where that is open."""

import io
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as site
from django.contrib.auth.tokens import default_token_generator
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from serving_site.accounts.models import AuditEvent, User
from tests.accounts.conftest import PASSWORD

NEW = "a new and better secret"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_a_forgotten_password_is_replaced_through_a_mailed_link(alice: User) -> None:
    client = Client()
    asked = client.post("/accounts/password/reset/", {"email": "ALICE@example.org"}, follow=True)
    assert "Look into your mail" in asked.content.decode()
    (letter,) = mail.outbox
    (link,) = re.findall(r"https?://\S+", str(letter.body))[1:]
    assert link.startswith(site.SITE_URL)
    form = client.get(link.removeprefix(site.SITE_URL), follow=True)
    assert "Choose a password" in form.content.decode()
    done = client.post(form.redirect_chain[-1][0], {"new_password1": NEW, "new_password2": NEW}, follow=True)
    assert "Your password is saved" in done.content.decode()
    assert "No models yet" in done.content.decode()
    again = Client().get(link.removeprefix(site.SITE_URL))
    assert "no longer works" in again.content.decode()
    assert AuditEvent.objects.get().action == "password.reset"


def test_asking_for_an_unknown_address_answers_the_same_and_mails_nothing(db: None) -> None:
    asked = Client().post("/accounts/password/reset/", {"email": "nobody@example.org"}, follow=True)
    assert "Look into your mail" in asked.content.decode()
    assert mail.outbox == []


def test_nobody_can_fill_a_mailbox(alice: User) -> None:
    for _ in range(10):
        Client().post("/accounts/password/reset/", {"email": "alice@example.org"})
    assert len(mail.outbox) == 3


def test_somebody_who_never_set_a_password_can_ask_for_a_link(db: None) -> None:
    new = User(username="new", email="new@example.org")
    new.set_unusable_password()
    new.save()
    Client().post("/accounts/password/reset/", {"email": "new@example.org"})
    assert len(mail.outbox) == 1


def test_the_link_of_the_first_run_sets_a_password_and_signs_in(db: None) -> None:
    new = User(username="new", email="new@example.org")
    new.set_unusable_password()
    new.save()
    key = urlsafe_base64_encode(force_bytes(new.pk))
    client = Client()
    form = client.get(f"/accounts/password/reset/{key}/{default_token_generator.make_token(new)}/", follow=True)
    client.post(form.redirect_chain[-1][0], {"new_password1": NEW, "new_password2": NEW})
    assert client.get("/").status_code == 200


def test_installers_get_the_first_administrators_link_until_there_is_a_password(db: None) -> None:
    said = io.StringIO()
    call_command("first_administrator", stdout=said)
    client = Client()
    link = said.getvalue().split()[-1]
    form = client.get(urlsplit(link).path, follow=True)
    client.post(form.redirect_chain[-1][0], {"new_password1": NEW, "new_password2": NEW})
    assert client.get("/admin/").status_code == 200
    call_command("first_administrator", stdout=said)
    assert said.getvalue().splitlines()[-1] == "The first administrator has a password already."


def test_changing_the_password_ends_the_other_sessions(alice: User) -> None:
    here, elsewhere = signed_in(alice), signed_in(alice)
    sent = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    done = here.post("/accounts/password/", sent, follow=True)
    assert "Your password is changed." in done.content.decode()
    assert (here.get("/").status_code, elsewhere.get("/").status_code) == (200, 302)
    assert AuditEvent.objects.get().action == "password.change"


@pytest.mark.parametrize("weak", ["short", "password1", "123456789", "alice@example.org"])
def test_a_weak_password_is_refused_with_the_reason(alice: User, weak: str) -> None:
    sent = {"old_password": PASSWORD, "new_password1": weak, "new_password2": weak}
    page = signed_in(alice).post("/accounts/password/", sent).content.decode()
    assert "error-text" in page
    assert User.objects.get(pk=alice.pk).check_password(PASSWORD)


def test_a_name_is_changed_at_once_and_an_address_only_with_the_password(alice: User) -> None:
    client = signed_in(alice)
    client.post("/accounts/", {"first_name": "Alice", "last_name": "L.", "email": "alice@example.org"})
    refused = client.post("/accounts/", {"first_name": "A", "last_name": "L.", "email": "new@example.org"})
    assert "Give your current password" in refused.content.decode()
    alice.refresh_from_db()
    assert (alice.first_name, alice.email) == ("Alice", "alice@example.org")
    client.post("/accounts/", {"first_name": "Alice", "email": "new@example.org", "password": PASSWORD})
    alice.refresh_from_db()
    assert alice.email == "new@example.org"


def test_two_accounts_never_share_an_address(alice: User) -> None:
    bob = User.objects.create_user("bob", "bob@example.org", PASSWORD)
    sent = {"email": "Alice@Example.org", "password": PASSWORD}
    page = signed_in(bob).post("/accounts/", sent).content.decode()
    assert "Another account has this e-mail address." in page


def test_signing_up_is_closed_unless_the_site_opens_it(db: None, settings: Any) -> None:
    assert Client().get("/accounts/signup/").status_code == 404
    assert "Create an account" not in Client().get("/accounts/login/").content.decode()
    settings.SIGNUP = "open"
    assert "Create an account" in Client().get("/accounts/login/").content.decode()
    client = Client()
    sent = {"username": "new", "email": "new@example.org", "password1": NEW, "password2": NEW}
    assert client.post("/accounts/signup/", sent)["Location"] == "/"
    assert client.get("/").status_code == 200
    assert AuditEvent.objects.get().action == "account.sign_up"


def test_a_form_without_its_check_value_is_refused_with_a_page_that_helps(alice: User) -> None:
    response = Client(enforce_csrf_checks=True).post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    assert response.status_code == 403
    assert "Reload the page" in response.content.decode()
