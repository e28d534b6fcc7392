"""The processes behind executors: what they import, cost and leave behind."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlmodels.executor import ExecutorServer, Limits, LoadFailed, RunFailed, ServerFailed
from tests import zoo
from tests.mlmodels.executor.conftest import Load

ROOT = Path(zoo.__file__).parents[1]


def is_running(pid: int) -> bool:
    """A zombie that its new parent has not buried yet counts as gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory_of(pid: int) -> int:
    """Bytes that are this process's share; without the right to look closely, what it does not share."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except PermissionError:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_importing_the_package_imports_neither_torch_nor_django() -> None:
    program = "import sys, mlmodels.executor; print({'torch', 'numpy', 'PIL', 'django'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_thread_that_started_the_server_may_end(tmp_path: Path) -> None:
    server = ExecutorServer(["tests.zoo"])
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    with server:
        manifest, weights = zoo.artifact(tmp_path, "ok")
        executor = server.load(Path(manifest).read_bytes(), weights)
        assert executor.predict([{"x": 1.0}], 5).outcomes
        executor.close()


def test_a_worker_with_executors_is_hidden_from_other_processes(server: ExecutorServer) -> None:
    get_dumpable = 3
    assert server.pid
    assert ctypes.CDLL(None).prctl(get_dumpable, 0, 0, 0, 0) == 0


def test_interrupt_and_terminate_are_ignored(server: ExecutorServer, load: Load) -> None:
    executor = load("ok")
    assert server.pid
    for pid in (server.pid, executor.pid):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
    assert executor.predict([{"x": 1.0}], 5).outcomes
    assert load("ok").predict([{"x": 1.0}], 5).outcomes


WORKER = """
import sys, threading, time
from pathlib import Path
from mlmodels.executor import ExecutorServer
from tests import zoo
server = ExecutorServer(["tests.zoo"]).start()
kept, pids = [], [server.pid]
for name in ("ok", "hang_cpp", "hang_python", "hang_stopped"):
    manifest, weights = zoo.artifact(sys.argv[1] + "/" + name, name)
    executor = server.load(Path(manifest).read_bytes(), weights)
    kept.append(executor)
    pids.append(executor.pid)
    threading.Thread(target=executor.predict, args=([{"x": 1.0}], 600)).start()
time.sleep(0.3)
print(*pids, flush=True)
time.sleep(600)
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """A process with a server and four children, three of them hanging; and the five's pids."""
    program = [sys.executable, "-c", WORKER, str(tmp_path)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout
            pids = [int(pid) for pid in started.stdout.readline().split()]
            assert [is_running(pid) for pid in pids] == [True] * 5
            yield started, pids
        finally:
            started.kill()


def test_nothing_outlives_a_worker_that_is_killed(worker: tuple[subprocess.Popen[str], list[int]]) -> None:
    process, pids = worker
    process.kill()
    assert eventually(lambda: not any(map(is_running, pids)))


def test_nothing_outlives_a_worker_killed_together_with_its_server(
    worker: tuple[subprocess.Popen[str], list[int]],
) -> None:
    process, pids = worker
    os.kill(pids[0], signal.SIGSTOP)
    process.kill()
    os.kill(pids[0], signal.SIGKILL)
    assert eventually(lambda: not any(map(is_running, pids)))


def test_a_server_that_is_killed_takes_its_children_along_and_is_replaced(tmp_path: Path) -> None:
    manifest, weights = zoo.artifact(tmp_path, "ok")
    with ExecutorServer(["tests.zoo"]) as server:
        first = server.load(Path(manifest).read_bytes(), weights)
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: not is_running(first.pid))
        assert not first.alive
        with pytest.raises(RunFailed) as caught:
            first.predict([{"x": 1.0}], 5)
        assert (caught.value.kind, caught.value.message) == ("died", "The model's process died (with its server).")
        second = server.load(Path(manifest).read_bytes(), weights)
        assert second.predict([{"x": 1.0}], 5).outcomes
        first.close()
        second.close()


def test_a_server_that_hangs_is_replaced(tmp_path: Path) -> None:
    manifest, weights = zoo.artifact(tmp_path, "ok")
    with ExecutorServer(["tests.zoo"], Limits(kill_s=0.5)) as server:
        stuck = server.load(Path(manifest).read_bytes(), weights)
        assert server.pid
        os.kill(server.pid, signal.SIGSTOP)
        stuck.close()
        assert eventually(lambda: not is_running(stuck.pid))
        server.load(Path(manifest).read_bytes(), weights).close()


def test_a_child_that_dies_while_idle_is_not_alive(load: Load) -> None:
    executor = load("ok")
    assert executor.alive
    os.kill(executor.pid, signal.SIGKILL)
    assert eventually(lambda: not executor.alive)


def test_a_closed_server_leaves_no_process_and_loads_nothing(tmp_path: Path) -> None:
    manifest, weights = zoo.artifact(tmp_path, "ok")
    server = ExecutorServer(["tests.zoo"]).start()
    executor, pid = server.load(Path(manifest).read_bytes(), weights), server.pid
    server.close()
    assert pid
    assert eventually(lambda: not is_running(pid) and not is_running(executor.pid))
    executor.close()
    with pytest.raises(ServerFailed):
        server.load(Path(manifest).read_bytes(), weights)


@pytest.mark.parametrize("module", ["tests.no_such_module", "tests.zoo_escapes"])
def test_architectures_that_cannot_be_imported_are_told(module: str) -> None:
    before = descriptors()
    with pytest.raises(ServerFailed, match=r"did not start: (ModuleNotFound|Attribute)Error"):
        ExecutorServer([module]).start()
    assert descriptors() == before


def test_no_descriptor_is_lost_whatever_happens(server: ExecutorServer, tmp_path: Path) -> None:
    kept: list[object] = []  # so that no garbage collector closes what was forgotten

    def round_of_everything() -> None:
        for name in ("ok", "segv", "hang_python", "raises", "builds_badly"):
            params = {"how": "die"} if name == "builds_badly" else {}
            manifest, weights = zoo.artifact(tmp_path / name, name)
            content = Path(manifest).read_text().replace('"params": {}', f'"params": {params}'.replace("'", '"'))
            try:
                executor = server.load(content.encode(), weights)
                kept.append(executor)
            except LoadFailed as failure:
                kept.append(failure)
                continue
            try:
                executor.predict([{"x": 1.0}], 0.05)
            except RunFailed:
                pass
            executor.close()

    round_of_everything()
    before = descriptors()
    for _ in range(5):
        round_of_everything()
    assert descriptors() == before
    assert server.pid
    assert eventually(lambda: children_of(server.pid or 0) == [])


def test_memory_really_returns_after_every_eviction(tmp_path: Path) -> None:
    manifest, weights = zoo.artifact(tmp_path, "large", megabytes=32)
    content = Path(manifest).read_bytes()
    totals = []
    with ExecutorServer(["tests.zoo"]) as server:
        assert server.pid
        for _ in range(50):
            executor = server.load(content, weights)
            executor.predict([{"x": 1.0}], 10)
            totals.append(memory_of(server.pid) + memory_of(executor.pid))
            executor.close()
        assert children_of(server.pid) == []
    assert totals[49] == pytest.approx(totals[4], rel=0.1)
