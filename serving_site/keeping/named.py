"""Which stored files the database's rows name, in SQL that both engines understand."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

ARTIFACTS = """
SELECT name, MAX(sound) FROM (
    SELECT manifest_sha256 AS name, CASE WHEN state = 'quarantined' THEN 0 ELSE 1 END AS sound
    FROM mlmodels_modelversion WHERE state <> 'refused'
    UNION ALL
    SELECT weights_sha256, CASE WHEN state = 'quarantined' THEN 0 ELSE 1 END
    FROM mlmodels_modelversion WHERE state <> 'refused'
    UNION ALL SELECT train_sha256, 1 FROM mlmodels_datasetsnapshot
    UNION ALL SELECT holdout_sha256, 1 FROM mlmodels_datasetsnapshot
) AS named GROUP BY name ORDER BY name
"""
UPLOADS = "SELECT id, sha256 FROM predictions_upload ORDER BY id"


@dataclass(frozen=True)
class Named:
    """A file that a row names. One of a quarantined version alone may be broken: that is why it is quarantined."""

    area: str
    name: str
    sha256: str
    is_sound: bool = True

    def as_line(self) -> bytes:
        return f"{self.area} {self.name} {self.sha256} {int(self.is_sound)}\n".encode()


def from_line(line: bytes) -> Named:
    area, name, sha256, is_sound = line.decode().split()
    return Named(area, name, sha256, is_sound == "1")


def named_files(rows: Callable[[str], Iterable[tuple[Any, Any]]]) -> Iterator[Named]:
    """Every file once. `rows` runs a statement and gives its rows."""
    for name, is_sound in rows(ARTIFACTS):
        yield Named("artifacts", name, name, bool(is_sound))
    for key, sha256 in rows(UPLOADS):
        yield Named("uploads", str(uuid.UUID(str(key))), sha256)
