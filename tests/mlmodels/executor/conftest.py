"""One real executor server for all tests here, and versions from the zoo loaded into it."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlmodels.executor import Executor, ExecutorServer, Limits
from tests import zoo

Load = Callable[..., Executor]

LIMITS = Limits(memory_bytes=512 * 1024**2)


@pytest.fixture(scope="session")
def server() -> Iterator[ExecutorServer]:
    with ExecutorServer(["tests.zoo"], LIMITS) as started:
        yield started


@pytest.fixture(scope="session")
def open_server() -> Iterator[ExecutorServer]:
    """A server whose operator has allowed exported programs."""
    with ExecutorServer(["tests.zoo"], LIMITS, exported_programs=True) as started:
        yield started


@pytest.fixture
def load(server: ExecutorServer, tmp_path: Path) -> Iterator[Load]:
    """`load("ok", seconds=2)`: a version of that architecture with those params, loaded."""
    loaded: list[Executor] = []

    def load(architecture: str, **params: Any) -> Executor:
        manifest, weights = zoo.artifact(tempfile.mkdtemp(dir=tmp_path), architecture, **params)
        executor = server.load(Path(manifest).read_bytes(), weights)
        loaded.append(executor)
        return executor

    yield load
    for executor in loaded:
        executor.close()
