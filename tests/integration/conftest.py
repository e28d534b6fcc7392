"""The same behaviour on both installs: embedded (SQLite, in-process worker) and distributed (RabbitMQ, PostgreSQL)."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.installs import Install
from tests.person import Person
from tests.processes import Process, Web


@dataclass
class Running:
    """A running install, and Alice at its site."""

    install: Install
    web: Web
    workers: list[Process]
    alice: Person


@pytest.fixture(scope="module", params=["embedded", "distributed"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    if request.param == "embedded":
        install = Install.embedded()
    else:
        install = Install.distributed_on(request.getfixturevalue("rabbitmq"), request.getfixturevalue("postgres"))
    try:
        web, workers = install.start()
        install.serve(["ok", "poison"])
        yield Running(install, web, workers, install.log_in(web))
    finally:
        install.close()
