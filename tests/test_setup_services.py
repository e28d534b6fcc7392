"""The private servers: what they share with the machine (nothing), and what they leave behind (nothing)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pika
import psycopg
import pytest

from deploy.local.keeper import is_alive
from tests.processes import wait_until
from tests.services import PostgreSQL, RabbitMQ
from tests.session import GROUND, REPOSITORY

# Starts a server that itself leaves a process in a session of its own, as daemons do, and then waits.
PARENT = """
import signal, sys, tempfile
from pathlib import Path
from deploy.local.keeper import Keeper

folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
keeper = Keeper(folder)
script = "setsid sleep 1000 & echo $! > daemon; exec sleep 1000"
pid = keeper.start(["sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, log=folder / "log", cwd=folder)
keeper.at_end(["sh", "-c", f"test ! -e /proc/{pid} && touch {sys.argv[1]}/swept"])
print(pid, folder, flush=True)
signal.pause()
"""

OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
"""The environment without what tells pytest that it runs below another."""

SESSION = """
import os, signal
from pathlib import Path
def {name}(postgres):
    draft = Path(os.environ["WAITING"], "draft-" + __name__)
    draft.write_text(f"{{postgres.pid}} {{postgres.folder.parent}}")
    draft.rename(draft.with_name(__name__))
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_servers_and_their_daemons_end_with_the_process_that_asked_for_them(tmp_path: Path, number: int) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout
        pid, folder = parent.stdout.readline().split()
        wait_until((Path(folder) / "daemon").exists)
        daemon = int((Path(folder) / "daemon").read_text())
        assert is_alive(int(pid))
        assert is_alive(daemon)
        parent.send_signal(number)
    wait_until(lambda: not Path(folder).exists(), 10, "the folder is gone")
    assert not is_alive(int(pid))
    assert not is_alive(daemon)
    assert (tmp_path / "swept").exists()


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_test_session_leaves_no_server_and_no_folder(
    tmp_path: Path, number: int, processes: int
) -> None:
    """In one process or shared by two; a terminal sends Ctrl-C to all of them, `kill` a signal to the first alone."""
    names = [f"test_session_{count}" for count in range(processes or 1)]
    for name in names:
        (tmp_path / f"{name}.py").write_text(SESSION.format(name=name))
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.conftest", "-n", str(processes)]
    argv += ["--rootdir", str(REPOSITORY), "--config-file", str(REPOSITORY / "pyproject.toml")]
    with subprocess.Popen(
        [*argv, *(str(tmp_path / f"{name}.py") for name in names)],
        cwd=REPOSITORY,
        env={**OUTSIDE, "WAITING": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as session:
        try:
            wait_until(lambda: all((tmp_path / name).exists() for name in names), 120, "every test waits")
            servers = [(tmp_path / name).read_text().split() for name in names]
            if number == signal.SIGINT:
                os.killpg(session.pid, number)
            else:
                session.send_signal(number)
        except BaseException:
            os.killpg(session.pid, signal.SIGKILL)
            raise
        assert session.stdout
        rest = session.stdout.read()
    assert session.returncode == pytest.ExitCode.INTERRUPTED, rest
    for pid, folder in servers:
        assert not Path(folder).exists()
        assert not is_alive(int(pid))


@pytest.mark.parametrize(("command", "status"), [("exit 3", 3), ("kill -TERM $PPID; sleep 1000", 128 + 15)])
def test_whatever_the_tests_leave_running_is_named_and_ended(command: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local.reaper", "sh", "-c", f"setsid sleep 999 & echo $!; {command}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert f"Ending a process that was left behind: {done.stdout.strip()} sleep 999" in done.stderr
    assert not is_alive(int(done.stdout))


def test_servers_listen_on_loopback_only_and_on_no_default_port(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> None:
    addresses = listening(GROUND.keeper.descendants())
    assert addresses
    assert {address for address, _ in addresses} <= {"127.0.0.1", "::1"}
    assert {port for _, port in addresses} & {4369, 5432, 5672, 15672, 25672} == set()
    assert {rabbitmq.port, postgres.port} <= {port for _, port in addresses}


@pytest.mark.skipif(os.geteuid() != 0, reason="servers run as their own users only when root starts them")
def test_servers_do_not_run_as_root(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> None:
    owners = {Path(f"/proc/{pid}").owner() for pid in (rabbitmq.pid, postgres.pid)}
    assert owners == {"rabbitmq", "postgres"}


def test_a_vhost_and_a_database_belong_to_one_test(rabbitmq: RabbitMQ, postgres: PostgreSQL) -> None:
    one, other = rabbitmq.new_vhost(), rabbitmq.new_vhost()
    declare(rabbitmq, one, "work")
    rabbitmq.publish("work", b"x", one, times=3)
    assert (rabbitmq.depth("work", one), rabbitmq.depth("work", other)) == (3, 0)
    assert rabbitmq.get("work", one) == b"x"
    rabbitmq.purge("work", one)
    assert rabbitmq.depth("work", one) == 0

    with psycopg.connect(postgres.createdb("one")) as connection:
        connection.execute("CREATE TABLE mark (id int)")
    with psycopg.connect(postgres.createdb("copy", template="one")) as connection:
        assert connection.execute("SELECT count(*) FROM mark").fetchone() == (0,)


def test_a_killed_broker_keeps_durable_messages_and_a_wiped_one_only_its_vhosts(rabbitmq: RabbitMQ) -> None:
    vhost = rabbitmq.new_vhost()
    declare(rabbitmq, vhost, "work")
    rabbitmq.publish("work", b"x", vhost)
    rabbitmq.kill()
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        rabbitmq.depth("work", vhost)
    rabbitmq.start()
    assert rabbitmq.depth("work", vhost) == 1
    rabbitmq.wipe()
    assert rabbitmq.depth("work", vhost) == 0


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_restarted_database_has_what_was_committed(postgres: PostgreSQL, mode: str) -> None:
    url = postgres.createdb(f"restarted_{mode}")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE mark AS SELECT 7 AS id")
    postgres.restart(mode)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT id FROM mark").fetchone() == (7,)


def declare(rabbitmq: RabbitMQ, vhost: str, queue: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url(vhost))) as connection:
        connection.channel().queue_declare(queue, durable=True)


def listening(pids: list[int]) -> set[tuple[str, int]]:
    """Address and port of every TCP listener of these processes."""
    found = set()
    for pid in pids:
        inodes = socket_inodes(pid)
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in inodes:
                    address, port = fields[1].split(":")
                    found.add((NAMES.get(address, address), int(port, 16)))
    return found


NAMES = {"0100007F": "127.0.0.1", "00000000000000000000000001000000": "::1"}


def socket_inodes(pid: int) -> set[str]:
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    return inodes
