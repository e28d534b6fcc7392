"""A private PostgreSQL cluster."""

import os
import secrets
import shutil
import signal
from pathlib import Path

from deploy.local.ground import PATH, Ground, Missing, free_ports, run_tool, server_user, wait_until
from deploy.local.keeper import wait_gone


class PostgreSQL:
    """A private cluster. `url(name)` of a database that `createdb(name)` made is a DATABASE_URL."""

    username = "site"

    def __init__(self, ground: Ground, *, durable: bool = False) -> None:
        """`durable` turns fsync on, for benchmarks; killing the server needs it off or on alike."""
        self._ground = ground
        self._durable = durable
        self._user = server_user("postgres")
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
            "dynamic_shared_memory_type": "mmap",  # in the data folder, so that a killed server leaves none behind
            "fsync": flush,
            "full_page_writes": flush,
        }
        argv = [str(self._bin / "postgres"), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        self.pid = self._ground.keeper.start(
            argv, env=self._env(), log=self.log, user=self._user, end_signal=signal.SIGINT
        )
        wait_until(self._answers, self.pid, self.log, "PostgreSQL")

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
        run_tool(
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
        run_tool([self._bin / name, *arguments], self._env(), self._user)

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
