"""Fixtures that every kind of test shares: private servers, real processes of the site, a browser."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from playwright.sync_api import Browser, Page, sync_playwright

from tests import distribution
from tests.processes import SiteProcesses
from tests.services import Buckets, PostgreSQL, RabbitMQ
from tests.session import GROUND

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def pytest_configure(config: pytest.Config) -> None:
    """Keep every file of the session in one folder, and end a session that is terminated as one that is interrupted."""
    if config.option.basetemp is None or is_one_of_several(config):
        config.option.basetemp = str(GROUND.directory / "pytest")
    set_hypothesis_home_dir(GROUND.directory / "hypothesis")
    os.environ.setdefault("FAULT_SEED", str(random.SystemRandom().randrange(10**6)))  # the same in every process
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job starts with it ignored
        signal.signal(number, _interrupt_once)


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    # A second one, as from `kill` of a whole process group, would interrupt the cleaning up.
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    for pid in _sharing:
        os.kill(pid, signal.SIGINT)
    signal.default_int_handler(number, frame)


_sharing: set[int] = set()
"""The processes that share the work of this one."""


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    _sharing.add(node.gateway._rinfo().pid)  # which xdist has asked for and kept


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _sharing.discard(node.gateway._rinfo().pid)


def pytest_unconfigure() -> None:
    """End what still runs, remove the folder."""
    GROUND.close()


def is_one_of_several(config: pytest.Config) -> bool:
    """Whether this process runs a part of the tests, and others the rest."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> distribution.Distribution:
    return distribution.Distribution(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["stop"] = str(GROUND.directory / "stop")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the work, the longest groups start first."""
    if is_one_of_several(config):
        items.sort(key=lambda item: distribution.rank(item.nodeid))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Run nothing more when another process has failed and was asked to stop then (`-x`, `--maxfail`)."""
    if is_one_of_several(item.config) and Path(item.config.workerinput["stop"]).exists():  # type: ignore[attr-defined]
        item.session.shouldstop = "another process has stopped"
        return True
    return None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that shares the work leaves nothing for the time after it has said that it is done."""
    if is_one_of_several(session.config):
        if session.shouldfail:
            Path(session.config.workerinput["stop"]).touch()  # type: ignore[attr-defined]
        GROUND.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the site's processes under a test that failed while they ran."""
    report = yield
    if report.failed:
        report.sections += [("logs of the site's processes", site.logs()) for site in SiteProcesses.running]
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Name the seed of the fault tests where one was run."""
    reports = (report for reports in terminalreporter.stats.values() for report in reports)
    if any(getattr(report, "nodeid", "").startswith(distribution.FAULTS) for report in reports):
        terminalreporter.write_line(f"The moments of the fault tests come from FAULT_SEED={os.environ['FAULT_SEED']}")


@pytest.fixture(scope="session")
def rabbitmq() -> RabbitMQ:
    """A private broker; ask it for a vhost of the test's own: `rabbitmq.url(rabbitmq.new_vhost())`."""
    return RabbitMQ(GROUND)


@pytest.fixture(scope="session")
def postgres() -> PostgreSQL:
    """A private cluster; ask it for a database of the test's own: `postgres.createdb("name")` returns its URL."""
    return PostgreSQL(GROUND)


@pytest.fixture(scope="session")
def buckets() -> Buckets:
    """A private service that speaks S3; `buckets.new()` returns the STORAGE_URL of a bucket of the test's own."""
    return Buckets(GROUND)


@pytest.fixture
def site_process() -> Iterator[SiteProcesses]:
    """Starts real processes of one install; embedded unless `distributed()` is called on it."""
    site = SiteProcesses()
    yield site
    site.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The machine's Chromium, without a window."""
    # Playwright's event loop lives in this thread, which makes Django think that its ORM is called from async code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium",
            args=CHROMIUM_ARGUMENTS,
        )
        yield chromium
        chromium.close()


NewPage = Callable[..., Page]


@pytest.fixture
def new_page(browser: Browser) -> Iterator[NewPage]:
    """Open a page in a fresh profile: `new_page(color_scheme="dark", viewport=(320, 640))`."""
    with ExitStack() as contexts:

        def open_page(*, color_scheme: str = "light", viewport: tuple[int, int] = (1280, 900), **options: Any) -> Page:
            size = {"width": viewport[0], "height": viewport[1]}
            context = browser.new_context(color_scheme=color_scheme, viewport=size, **options)  # type: ignore[arg-type]
            contexts.callback(context.close)
            return context.new_page()

        yield open_page


@pytest.fixture
def page(new_page: NewPage) -> Page:
    """One page, light, as wide as a laptop."""
    return new_page()
