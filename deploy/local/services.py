"""Private RabbitMQ and PostgreSQL servers for development and tests.

They share nothing with servers of the machine: random ports on 127.0.0.1, data, logs, cookie, node name
and epmd of their own, in one temporary folder, which goes when they do. Run as root, they run as the
users that Debian's packages made. `python -m deploy.local.services` (`make services`) keeps both in the foreground.
"""

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.local.keeper import Keeper, is_alive, wait_gone

START_TIMEOUT_S = 60.0
CTL_TIMEOUT_S = 60.0
RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Missing(Exception):
    """A server's programs are not on this machine."""


class Ground:
    """The temporary folder and the keeper that a set of private servers stands on."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="serving-site-services-"))
        self.directory.chmod(0o711)  # a server's own user passes through and lists nothing
        self.keeper = Keeper(self.directory)

    def folder(self, name: str, user: str | None) -> Path:
        """A new folder that only `user` can enter."""
        path = self.directory / name
        path.mkdir(mode=0o700)
        if user:
            shutil.chown(path, user, user)
        return path

    def close(self) -> None:
        """End the servers and remove the folder."""
        self.keeper.close()


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on at this moment, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _server_user(name: str) -> str | None:
    return name if os.geteuid() == 0 else None


def _run(argv: Sequence[str | Path], env: dict[str, str], user: str | None, stdin: str = "") -> str:
    """Run a server's own tool to its end; raises RuntimeError with what it said."""
    done = subprocess.run(
        [str(part) for part in argv],
        env=env,
        cwd="/",
        input=stdin,
        text=True,
        capture_output=True,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        timeout=CTL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(argv[0]).name} {argv[1]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


class PostgreSQL:
    """A private cluster. `url(name)` of a database that `createdb(name)` made is a DATABASE_URL."""

    username = "site"

    def __init__(self, ground: Ground, *, durable: bool = False) -> None:
        """`durable` turns fsync on, for benchmarks; killing the server needs it off or on alike."""
        self._ground = ground
        self._durable = durable
        self._user = _server_user("postgres")
        self._bin = _postgresql_bin()
        self.folder = ground.folder("postgresql", self._user)
        self.log = ground.directory / "postgresql.log"
        self.password = secrets.token_hex(16)
        (self.port,) = free_ports(1)
        self.pid = 0
        self._initdb()
        self.start()

    def url(self, database: str = "postgres") -> str:
        """The DATABASE_URL of a database of this cluster."""
        return f"postgresql://{self.username}:{self.password}@127.0.0.1:{self.port}/{database}"

    def createdb(self, name: str, template: str = "template1") -> str:
        """Create a database, a copy of `template`, and return its URL."""
        self._tool("createdb", "--template", template, name)
        return self.url(name)

    def dropdb(self, name: str) -> None:
        """Drop a database and the connections to it."""
        self._tool("dropdb", "--if-exists", "--force", name)

    def start(self) -> None:
        """Start the server on its port and wait until it answers."""
        flush = "on" if self._durable else "off"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "fsync": flush,
            "full_page_writes": flush,
        }
        argv = [str(self._bin / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        self.pid = self._ground.keeper.start(
            argv, env=self._env(), log=self.log, user=self._user, end_signal=signal.SIGINT
        )
        _wait_until(self._answers, self.pid, self.log, "PostgreSQL")

    def stop(self, mode: str = "fast") -> None:
        """Stop as `pg_ctl -m smart|fast|immediate` does, or `kill` the postmaster outright; wait until it is gone."""
        how = {
            "smart": signal.SIGTERM,
            "fast": signal.SIGINT,
            "immediate": signal.SIGQUIT,
            "kill": signal.SIGKILL,
        }
        os.kill(self.pid, how[mode])
        wait_gone(self.pid)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start again, on the same port with the same data."""
        self.stop(mode)
        self.start()

    def _initdb(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self._user:
            shutil.chown(secret, self._user)
        _run(
            [
                self._bin / "initdb",
                f"--pgdata={self.folder / 'data'}",
                f"--username={self.username}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ],
            self._env(),
            self._user,
        )
        secret.unlink()

    def _answers(self) -> bool:
        try:
            self._tool("pg_isready", "--quiet")
        except RuntimeError:
            return False
        return True

    def _tool(self, name: str, *arguments: str) -> None:
        _run([self._bin / name, *arguments], self._env(), self._user)

    def _env(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "LC_ALL": "C.UTF-8",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.username,
            "PGPASSWORD": self.password,
        }


def _postgresql_bin() -> Path:
    versions = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")),
        key=lambda path: float(path.parent.name),
    )
    if versions:
        return versions[-1]
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    raise Missing("PostgreSQL's server programs are not installed (Debian: postgresql)")


class RabbitMQ:
    """A private broker node. `url(vhost)` of a vhost that `new_vhost()` made is a RABBITMQ_URL."""

    username = "site"

    def __init__(self, ground: Ground) -> None:
        if not (RABBITMQ_BIN / "rabbitmq-server").exists():
            raise Missing("RabbitMQ is not installed (Debian: rabbitmq-server)")
        self._ground = ground
        self._user = _server_user("rabbitmq")
        self.folder = ground.folder("rabbitmq", self._user)
        self.log = ground.directory / "rabbitmq.log"
        self.password = secrets.token_hex(16)
        self.port, self._distribution_port, self._epmd_port = free_ports(3)
        self.node = f"site-{self.port}@localhost"
        self.pid = 0
        self._vhosts: list[str] = []
        self._write("rabbitmq.conf", self._configuration())
        self._write("plugins", "[].\n")
        # localhost is known without a resolver process, and whatever the machine's hosts file says.
        self._write("inetrc", '{lookup, [file]}.\n{host, {127,0,0,1}, ["localhost"]}.\n')
        self._write(".erlang.cookie", secrets.token_hex(20).upper(), mode=0o400)
        self._start_epmd()
        self.start()

    def url(self, vhost: str = "/") -> str:
        """The RABBITMQ_URL of a vhost of this node."""
        return f"amqp://{self.username}:{self.password}@127.0.0.1:{self.port}/{vhost.replace('/', '%2F')}"

    def new_vhost(self, name: str = "") -> str:
        """Create a vhost that the user may do everything in, and return its name."""
        name = name or f"test-{secrets.token_hex(4)}"
        self._add_vhost(name)
        self._vhosts.append(name)
        return name

    def delete_vhost(self, name: str) -> None:
        """Delete a vhost with its queues and connections."""
        self._vhosts.remove(name)
        self.ctl("delete_vhost", name)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl on this node and return what it printed."""
        return _run([RABBITMQ_BIN / "rabbitmqctl", "--quiet", *arguments], self._env(), self._user)

    def start(self) -> None:
        """Start the node with the data it has and wait until it accepts connections."""
        self.pid = self._ground.keeper.start(
            [str(RABBITMQ_BIN / "rabbitmq-server")], env=self._env(), log=self.log, user=self._user
        )
        _wait_until(self._answers, self.pid, self.log, "RabbitMQ")
        self.ctl("await_startup", "--timeout", "30")

    def kill(self) -> None:
        """SIGKILL the node; `start()` brings it back with what was on disk."""
        os.kill(self.pid, signal.SIGKILL)
        wait_gone(self.pid)

    def stop_app(self) -> None:
        """Stop the broker and its listeners, leave the Erlang node; about a second."""
        self.ctl("stop_app")

    def start_app(self) -> None:
        """Undo `stop_app()`."""
        self.ctl("start_app")

    def wipe(self) -> None:
        """Lose every queue and message; the vhosts are there again, empty, when this returns."""
        self.ctl("stop_app")
        self.ctl("reset")
        self.ctl("start_app")
        for name in self._vhosts:
            self._add_vhost(name)

    def close_all_connections(self, reason: str = "closed by a test") -> None:
        """Have the broker close every client's connection."""
        self.ctl("close_all_connections", reason)

    def _add_vhost(self, name: str) -> None:
        self.ctl("add_vhost", name)
        self.ctl("set_permissions", "--vhost", name, self.username, ".*", ".*", ".*")

    def _configuration(self) -> str:
        return (
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            f"default_user = {self.username}\n"
            f"default_pass = {self.password}\n"
            "log.console = true\n"
            "log.file = false\n"
            "vm_memory_high_watermark.absolute = 400MB\n"
            "disk_free_limit.absolute = 50MB\n"
        )

    def _start_epmd(self) -> None:
        # Started here, so that neither the node nor rabbitmqctl leaves a daemon of its own behind.
        self._ground.keeper.start(
            ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            env=self._env(),
            log=self.log,
            user=self._user,
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        if self._user:
            shutil.chown(path, self._user, self._user)

    def _env(self) -> dict[str, str]:
        return {
            "PATH": PATH,
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),  # of the Erlang cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": "0",
            "ERL_INETRC": str(self.folder / "inetrc"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self.folder / "schema"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.folder / "feature_flags"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            # One scheduler that sleeps when idle; all of Erlang's own listeners on loopback.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false"
                " -kernel inet_dist_use_interface {127,0,0,1}"
            ),
            "RUNNING_UNDER_SYSTEMD": "1",  # the start script then becomes the node instead of waiting beside it
        }


def _wait_until(answers: Callable[[], bool], pid: int, log: Path, name: str) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while not answers():
        if not is_alive(pid) or time.monotonic() > end:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{name} did not start; the end of its log:\n{tail}")
        time.sleep(0.05)


def main() -> int:
    """Run both servers until interrupted; write the two variables to a file for `make dev`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env-file", type=Path, help="write the variables there too; removed at the end")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    ground = Ground()
    try:
        print("Starting PostgreSQL and RabbitMQ (about ten seconds) ...", file=sys.stderr, flush=True)
        database_url = PostgreSQL(ground).createdb("site")
        exports = f"export DATABASE_URL={database_url}\nexport RABBITMQ_URL={RabbitMQ(ground).url()}\n"
        _publish(exports, options.env_file)
        signal.pause()
    except KeyboardInterrupt:
        pass
    except Missing as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if options.env_file:
            options.env_file.unlink(missing_ok=True)
        ground.close()
    return 0


def _publish(exports: str, path: Path | None) -> None:
    print(exports, end="", flush=True)
    if path:
        path.touch(mode=0o600)
        path.write_text(exports)
        print(f"Written to {path} as well, where `make dev` finds them.", file=sys.stderr)
    print("Ctrl-C ends both and removes their data.", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
