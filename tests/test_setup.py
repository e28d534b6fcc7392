"""Setting up: what is pinned, what a person is told when something is missing, and `make run` from nothing."""

import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local.ground import free_ports
from tests.processes import wait_until
from tests.session import REPOSITORY
from tests.trees import copy_tree

REQUIREMENTS = REPOSITORY / "requirements"
ROLES = ("web", "worker", "train", "deploy", "dev")
NAME = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", re.MULTILINE)
PINNED = re.compile(r"^\S+==\S+", re.MULTILINE)


def pinned(name: str) -> set[str]:
    return {one.lower().replace("_", "-") for one in NAME.findall((REQUIREMENTS / name).read_text())}


@pytest.mark.parametrize("role", ROLES)
def test_every_wanted_package_is_pinned_with_hashes_and_without_a_registry(role: str) -> None:
    text = (REQUIREMENTS / f"{role}.txt").read_text()
    assert pinned(f"{role}.in") <= pinned(f"{role}.txt")
    assert all(" \\\n    --hash=sha256:" in part for part in re.split(r"\n(?=[a-z])", text))
    assert re.search(r"://|index|find-links", text) is None


def test_a_web_host_installs_no_model_code_and_torch_stands_apart() -> None:
    assert pinned("web.txt") & {"torch", "numpy", "safetensors", "scikit-learn"} == set()
    assert [role for role in ROLES if "torch" in pinned(f"{role}.txt")] == []
    assert pinned("torch.txt") == {"torch"}


def test_each_role_pins_the_versions_of_the_one_below_it() -> None:
    lines = {role: set(PINNED.findall((REQUIREMENTS / f"{role}.txt").read_text())) for role in ROLES}
    assert lines["web"] <= lines["worker"] <= lines["train"] <= lines["dev"]
    assert lines["deploy"] <= lines["dev"]


def run_script(tree: Path, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tree / "deploy" / "local" / name, *arguments],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tree), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree, as a fresh clone is, with the packages of this session."""
    return copy_tree(tmp_path_factory.mktemp("clone"))


def test_a_machine_without_python_is_told_what_to_install(tree: Path, tmp_path: Path) -> None:
    for name in ("bash", "cat", "cut", "dirname", "sha256sum"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    bare = tmp_path / "tree"
    shutil.copytree(tree, bare, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    done = run_script(bare, "venv", "train", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "Python 3.11 or newer is needed and was not found. On Debian 12: apt-get install python3 python3-venv\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_cannot_install_packages_is_told_the_one_command_that_does(tree: Path) -> None:
    script = tree / "deploy" / "local" / "packages"
    done = subprocess.run(
        ["bash", "-s"],  # the copy's folder belongs to root alone, so it comes in as text
        input=script.read_text(),
        env={"PATH": "/usr/bin:/bin", "CHROMIUM": "/missing"},
        user="nobody",
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "packages that are missing: chromium" in done.stderr
    assert "    sudo " in done.stderr


def test_a_taken_port_is_said_in_one_sentence_before_anything_else_happens(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_script(tree, "run", PORT=str(port), DATA_DIR=str(tree / "unused"))
    assert done.returncode == 1
    assert done.stderr == (
        f"Port {port} of 127.0.0.1 is taken: stop what uses it, or choose another one: make run PORT=8001\n"
    )
    assert not (tree / "unused").exists()


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PORT": "eighty"}, "PORT is 'eighty': expected a number from 1 to 65535.\n"),
        ({"HOST": "192.0.2.1", "PORT": "8000"}, "Cannot listen on 192.0.2.1:8000: Cannot assign requested address.\n"),
    ],
)
def test_an_address_that_cannot_be_used_is_said_in_one_sentence(
    tree: Path, environment: Mapping[str, str], sentence: str
) -> None:
    assert run_script(tree, "run", **environment).stderr == sentence


class MakeRun:
    """`make run` as a person starts it: in a terminal's foreground group, with no variable but a port."""

    def __init__(self, tree: Path, log: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["make", "run"],
                cwd=tree,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tree), "PORT": str(self.port)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def wait_until_up(self, timeout_s: float) -> None:
        def up_or_over() -> bool:
            return self.process.poll() is not None or answers(f"{self.url}/readyz")

        wait_until(up_or_over, timeout_s, self.log.read_text)
        assert self.process.poll() is None, self.log.read_text()

    def interrupt(self) -> None:
        """What a terminal does at Ctrl-C: SIGINT to the whole foreground group."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)

    def session(self) -> list[int]:
        """Every process that still runs in the session that `make` was started in."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append(int(entry.name))
        return found

    def close(self) -> None:
        for pid in self.session():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture
def make_run(tree: Path, tmp_path: Path) -> Iterator[list[MakeRun]]:
    """Two runs, one after the other; the second starts when the first has been interrupted."""
    runs: list[MakeRun] = []
    yield runs
    for run in runs:
        run.close()


@pytest.mark.slow
def test_make_run_serves_a_fresh_clone_and_again_without_training_twice(
    tree: Path, tmp_path: Path, make_run: list[MakeRun]
) -> None:
    first = MakeRun(tree, tmp_path / "first.log")
    make_run.append(first)
    first.wait_until_up(400)
    with urllib.request.urlopen(f"{first.url}/accounts/login/") as page:
        assert "<form" in page.read().decode()
    assert (tree / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
    first.interrupt()
    assert first.session() == []
    socket.create_server(("127.0.0.1", first.port)).close()  # the port is free

    second = MakeRun(tree, tmp_path / "second.log")
    make_run.append(second)
    second.wait_until_up(60)
    assert "[3/3] Training diabetes-progression … done in " in first.log.read_text()
    assert "Training" not in second.log.read_text()
    second.interrupt()
    assert second.session() == []
