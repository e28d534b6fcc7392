"""What is wrong with an installation and what to do about it. Each check stands alone: one that breaks is a finding."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import DatabaseError

from serving_site.keeping.doctor import broker, configuration, database, files, host, work, workers
from serving_site.keeping.doctor.findings import Check, Finding, Severity, error, note

FIRST: dict[str, Check] = {"database": database.answers, "migrations": database.migrations_are_applied}
CHECKS: dict[str, Check] = {
    "settings": configuration.settings_fit,
    "addresses": configuration.addresses_fit,
    "secrets": configuration.secrets_are_kept,
    "disk": host.disks_have_room,
    "folders": host.folders_are_closed,
    "static files": host.static_files_are_there,
    "programs": host.programs_are_there,
    "backups": host.backups_are_fresh,
    "broker": broker.answers,
    "storages": files.storages_work,
}
WITH_DATABASE: dict[str, Check] = {
    "connections": database.has_connections_left,
    "workers": workers.are_alive,
    "clocks": workers.clocks_agree,
    "live versions": files.live_versions_are_whole,
    "other versions": files.versions_have_their_files,
    "architectures": work.architectures_are_known,
    "work": work.nothing_is_stuck,
}


def examine() -> Iterator[Finding]:
    """The findings of every check, in an order in which the first is worth mending first."""
    missing = ""
    for name, check in FIRST.items():
        found = [note(f"Not looked at: {missing}.").of(name)] if missing else _found(name, check)
        yield from found
        if any(one.severity == Severity.ERROR for one in found):
            missing = f"first mend the {name}"
    for name, check in CHECKS.items():
        yield from _found(name, check)
    for name, check in WITH_DATABASE.items():
        yield from [note(f"Not looked at: {missing}.").of(name)] if missing else _found(name, check)


def _found(name: str, check: Check) -> list[Finding]:
    """What is well is told only where nothing else is."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except DatabaseError as failure:
        text = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
        found.append(error(f"The database refused: {text}", "See what it is, and repeat."))
    except Exception as failure:  # noqa: BLE001 - a doctor that dies says nothing of the rest
        told = f"{type(failure).__name__}: {failure}"
        found.append(error(f"This could not be looked at: {told}", "See what it is, and repeat."))
    is_well = all(one.severity in (Severity.OK, Severity.NOTE) for one in found)
    return [one.of(name) for one in found if is_well or one.severity != Severity.OK]
