"""Real processes of the site for tests: web, workers and management commands, ended with the test.

For example:

    def test_a_killed_worker_loses_nothing(site_process, rabbitmq, postgres):
        site_process.distributed(rabbitmq, postgres)
        site_process.prepare()
        web, worker = site_process.web(), site_process.worker()
        worker.kill()
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from deploy.local.ground import free_ports
from deploy.local.keeper import Keeper, is_alive, wait_gone
from tests.services import PostgreSQL, RabbitMQ
from tests.session import GROUND, REPOSITORY

START_TIMEOUT_S = 30.0


class Process:
    """One running process of the site. Its log is a file, read with `log_text()`."""

    def __init__(self, keeper: Keeper, name: str, pid: int, log: Path) -> None:
        self._keeper = keeper
        self.name = name
        self.pid = pid
        self.log = log

    @property
    def is_running(self) -> bool:
        """Whether it still runs."""
        return is_alive(self.pid)

    @property
    def returncode(self) -> int | None:
        """What it ended with (-9: killed by SIGKILL); None while it runs."""
        return self._keeper.status(self.pid)

    def log_text(self) -> str:
        """What it wrote to standard output and error so far."""
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL this process alone, not its children, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        wait_gone(self.pid)

    def stop(self, timeout_s: float = 60) -> int | None:
        """SIGTERM, wait for the end, return the exit status."""
        if self.is_running:
            self.signal(signal.SIGTERM)
        wait_gone(self.pid, timeout_s)
        return self.returncode

    def children(self) -> list[int]:
        """The pids of every process below this one."""
        below: list[int] = []
        todo = [self.pid]
        while todo:
            for task in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
                pids = [int(pid) for pid in task.read_text().split()]
                below += pids
                todo += pids
        return below


class Web(Process):
    """A web process; `url` is where it answers."""

    url = ""


class SiteProcesses:
    """Starts processes of one install that share `environment`; by default embedded, on SQLite, in `folder`/data."""

    running: ClassVar[list["SiteProcesses"]] = []

    def __init__(self, environment: Mapping[str, str] | None = None, tree: Path = REPOSITORY) -> None:
        """`tree` is the source tree to run: the repository, or a patched copy of it."""
        self.tree = tree
        self.folder = Path(tempfile.mkdtemp(prefix="processes-", dir=GROUND.directory))
        self._keeper = Keeper(self.folder)
        self._count = 0
        self.processes: list[Process] = []
        self.running.append(self)
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "serving_site.settings",
            "DATA_DIR": str(self.folder / "data"),
            **(environment or {}),
        }

    def distributed(self, rabbitmq: RabbitMQ, postgres: PostgreSQL, template: str = "template1") -> None:
        """From now on: a vhost and a database of this install's own (a copy of `template`), and one secret."""
        vhost = rabbitmq.new_vhost()
        self.environment |= {
            "RABBITMQ_URL": rabbitmq.url(vhost),
            "DATABASE_URL": postgres.createdb(vhost, template),
            "SECRET_KEY": "a-secret-of-the-tests-that-is-not-used-elsewhere-0123456789",
        }

    def manage(self, *arguments: str, timeout_s: float = 120, **environment: str) -> str:
        """Run a management command to its end and return its standard output; raises with its log if it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.tree,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(f"manage.py {arguments[0]} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def web(self, *, wait_for: str = "/livez", **environment: str) -> Web:
        """Start a web process as production does and wait until `wait_for` answers 200."""
        (port,) = free_ports(1)
        address = {"HOST": "127.0.0.1", "PORT": str(port)}
        argv = [sys.executable, "-m", "gunicorn", "--config", "deploy/local/gunicorn.conf.py"]
        web = Web(self._keeper, *self._start("web", argv, address | environment))
        web.url = f"http://127.0.0.1:{port}"
        self.processes.append(web)
        self._wait(web, lambda: _status(web.url + wait_for) == 200)
        return web

    def worker(self, *arguments: str, wait_for: str = "", **environment: str) -> Process:
        """Start `manage.py runworker`; with `wait_for`, wait until its log holds that text."""
        argv = [sys.executable, "manage.py", "runworker", *arguments]
        worker = Process(self._keeper, *self._start("worker", argv, environment))
        self.processes.append(worker)
        self._wait(worker, lambda: wait_for in worker.log_text())
        return worker

    def logs(self) -> str:
        """The ends of all logs, for the report of a failed test."""
        parts = [f"--- {one.name} ({one.pid}) ---\n{one.log_text()[-4000:]}" for one in self.processes]
        return "\n".join(parts)

    def close(self) -> None:
        """End every process that was started here and everything below it, and remove the folder."""
        if self in self.running:
            self.running.remove(self)
        self._keeper.close()

    def _start(self, kind: str, argv: list[str], environment: Mapping[str, str]) -> tuple[str, int, Path]:
        self._count += 1
        name = f"{kind}-{self._count}"
        log = self.folder / f"{name}.log"
        env = {**self.environment, **environment}
        pid = self._keeper.start(argv, env=env, log=log, cwd=self.tree, end_signal=signal.SIGTERM)
        return name, pid, log

    def _wait(self, process: Process, ready: Callable[[], bool]) -> None:
        def ready_or_dead() -> bool:
            return ready() or not process.is_running

        wait_until(ready_or_dead, START_TIMEOUT_S, lambda: f"{process.name} did not start:\n{process.log_text()}")
        if not process.is_running:
            raise AssertionError(f"{process.name} ended with {process.returncode}:\n{process.log_text()}")


def wait_until(true: Callable[[], bool], timeout_s: float = 30, what: Callable[[], str] | str = "it") -> None:
    """Look every 50 ms until `true()`; after `timeout_s` fail with `what` in the message."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:g} s: {text}")
        time.sleep(0.05)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
