"""A site that runs with Docker Compose on the lab's engine, as its operator and as the machine under it see it."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.lab.engine import Docker
from tests.deploy.lab.releases import Releases
from tests.deploy.lab.site import Site

NAME = "models.example.org"
SITE_SERVICES = ("web", "worker", "train")


@dataclass(frozen=True)
class Process:
    """A process of a container, by its number on the machine."""

    pid: int

    @property
    def arguments(self) -> str:
        """Its command line; empty once it has ended."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            return ""

    @property
    def status(self) -> dict[str, str]:
        """What /proc says of it: Uid, CapEff, NoNewPrivs and so on."""
        lines = (line.partition(":") for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return {name: value.strip() for name, _, value in lines}

    @property
    def woken(self) -> int:
        """How often it has waited for something, and got it."""
        return int(self.status["voluntary_ctxt_switches"])

    def below(self) -> Iterator["Process"]:
        """Its children, theirs, and so on, without those that end meanwhile."""
        for task in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for pid in task.read_text().split():
                    yield Process(int(pid))
                    yield from Process(int(pid)).below()


class Container:
    """One container of the project."""

    def __init__(self, docker: Docker, facts: Mapping[str, Any]) -> None:
        self.docker, self.facts = docker, facts
        self.name: str = facts["Name"].strip("/")
        self.service: str = facts["Config"]["Labels"]["com.docker.compose.service"]

    @property
    def processes(self) -> list[Process]:
        first = Process(int(self.facts["State"]["Pid"]))
        return [first, *first.below()]

    def process(self, part: str) -> Process:
        """The first one that was started with `part` among its arguments, looking from the container's first one on."""
        named = [one for one in self.processes if part in one.arguments and "docker-init" not in one.arguments]
        assert named, f"{self.name} runs no {part}: {[one.arguments for one in self.processes]}"
        return named[0]

    def attempt(self, *argv: str, user: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command inside, which may fail."""
        return self.docker.attempt("exec", *(["--user", user] if user else []), self.name, *argv)


class Composed:
    """The project in a clone of this repository; `install` does what the README says."""

    def __init__(self, docker: Docker, releases: Releases) -> None:
        self.docker, self.releases = docker, releases
        self.folder = releases.clone / "deploy/compose"
        self.configuration = docker.folder / "etc-serving-site"
        self.environment = {"CONFIGURATION": str(self.configuration)}
        self.site = Site(f"https://{NAME}", docker.address)

    def install(self, **settings: Any) -> None:
        """Run the installer; raises AssertionError with what it said."""
        given = self.docker.folder / "settings.json"
        # The lab's images have pip's own configuration, with a folder that holds the CPU's torch.
        given.write_text(
            json.dumps({"site_domain": NAME, "admin_email": "ada@example.org", "torch_index": "", **settings})
        )
        done = subprocess.run(
            [self.folder / "install", given],
            env={**self.docker.environment, **self.environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-6000:]}"

    def compose(self, *arguments: str, stdin: str = "") -> str:
        return self.docker.run("compose", *arguments, folder=self.folder, environment=self.environment, stdin=stdin)

    def containers(self, *services: str) -> list[Container]:
        """Those that run, in the order of their names."""
        ids = self.compose("ps", "--quiet", *services).split()
        facts = json.loads(self.docker.run("inspect", *ids)) if ids else []
        return sorted((Container(self.docker, one) for one in facts), key=lambda one: one.name)

    def container(self, service: str) -> Container:
        return self.containers(service)[0]

    def rows(self, sql: str) -> list[list[str]]:
        """What the database answers."""
        psql = ("psql", "--no-psqlrc", "--username", "postgres", "--dbname", "serving-site", "--csv", "--tuples-only")
        said = self.compose("exec", "-T", "postgres", *psql, stdin=sql)
        return [line.split(",") for line in said.splitlines()]

    def secrets(self) -> dict[str, str]:
        """What must stay secret, by its file: passwords also where they are a part of an address."""
        kept = {path.name: path.read_text().strip() for path in (self.configuration / "secrets").iterdir()}
        passwords = ("secret_key", "database_password", "broker_password")
        return {name: kept[name] for name in passwords}

    def remove(self) -> None:
        self.docker.attempt(
            "compose", "down", "--timeout", "5", "--volumes", folder=self.folder, environment=self.environment
        )
        shutil.rmtree(self.configuration)
