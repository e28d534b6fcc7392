"""deploy/host changes over from one release to another; whatever fails or is killed, what ran before goes on."""

import types
from pathlib import Path

import health
import pytest
import switching
from machine import Refused

from tests.fake_host import Fake, State, ends

OLD, NEW, OTHER = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each release answers when it is asked how it is, one answer after the other; nothing is waited for."""
    answers: dict[str, list[str]] = {}
    clock = [0.0]

    def problem(path: str, settings: object, *, full: bool) -> str:
        said = answers.get(Path(path).stem.removeprefix("web-"), [])
        return said.pop(0) if said else ""

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(health, "problem", problem)
    monkeypatch.setattr(switching, "time", types.SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
    return answers


@pytest.fixture
def serving(fake: Fake, sick: dict[str, list[str]]) -> Fake:
    """A host that runs the release OLD, where NEW and OTHER are built."""
    fake.built(OLD, NEW, OTHER)
    switching.switch(fake, OLD)
    fake.did.clear()
    return fake


BEFORE: State = (OLD, None, {OLD}, True)
LOOKING = ("systemctl show", "systemctl list-units")


def test_the_first_release_starts_and_the_proxy_leads_to_it(serving: Fake) -> None:
    assert serving.state == BEFORE


def test_the_next_one_starts_beside_it_before_the_old_one_ends(serving: Fake) -> None:
    switching.switch(serving, NEW)
    assert serving.state == (NEW, OLD, {NEW}, True)
    order = ["manage.py migrate", f"start --no-block serving-site-web@{NEW}", "enable", "reload nginx", "stop"]
    found = [next(at for at, line in enumerate(serving.did) if part in line) for part in order]
    assert found == sorted(found)
    switching.switch(serving, OTHER)
    assert serving.state == (OTHER, NEW, {OTHER}, True)
    switching.back(serving)
    assert serving.state == (NEW, OTHER, {NEW}, True)


def test_what_runs_already_is_left_alone(serving: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    switching.switch(serving, OLD)
    assert capsys.readouterr().out == "unchanged\n"
    assert all(line.startswith(LOOKING) for line in serving.did)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("manage.py migrate", "no table"),
        ("reload nginx", "nginx is away"),
        ("nginx -t", "a bad line"),
        (f"enable --quiet serving-site-web@{NEW}", "read-only"),
    ],
)
def test_whatever_fails_leaves_all_as_it_was(serving: Fake, part: str, reason: str) -> None:
    serving.fails[part] = reason
    with pytest.raises(Refused, match=reason):
        switching.switch(serving, NEW)
    serving.fails.clear()
    assert serving.state == BEFORE


@pytest.mark.parametrize("unit", ["web", "worker"])
def test_a_unit_that_ends_is_shown_with_its_log(serving: Fake, unit: str) -> None:
    ends(serving, f"serving-site-{unit}@{NEW}.service")
    serving.fails["journalctl"] = "Traceback: it cannot start"
    with pytest.raises(Refused, match=rf"serving-site-{unit}@{NEW}.service does not start(?s:.*)it cannot start"):
        switching.switch(serving, NEW)
    assert serving.state == BEFORE


def test_a_release_that_does_not_become_healthy_is_named_with_the_reason(
    serving: Fake, sick: dict[str, list[str]]
) -> None:
    sick[NEW] = ["broker: away"] * 1000
    with pytest.raises(Refused, match=f"{NEW} is not healthy after 60 s: broker: away"):
        switching.switch(serving, NEW)
    assert serving.state == BEFORE


def test_a_release_that_becomes_unhealthy_while_it_serves_gives_the_proxy_back(
    serving: Fake, sick: dict[str, list[str]]
) -> None:
    sick[NEW] = ["starting", "", "database: away", "database: away"]
    with pytest.raises(Refused, match="became unhealthy while it served: database: away"):
        switching.switch(serving, NEW)
    assert serving.state == BEFORE
    sick[NEW] = ["", "once is no evidence"]
    switching.switch(serving, NEW)
    assert serving.state == (NEW, OLD, {NEW}, True)


def test_nobody_who_waits_any_more_undoes_the_change(serving: Fake) -> None:
    def gone() -> None:
        raise Refused("gone")

    with pytest.raises(Refused, match="gone"):
        switching.switch(serving, NEW, is_wanted=gone)
    assert serving.state == BEFORE


@pytest.mark.parametrize("leads_to", [OLD, NEW])
def test_what_a_killed_change_left_is_undone(serving: Fake, leads_to: str) -> None:
    serving.running |= {f"serving-site-web@{NEW}.service", f"serving-site-worker@{NEW}.service"}
    serving.upstream.write_text(serving.upstream.read_text().replace(OLD, leads_to))
    switching.settle(serving)
    assert serving.state == BEFORE
    serving.did.clear()
    switching.settle(serving)
    assert all(line.startswith(LOOKING) for line in serving.did)


def test_a_host_that_is_stopped_runs_nothing_and_can_go_on(serving: Fake) -> None:
    switching.stop(serving)
    assert serving.state == (OLD, None, set(), True)
    switching.switch(serving, OLD)
    assert serving.state == BEFORE


def test_without_an_earlier_release_there_is_no_way_back(serving: Fake) -> None:
    with pytest.raises(Refused, match="No earlier release"):
        switching.back(serving)
    with pytest.raises(Refused, match="was not built here"):
        switching.switch(serving, "dddddddddddd")
