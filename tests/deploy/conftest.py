"""Real machines for the tests of the deployments, and what this machine must have for each kind of them."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.deploy.lab import sweep, template
from tests.deploy.lab.cluster import Cluster
from tests.deploy.lab.engine import Docker
from tests.deploy.lab.ground import Lab
from tests.deploy.lab.releases import Releases

HOST_PROGRAMS = ("systemd-nspawn", "mmdebstrap", "ip", "iptables", "nsenter", "ssh", "ssh-keygen", "git")
DOCKER_PROGRAMS = ("dockerd", "docker")
_labs: list[Lab] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.deploy)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Under a failed test stands what each machine says."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed and report.when != "teardown":
        report.sections += [(f"machine {one.name}", one.report()) for lab in _labs for one in lab.machines]


def demand(problems: list[str]) -> None:
    """Skip with the reasons why this machine cannot, or fail where nothing may be left out."""
    if problems and os.environ.get("DEPLOY_TESTS_REQUIRED"):
        pytest.fail(f"this machine cannot run the tests of the deployments: {'; '.join(problems)}", pytrace=False)
    if problems:
        pytest.skip("; ".join(problems))


@cache
def missing_for_hosts() -> list[str]:
    """Why no machine can be booted here; empty if one can."""
    if os.geteuid() != 0:
        return ["machines are booted by root only"]
    problems = [f"{program} is not installed" for program in HOST_PROGRAMS if not shutil.which(program)]
    if sys.version_info[:2] != (3, 11):
        problems.append("Python 3.11 is needed, to fetch the wheels that Debian 12 takes")
    checks: dict[str, Callable[[], bool]] = {
        "no network, mount and process namespaces": _has_namespaces,
        "no control groups": _has_groups,
        "apt has no Debian 12 sources that answer": _has_sources,
    }
    return problems or [problem for problem, holds in checks.items() if not holds()]


@cache
def missing_for_docker() -> list[str]:
    problems = [f"{program} is not installed" for program in DOCKER_PROGRAMS if not shutil.which(program)]
    return missing_for_hosts() + problems


def _has_namespaces() -> bool:
    probe = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _has_groups() -> bool:
    name = f"probe-{os.getpid()}"
    try:
        for root in sweep.hierarchies():
            (root / name).mkdir()
            (root / name).rmdir()
    except OSError:
        return False
    return bool(sweep.hierarchies())


def _has_sources() -> bool:
    try:
        first = template.sources()[0].split()
        with urllib.request.urlopen(f"{first[1]}dists/{first[2]}/InRelease", timeout=20) as answer:
            return bool(answer.status == 200)
    except (OSError, IndexError):
        return False


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A network of its own for this session; `lab.host(NAME)` boots a machine in it, which stays to the end."""
    demand(missing_for_hosts())
    lab = Lab()
    _labs.append(lab)
    yield lab
    _labs.remove(lab)
    lab.close()


@pytest.fixture(scope="session")
def docker(lab: Lab) -> Docker:
    """A Docker engine of this session's own, with stand-ins for the images that have to come from a registry."""
    demand(missing_for_docker())
    return Docker(lab)


@pytest.fixture(scope="session")
def cluster(lab: Lab) -> Cluster:
    """Production, a worker host and a development host, made one site by `site.yml`, with the checkout's HEAD."""
    return Cluster(lab)


@pytest.fixture
def releases() -> Iterator[Releases]:
    """A clone of the checkout's HEAD, to commit on and to make release archives from."""
    with tempfile.TemporaryDirectory() as folder:
        yield Releases(Path(folder))
