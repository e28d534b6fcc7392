"""The worker's side of executors: artifacts kept on disk by hash, one loaded child per version, bounded and evicted."""

import contextlib
import hashlib
import re
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.files.storage import storages

from mlmodels import executor
from mlmodels.executor import Executor, ExecutorServer, Limits, Run, RunFailed
from mlmodels.models import ModelVersion, State
from serving_site.jobs import tally

log = structlog.get_logger(__name__)
SHA256 = re.compile("[0-9a-f]{64}")
LOADS = tally.Times("model_load_seconds", "Loading a version, its files fetched and hashed.", ("model",))
LOST = tally.Total("executors_lost", "Children of a worker that ended in a run, and how.", ("model", "how"))
RESTARTS = tally.Total("executor_server_restarts", "Executor servers started because one had died.")


class BrokenArtifact(Exception):
    """A version's stored file is missing or its bytes are not those of its hash."""


class Interrupted(Exception):
    """The worker is stopping, or nobody wants the batch: it never reached the child."""


class ArtifactCache:
    """Artifact files on this worker's disk, by hash, re-hashed whenever a model is loaded from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """A file whose bytes were just hashed to `sha256`. Raises BrokenArtifact."""
        path = self.folder / sha256
        if not self._is_sound(path, sha256):
            self._fetch(path, sha256)
        return path

    def forget_unused(self) -> None:
        """Remove the files that no version uses any more which was not refused."""
        names = {path.name for path in self.folder.glob("*") if SHA256.fullmatch(path.name)}
        kept = ModelVersion.objects.exclude(state=State.REFUSED)
        for column in ("manifest_sha256", "weights_sha256"):
            names -= set(kept.filter(**{f"{column}__in": names}).values_list(column, flat=True))
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def _is_sound(self, path: Path, sha256: str) -> bool:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return False

    def _fetch(self, path: Path, sha256: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{sha256}.{uuid.uuid4().hex}")
        try:
            with storages["artifacts"].open(sha256) as source, draft.open("wb") as target:
                for chunk in source.chunks():
                    target.write(chunk)
            if not self._is_sound(draft, sha256):
                raise BrokenArtifact(f"The stored file {sha256[:16]}… is corrupt: its bytes do not have that hash.")
            draft.replace(path)
        except FileNotFoundError:
            raise BrokenArtifact(f"The stored file {sha256[:16]}… is missing.") from None
        finally:
            draft.unlink(missing_ok=True)


@dataclass
class Slot:
    """One version's place: its executor when loaded, and the lock under which one thread at a time uses it."""

    version_id: uuid.UUID
    lock: threading.Lock = field(default_factory=threading.Lock)
    executor: Executor | None = None


class Runtime:
    """At most `capacity` loaded versions; the one used longest ago is closed, and its memory goes with its process."""

    def __init__(self, capacity: int, cache: ArtifactCache) -> None:
        self.capacity = capacity
        self.cache = cache
        self.server = ExecutorServer(
            settings.MODEL_ARCHITECTURES,
            Limits(memory_bytes=settings.MODEL_MEMORY_MB * 1024**2),
            exported_programs=settings.ALLOW_EXECUTABLE_ARTIFACTS,
            on_restart=RESTARTS.add,
        )
        self.server.start()
        self.slots: OrderedDict[uuid.UUID, Slot] = OrderedDict()
        self.lock = threading.Lock()

    def predict(
        self,
        version: ModelVersion,
        items: Sequence[dict[str, Any]],
        *,
        deadline_s: float,
        is_unwanted: Callable[[], bool] = lambda: False,
        on_start: Callable[[Executor], None] = lambda _: None,
    ) -> tuple[Run, float]:
        """Run `items`; returns the run and how long loading took (ms, 0 when loaded already).

        Raises executor.RunFailed, executor.LoadFailed, BrokenArtifact, or Interrupted before anything has run.
        """
        with self._using(version, is_unwanted) as slot:
            child, load_ms = self._loaded(slot, version)
            if is_unwanted():
                raise Interrupted
            on_start(child)
            try:
                return child.predict(list(items), deadline_s), load_ms
            except RunFailed as failure:
                if not child.alive:
                    LOST.add(version.model.slug, failure.kind)
                raise
            finally:
                if not child.alive:
                    slot.executor = None

    def warm(self, version: ModelVersion) -> None:
        """Load `version` if it is not loaded. Raises as `predict`."""
        with self._using(version, lambda: False) as slot:
            self._loaded(slot, version)

    def loaded(self) -> list[uuid.UUID]:
        with self.lock:
            return [key for key, slot in self.slots.items() if slot.executor and slot.executor.alive]

    def check(self, version: ModelVersion) -> None:
        """The admission check, in a child of its own. Raises executor.Refused or BrokenArtifact."""
        manifest, weights = self._files(version)
        executor.check(self.server, manifest, str(weights))

    @contextlib.contextmanager
    def borrowed(self, version: ModelVersion) -> Iterator[Executor]:
        """`version` in a child of its own, which ends with the block; what serves here stays loaded.

        Raises executor.LoadFailed, executor.ServerFailed or BrokenArtifact.
        """
        manifest, weights = self._files(version)
        child = self.server.load(manifest, str(weights))
        try:
            yield child
        finally:
            child.close()

    def close(self) -> None:
        with self.lock:
            slots, self.slots = list(self.slots.values()), OrderedDict()
        for slot in slots:
            if slot.executor:
                slot.executor.close()
        self.server.close()

    @contextlib.contextmanager
    def _using(self, version: ModelVersion, is_unwanted: Callable[[], bool]) -> Iterator[Slot]:
        """Hold the version's slot; while another thread runs in it, give up as soon as nobody wants this any more."""
        slot = self._slot(version.pk)
        while not slot.lock.acquire(timeout=0.1):
            if is_unwanted():
                raise Interrupted
        try:
            yield slot
        finally:
            slot.lock.release()

    def _slot(self, key: uuid.UUID) -> Slot:
        with self.lock:
            slot = self.slots.setdefault(key, Slot(key))
            self.slots.move_to_end(key)
            return slot

    def _loaded(self, slot: Slot, version: ModelVersion) -> tuple[Executor, float]:
        if slot.executor and slot.executor.alive:
            return slot.executor, 0.0
        self._evict(keep=slot)
        started = time.monotonic()
        manifest, weights = self._files(version)
        slot.executor = self.server.load(manifest, str(weights))
        load_ms = (time.monotonic() - started) * 1000
        LOADS.observe(load_ms / 1000, version.model.slug)
        log.info("version_loaded", version=str(version.pk), load_ms=round(load_ms, 1), pid=slot.executor.pid)
        return slot.executor, load_ms

    def _files(self, version: ModelVersion) -> tuple[bytes, Path]:
        manifest = self.cache.path(version.manifest_sha256).read_bytes()
        return manifest, self.cache.path(version.weights_sha256)

    def _evict(self, keep: Slot) -> None:
        """Make room for one more: close idle executors, oldest use first."""
        with self.lock:
            loaded = [slot for slot in self.slots.values() if slot.executor and slot is not keep]
            surplus = len(loaded) - self.capacity + 1
            idle = [slot for slot in loaded if slot.lock.acquire(blocking=False)] if surplus > 0 else []
            for slot in idle[: max(surplus, 0)]:
                self.slots.pop(slot.version_id)
        for number, slot in enumerate(idle):
            if number < surplus and slot.executor:
                slot.executor.close()
                slot.executor = None
                log.info("version_evicted", version=str(slot.version_id))
            slot.lock.release()


_runtime: Runtime | None = None
_making = threading.Lock()


def get_runtime() -> Runtime:
    """This process's runtime; made on first use, in workers only."""
    global _runtime  # noqa: PLW0603 - one per process
    with _making:
        if _runtime is None:
            _runtime = Runtime(settings.MODEL_CACHE, ArtifactCache(settings.DATA_DIR / "artifact-cache"))
        return _runtime


def forget_unused() -> None:
    """For workers, now and then: what was refused or withdrawn leaves their disk too."""
    if _runtime is not None:
        _runtime.cache.forget_unused()


def facts() -> dict[str, Any]:
    """For the worker's heartbeat row: the sandbox level and the loaded versions."""
    if _runtime is None:
        return {"loaded": [], "sandbox": "not started"}
    return {"loaded": [str(key) for key in _runtime.loaded()], "sandbox": _runtime.server.sandbox_level}


def close() -> None:
    if _runtime is not None:
        _runtime.close()
