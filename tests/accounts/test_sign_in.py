"""Signing in and out, and guessing: slow for who guesses, never a lock for who owns the account."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from serving_site.accounts import throttle
from serving_site.accounts.middleware import address_behind
from serving_site.accounts.models import LoginAttempt, User
from tests.accounts.conftest import PASSWORD

PATH = "/accounts/login/"


class Clock:
    """Lets time pass for the throttle: what it remembers becomes that much older."""

    def shift(self, time: timedelta) -> None:
        for row in LoginAttempt.objects.all():
            LoginAttempt.objects.filter(pk=row.pk).update(free_at=row.free_at - time, last_at=row.last_at - time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sign_in(client: Client, name: str = "alice", password: str = PASSWORD, address: str = "10.0.0.1") -> Any:
    return client.post(PATH, {"username": name, "password": password}, REMOTE_ADDR=address)


def test_a_person_signs_in_with_name_or_address_and_out_again(alice: User) -> None:
    for name in ("alice", "alice@example.org", "ALICE@example.org"):
        client = Client()
        assert sign_in(client, name)["Location"] == "/"
        assert client.get("/").status_code == 200
        assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"
        assert client.get("/").status_code == 302


def test_after_signing_in_one_is_where_one_wanted_to_go(alice: User) -> None:
    client = Client()
    wanted = client.get("/predictions/?q=cat")["Location"]
    response = client.post(wanted, {"username": "alice", "password": PASSWORD, "next": "/predictions/?q=cat"})
    assert response["Location"] == "/predictions/?q=cat"
    elsewhere = Client().post(PATH, {"username": "alice", "password": PASSWORD, "next": "https://example.com/"})
    assert elsewhere["Location"] == "/"


@pytest.mark.parametrize("name", ["alice", "nobody", "a" * 300, "alice\0", "'; --"])
def test_a_wrong_password_and_an_unknown_name_are_told_the_same(alice: User, name: str) -> None:
    response = sign_in(Client(), name, "wrong")
    assert response.status_code == 200
    assert PASSWORD not in response.content.decode()
    if "\0" not in name and len(name) < 200:
        assert "do not belong together" in response.content.decode()


def test_an_unknown_name_costs_as_much_as_a_wrong_password(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    real = User.set_password

    def counted(self: User, raw: str | None) -> None:
        hashed.append("unknown")
        real(self, raw)

    monkeypatch.setattr(User, "set_password", counted)
    sign_in(Client(), "nobody", "wrong")
    assert hashed == ["unknown"]


def test_guessing_one_name_is_slowed_down_and_says_how_long(alice: User, clock: Clock) -> None:
    for _ in range(5):
        assert sign_in(Client(), password="wrong").status_code == 200
    refused = sign_in(Client(), password="wrong")
    assert (refused.status_code, refused["Retry-After"]) == (429, "2")
    assert "Wait 2 seconds" in refused.content.decode()


def test_waiting_grows_to_half_a_minute_and_no_further(alice: User, clock: Clock) -> None:
    waits: list[int] = []
    for _ in range(12):
        response = sign_in(Client(), password="wrong", address=f"10.0.1.{len(waits)}")
        if response.status_code == 429:
            waits.append(int(response["Retry-After"]))
            clock.shift(timedelta(seconds=waits[-1]))
    for _ in range(8):
        sign_in(Client(), password="wrong", address="10.0.2.9")
        response = sign_in(Client(), password="wrong", address="10.0.2.9")
        waits.append(int(response["Retry-After"]))
        clock.shift(timedelta(seconds=waits[-1]))
    assert waits == sorted(waits)
    assert max(waits) == throttle.DELAYS_S[-1] <= 60


def test_the_right_password_works_again_after_the_wait(alice: User, clock: Clock) -> None:
    for _ in range(40):
        sign_in(Client(), password="wrong")
        clock.shift(timedelta(seconds=1))
    clock.shift(timedelta(seconds=31))
    assert sign_in(Client()).status_code == 302
    assert not LoginAttempt.objects.filter(key__startswith="name:").exists()


def test_tries_while_waiting_do_not_make_the_wait_longer(alice: User, clock: Clock) -> None:
    for _ in range(30):
        sign_in(Client(), password="wrong")
    clock.shift(timedelta(seconds=2))
    assert sign_in(Client()).status_code == 302


def test_a_stranger_who_keeps_guessing_does_not_lock_the_owner_out(alice: User, clock: Clock) -> None:
    mine = Client()
    sign_in(mine, address="10.0.0.1")
    mine.post("/accounts/logout/")
    for _ in range(50):
        sign_in(Client(), password="wrong", address="10.9.9.9")
        clock.shift(timedelta(seconds=1))
    assert sign_in(Client(), password="wrong", address="10.0.0.2").status_code == 429
    assert sign_in(mine, address="10.0.0.1").status_code == 302


def test_guessing_many_names_from_one_address_is_slowed_down_too(alice: User, clock: Clock) -> None:
    statuses = [sign_in(Client(), f"name{n}", "wrong", "10.7.7.7").status_code for n in range(25)]
    assert statuses[:20] == [200] * 20
    assert statuses[20:] == [429] * 5
    assert sign_in(Client(), address="10.0.0.1").status_code == 302


def test_addresses_of_one_ipv6_network_count_as_one(alice: User, clock: Clock) -> None:
    for n in range(20):
        sign_in(Client(), f"name{n}", "wrong", f"2001:db8:1:2::{n + 1}")
    assert sign_in(Client(), "name", "wrong", "2001:db8:1:2:ffff::1").status_code == 429
    assert sign_in(Client(), "name", "wrong", "2001:db8:1:3::1").status_code == 200


def test_old_tries_are_forgotten(alice: User, clock: Clock) -> None:
    for _ in range(5):
        sign_in(Client(), password="wrong")
    clock.shift(timedelta(minutes=16))
    for _ in range(5):
        assert sign_in(Client(), password="wrong").status_code == 200


def test_a_disabled_account_is_told_like_a_wrong_password_and_its_sessions_end(alice: User) -> None:
    client = Client()
    sign_in(client)
    alice.is_active = False
    alice.save(update_fields=["is_active"])
    assert client.get("/").status_code == 302
    assert "do not belong together" in sign_in(Client()).content.decode()


@pytest.mark.parametrize(
    ("header", "proxies", "address"),
    [
        ("203.0.113.9", 0, ""),
        ("203.0.113.9", 1, "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9", 1, "203.0.113.9"),
        ("1.1.1.1, 203.0.113.9, 10.0.0.1", 2, "203.0.113.9"),
        ("203.0.113.9", 2, ""),
        ("evil", 1, ""),
        ("", 1, ""),
    ],
)
def test_the_clients_address_is_what_the_outermost_trusted_proxy_saw(header: str, proxies: int, address: str) -> None:
    assert address_behind(header, proxies) == address


def test_an_address_that_the_client_wrote_itself_changes_nothing(alice: User, clock: Clock, settings: Any) -> None:
    settings.TRUSTED_PROXIES = 0
    for n in range(20):
        Client().post(PATH, {"username": f"n{n}", "password": "x"}, headers={"x-forwarded-for": f"1.1.1.{n}"})
    last = Client().post(PATH, {"username": "n", "password": "x"}, headers={"x-forwarded-for": "9.9.9.9"})
    assert last.status_code == 429
