"""Changing over from one release to another without a pause, and back.

In this order, so that whatever fails or is killed leaves a host that serves, also after a restart of the machine:
change the database, start beside, see it healthy, let it start with the machine, lead the proxy to it, point `current`
to it, watch it, and only then end what ran before. Until that last step the old release runs, so going back is quick.
"""

import contextlib
import datetime
import time
from collections.abc import Callable, Iterator

import health
from machine import Machine, Refused, say

START_S = 60
"""How long a release may take until it is healthy."""
WATCH_S = 5
"""How long it is watched before the old one ends."""
TURN_S = 1
"""How long the proxy may take until no process of it sends requests where they went before."""


def switch(machine: Machine, name: str, is_wanted: Callable[[], None] = lambda: None) -> None:
    """Serve with the release `name`. Raises Refused, with everything as before, where it does not become healthy.

    Shortly before there is no way back, `is_wanted` is called, and may raise Refused too.
    """
    release, old = machine.release(name), machine.named_by("current")
    if not release.is_dir():
        raise Refused(f"{name} was not built here: `serving-site build` makes it.")
    if old == name and _is_whole(machine, name):
        say("unchanged")
        return
    started = time.monotonic()
    if "web" in machine.units:
        machine.manage(release, "migrate", "--noinput", "--verbosity", "0")
        machine.manage(release, "collectstatic", "--noinput", "--verbosity", "0")
    with _undone_on_failure(machine, name, old):
        for unit in _units(machine, name):
            _start(machine, unit)
        _await_health(machine, name, is_first=old is None)
        machine.run("systemctl", "enable", "--quiet", *_units(machine, name))
        _lead_proxy_to(machine, name)
        say(f"Healthy: {name} serves, and is watched for {WATCH_S} s ...")
        _watch(machine, name, is_first=old is None)
        is_wanted()
        if old and old != name:
            machine.point("previous", old)
        machine.point("current", name)
    _end_others(machine, name)
    say(f"Live: {name}, after {time.monotonic() - started:.0f} s.")


@contextlib.contextmanager
def _undone_on_failure(machine: Machine, name: str, old: str | None) -> Iterator[None]:
    """Lead everything back to `old` and end `name` when the block fails for whatever reason."""
    try:
        yield
    except BaseException:
        if old != name:
            if old:
                _lead_proxy_to(machine, old)
            _end(machine, _units(machine, name))
            if old:
                say(f"Rolled back: {old} has been running all the time.")
        raise


def settle(machine: Machine) -> None:
    """Finish or undo a change that was killed: the current release serves, and nothing else runs."""
    current = machine.named_by("current")
    if current and not _is_whole(machine, current):
        switch(machine, current)


def back(machine: Machine) -> None:
    """Serve with the release that ran before; the database stays as it is, which earlier code can live with."""
    previous = machine.named_by("previous")
    if previous is None or previous == machine.named_by("current"):
        raise Refused("No earlier release is kept here.")
    switch(machine, previous)


def _units(machine: Machine, name: str) -> list[str]:
    return [f"serving-site-{unit}@{name}.service" for unit in machine.units]


def _is_whole(machine: Machine, name: str) -> bool:
    """Whether all of `name` runs, alone, and the proxy leads to it."""
    wanted = _units(machine, name)
    leads = "web" not in machine.units or machine.upstream.read_text() == _upstream(machine, name)
    runs = all(_state(machine, unit)["ActiveState"] == "active" for unit in wanted)
    return leads and runs and set(_instances(machine)) == set(wanted)


def _start(machine: Machine, unit: str) -> None:
    """Start a unit; it says itself when it is ready. Raises Refused with the end of its log."""
    machine.attempt("systemctl", "reset-failed", unit)
    machine.run("systemctl", "start", "--no-block", unit)
    until = time.monotonic() + START_S
    while (state := _state(machine, unit))["ActiveState"] != "active":
        if state["ActiveState"] == "failed" or state["NRestarts"] not in ("", "0") or time.monotonic() > until:
            raise Refused(f"{unit} does not start. The end of its log:\n{_log(machine, unit)}")
        time.sleep(0.2)


def _state(machine: Machine, unit: str) -> dict[str, str]:
    shown = machine.attempt("systemctl", "show", "--property", "ActiveState,NRestarts", unit).stdout
    return {"ActiveState": "", "NRestarts": "", **dict(line.split("=", 1) for line in shown.split())}


def _log(machine: Machine, unit: str) -> str:
    said = machine.attempt("journalctl", "--unit", unit, "--lines", "15", "--output", "cat", "--no-pager").stdout
    return "\n".join(f"    {line[:500]}" for line in said.strip().splitlines()) or "    (it said nothing)"


def _await_health(machine: Machine, name: str, *, is_first: bool) -> None:
    until = time.monotonic() + START_S
    while problem := _problem(machine, name, is_first=is_first):
        _is_alive(machine, name)
        if time.monotonic() > until:
            raise Refused(f"{name} is not healthy after {START_S} s: {problem}")
        time.sleep(0.5)


def _is_alive(machine: Machine, name: str) -> None:
    """Raises Refused if a unit of the release has ended since it was started, even if it was started again."""
    for unit in _units(machine, name):
        state = _state(machine, unit)
        if state["ActiveState"] != "active" or state["NRestarts"] not in ("", "0"):
            raise Refused(f"{unit} does not stay up. The end of its log:\n{_log(machine, unit)}")


def _watch(machine: Machine, name: str, *, is_first: bool) -> None:
    """Raises Refused if the release is unwell twice in a row while it serves."""
    until, before = time.monotonic() + WATCH_S, ""
    while time.monotonic() < until:
        _is_alive(machine, name)
        problem = _problem(machine, name, is_first=is_first)
        if problem and before:
            raise Refused(f"{name} became unhealthy while it served: {problem}")
        before = problem
        time.sleep(0.5)


def _problem(machine: Machine, name: str, *, is_first: bool) -> str:
    """What the web process finds wrong: with the database, the broker or the workers. Nothing if all is well.

    Where no worker runs on this host, none can before the very first release has made the tables, so the first need
    not see one.
    """
    if "web" not in machine.units:
        return ""
    needs_worker = "worker" in machine.units or not is_first
    return health.problem(_socket(machine, name), machine.site_environment(), full=needs_worker)


def _socket(machine: Machine, name: str) -> str:
    return str(machine.sockets / f"web-{name}.sock")


def _upstream(machine: Machine, name: str) -> str:
    return f"upstream serving_site {{ server unix:{_socket(machine, name)} fail_timeout=0; }}\n"


def _lead_proxy_to(machine: Machine, name: str) -> None:
    """Let new requests go to `name`; those that the old one is answering end there."""
    if "web" not in machine.units:
        return
    before = machine.upstream.read_text() if machine.upstream.exists() else None
    if before == _upstream(machine, name):
        return
    draft = machine.upstream.with_suffix(".draft")
    draft.write_text(_upstream(machine, name))
    draft.rename(machine.upstream)
    try:
        machine.run("nginx", "-t", "-q")
        machine.run("systemctl", "reload", "nginx.service")
        time.sleep(TURN_S)
    except Refused:
        if before is not None:
            machine.upstream.write_text(before)
        raise


def _end_others(machine: Machine, name: str) -> None:
    _end(machine, sorted(set(_instances(machine)) - set(_units(machine, name))))


def _end(machine: Machine, units: list[str]) -> None:
    """End units after what they hold; they no longer start with the machine."""
    if units:
        machine.attempt("systemctl", "disable", "--quiet", *units)
        machine.attempt("systemctl", "stop", *units)
        machine.attempt("systemctl", "reset-failed", *units)


def _instances(machine: Machine) -> list[str]:
    """Every unit of a release that runs, tries to, or would start with the machine."""
    pattern = [f"serving-site-{unit}@*.service" for unit in ("web", "worker", "train")]
    shown = machine.attempt("systemctl", "list-units", "--all", "--plain", "--no-legend", *pattern).stdout
    files = machine.root.glob("etc/systemd/system/multi-user.target.wants/serving-site-*@*.service")
    return sorted({*(line.split()[0] for line in shown.splitlines() if line.strip()), *(one.name for one in files)})


def stop(machine: Machine) -> None:
    """End this host's part after what it holds, now and at each start of the machine."""
    ended = _instances(machine)
    _end(machine, ended)
    say(f"Ended {', '.join(ended)}." if ended else "unchanged")


def status(machine: Machine) -> dict[str, object]:
    """What runs here: the releases, the units, and what the web process says about the whole site."""
    current = machine.named_by("current")
    found: dict[str, object] = {
        "current": current,
        "since": _since(machine),
        "previous": machine.named_by("previous"),
        "built": sorted(one.name for one in machine.releases.glob("[0-9a-f]*")),
        "units": {unit: _state(machine, unit)["ActiveState"] for unit in _instances(machine)},
    }
    if current and "web" in machine.units:
        found["health"] = health.problem(_socket(machine, current), machine.site_environment(), full=True) or "ok"
    return found


def _since(machine: Machine) -> str | None:
    """When the current release became that, in UTC."""
    link = machine.home / "current"
    if not link.is_symlink():
        return None
    return datetime.datetime.fromtimestamp(link.lstat().st_mtime, datetime.UTC).isoformat(timespec="seconds")
