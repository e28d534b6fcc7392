"""Four programs that run code when they are loaded: it runs nowhere but in the sandbox, where it reaches nothing."""

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

from mlmodels.executor import ExecutorServer, LoadFailed, check
from mlmodels.executor.seccomp import ALLOW, ARGUMENTS_AT, JUMP_EQUAL, LOAD, NUMBER_AT, REFUSE, RETURN
from tests import programs, zoo

ROOT = Path(zoo.__file__).parents[1]


class Surroundings:
    """What a payload tries to reach, all of it there and within this user's rights."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.listener = listener
        self.marker = folder / "marker"
        self.database = folder / "db.sqlite3"
        self.places = {"marker": str(self.marker), "socket": listener.getsockname(), "database": str(self.database)}

    def evil(self, road: str, *, quiet: bool = False, pid: int | None = None) -> bytes:
        return programs.evil(road, {**self.places, "pid": pid or os.getpid()}, quiet=quiet)

    @property
    def is_untouched(self) -> bool:
        """No marker was written, and nobody has knocked at the socket."""
        try:
            self.listener.accept()
        except BlockingIOError:
            return not self.marker.exists()
        return False


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Surroundings]:
    folder = tmp_path / "site"
    folder.mkdir()
    sqlite3.connect(folder / "db.sqlite3").execute("CREATE TABLE people (name)").connection.close()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        listener.settimeout(0)
        yield Surroundings(folder, listener)


@pytest.mark.parametrize("road", programs.ROADS)
def test_outside_the_sandbox_the_payload_reaches_everything(road: str, around: Surroundings, tmp_path: Path) -> None:
    """Otherwise what follows would prove nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as neighbour:
        (tmp_path / "evil.pt2").write_bytes(around.evil(road, pid=neighbour.pid))
        program = "import sys, torch; torch.export.load(sys.argv[1])"
        run = [sys.executable, "-c", program, str(tmp_path / "evil.pt2")]
        done = subprocess.run(run, capture_output=True, text=True, check=False)
        neighbour.communicate(b"\n")
    assert done.stderr.strip().endswith("the payload ran, and these attempts worked: [0, 1, 2, 3]")
    assert around.marker.exists()


def load(server: ExecutorServer, folder: Path) -> LoadFailed:
    with pytest.raises(LoadFailed) as caught:
        server.load((folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))
    return caught.value


@pytest.mark.parametrize("road", programs.ROADS)
def test_where_programs_are_not_allowed_the_payload_does_not_run(
    road: str, server: ExecutorServer, around: Surroundings, tmp_path: Path
) -> None:
    refused = load(server, programs.artifact(tmp_path, around.evil(road)))
    assert (refused.code, "payload" in refused.message) == ("not_allowed", False)
    assert around.is_untouched


@pytest.mark.parametrize("road", programs.ROADS)
def test_where_programs_are_allowed_the_payload_runs_and_reaches_nothing(
    road: str, open_server: ExecutorServer, around: Surroundings, tmp_path: Path
) -> None:
    refused = load(open_server, programs.artifact(tmp_path, around.evil(road)))
    assert refused.code == "bad_program"
    assert "LookupError: the payload ran, and these attempts worked: []" in refused.message
    assert around.is_untouched


@pytest.mark.parametrize("road", programs.ROADS)
def test_a_payload_that_keeps_quiet_reaches_nothing_either(
    road: str, open_server: ExecutorServer, around: Surroundings, tmp_path: Path
) -> None:
    folder = programs.artifact(tmp_path, around.evil(road, quiet=True))
    check(open_server, (folder / "manifest.json").read_bytes(), str(folder / "program.pt2"))  # its answers are right
    assert around.is_untouched


# A filter that refuses one call, or one use of it; it holds for the server and all of its children.
WITHOUT_LANDLOCK = [(LOAD, 0, 0, NUMBER_AT), (JUMP_EQUAL, 0, 1, 444), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW)]
PRCTL, PR_SET_SECCOMP = {"x86_64": 157}.get(os.uname().machine, 167), 22
WITHOUT_SECCOMP = [
    (LOAD, 0, 0, NUMBER_AT), (JUMP_EQUAL, 0, 3, PRCTL), (LOAD, 0, 0, ARGUMENTS_AT),
    (JUMP_EQUAL, 0, 1, PR_SET_SECCOMP), (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
]  # fmt: skip
LOAD_ON_A_LESSER_HOST = """
import json, sys
from mlmodels.executor import ExecutorServer, LoadFailed, sandbox, seccomp
sandbox.no_new_privileges()
seccomp.program = lambda *args, **named: [tuple(line) for line in json.loads(sys.argv[1])]
seccomp.install(writable_devices=True)
with ExecutorServer(["tests.zoo"], exported_programs=True) as server:
    try:
        server.load(open(sys.argv[2] + "/manifest.json", "rb").read(), sys.argv[2] + "/program.pt2")
    except LoadFailed as failed:
        print(json.dumps([server.sandbox_level, failed.code, failed.message]))
"""


@pytest.mark.parametrize(("filter_", "level"), [(WITHOUT_LANDLOCK, "seccomp only"), (WITHOUT_SECCOMP, "landlock only")])
def test_on_a_host_whose_sandbox_does_not_close_the_payload_does_not_run(
    filter_: list[Any], level: str, around: Surroundings, tmp_path: Path
) -> None:
    folder = programs.artifact(tmp_path, around.evil("expression"))
    run = [sys.executable, "-c", LOAD_ON_A_LESSER_HOST, json.dumps(filter_), str(folder)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout or "null") == [
        level,
        "sandbox_needed",
        f"An exported program is loaded only in a closed sandbox; this host reaches '{level}', not 'base'.",
    ], done.stderr
    assert around.is_untouched
