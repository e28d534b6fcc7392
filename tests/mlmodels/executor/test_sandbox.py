"""A model inside the sandbox reaches nothing but its own code and weights; the level told is the level reached."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlmodels.executor import Executor, ExecutorServer, ItemOutput
from tests import zoo

# These end or replace the process that tries them, or mean something only inside an executor.
NOT_TRIED_OUTSIDE = {
    "exec",
    "signal the server",
    "environment of the server",
    "outlive the server",
    "keep a capability",
    "signal through the socket",
    "trace the parent",
    "open descriptors",
    "secret in the environment",
    "django",
    "io_uring",
}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A database, an upload, a UNIX and a TCP server: all there, all readable by this user."""
    folder = tmp_path_factory.mktemp("site")
    database, upload = folder / "db.sqlite3", folder / "uploads" / "1"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE people (name)")
    connection.close()
    upload.parent.mkdir()
    upload.write_bytes(b"somebody's picture")
    with socket.socket(socket.AF_UNIX) as local, socket.create_server(("127.0.0.1", 0)) as tcp:
        local.bind(str(folder / "socket"))
        local.listen()
        yield {
            "database": str(database),
            "upload": str(upload),
            "unix_socket": str(folder / "socket"),
            "port": tcp.getsockname()[1],
            "pid": os.getpid(),
            "source": str(Path(zoo.__file__)),
            "weights": str(folder / "artifact" / "weights.safetensors"),
        }


@pytest.fixture(scope="module")
def prober(server: ExecutorServer, surroundings: dict[str, Any]) -> Iterator[Executor]:
    folder = Path(surroundings["weights"]).parent
    manifest, weights = zoo.artifact(folder, "probe", **surroundings)
    executor = server.load(Path(manifest).read_bytes(), weights)
    yield executor
    executor.close()


@pytest.mark.parametrize("attempt", list(zoo.ATTEMPTS))
def test_a_model_is_refused(prober: Executor, attempt: str) -> None:
    outcome = prober.predict([{"x": list(zoo.ATTEMPTS).index(attempt)}], 5).outcomes[0]
    assert isinstance(outcome, ItemOutput)
    worked = outcome.output["label"] == "high"
    assert worked == (attempt in zoo.MUST_WORK)


def test_the_same_attempts_succeed_without_the_sandbox(surroundings: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise a refusal above would prove nothing."""
    upload = tmp_path / "uploads" / "1"
    upload.parent.mkdir()
    upload.write_bytes(b"x")
    tried = [name for name in zoo.ATTEMPTS if name not in NOT_TRIED_OUTSIDE]
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as neighbour:
        params = {**surroundings, "upload": str(upload), "pid": neighbour.pid}
        failed = {}
        for name in (name for name in tried if name not in ("rename a file", "delete a file", "own weights")):
            program = "import sys, json; from tests.zoo_escapes import ATTEMPTS; "
            program += f"sys.exit(ATTEMPTS[{name!r}](json.loads(sys.argv[1])) is False)"
            run = [sys.executable, "-c", program, json.dumps(params)]
            done = subprocess.run(run, cwd=Path(zoo.__file__).parents[1], capture_output=True, check=False)
            if done.returncode:
                failed[name] = done.stderr.decode()[-300:]
        neighbour.communicate()
    assert failed == {}


def test_the_level_of_the_host_is_told_and_every_missing_part_has_a_reason(server: ExecutorServer) -> None:
    assert server.sandbox_level in ("base+namespaces", "base")
    assert (server.sandbox_level == "base+namespaces") == (server.sandbox_missing == [])


@pytest.mark.parametrize(
    ("refused_calls", "level", "reasons"),
    [
        (["unshare"], "base", []),
        (["unshare", "landlock"], "seccomp only", ["Landlock"]),
        (["unshare", "prctl"], "landlock only", ["no_new_privs", "seccomp"]),
        (["unshare", "prctl", "landlock"], "none", ["no_new_privs", "Landlock", "seccomp"]),
    ],
)
def test_a_host_that_refuses_a_part_gets_a_lower_level(
    refused_calls: list[str], level: str, reasons: list[str]
) -> None:
    program = f"""
import sys
from mlmodels.executor import sandbox, seccomp
from mlmodels.executor.outcomes import Limits
from mlmodels.executor.syscalls import EXAMINED, REFUSED, Machine, machine
here = machine()
column = here.audit == 0xC00000B7
numbers = {{"landlock": (444, 444), "prctl": EXAMINED["prctl"], "unshare": REFUSED["unshare"]}}
host = Machine(here.audit, tuple(numbers[name][column] for name in {refused_calls}), here.examined)
sandbox.no_new_privileges()
seccomp.machine = lambda: host
seccomp.install(writable_devices=True)
seccomp.machine = lambda: here
reached = sandbox.enter([], Limits(), cuda=False)
print(reached.level, *[reason.split(":")[0] for reason in reached.missing], sep="|")
"""
    root = Path(zoo.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    told = done.stdout.strip().split("|")
    assert told[:1] == [level], done.stderr
    assert {"namespaces", *reasons} <= set(told[1:])
