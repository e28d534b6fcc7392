"""A whole install for tests: its database, its processes, the zoo's models live, and people who can log in."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests import zoo
from tests.person import Person
from tests.processes import Process, SiteProcesses, Web
from tests.services import PostgreSQL, RabbitMQ
from tests.session import GROUND, REPOSITORY

PASSWORD = "a-long-password-of-the-tests"
MAKE_PEOPLE = """
from serving_site.accounts.models import User
for name in ("alice", "bob", "carol"):
    User.objects.create_user(name, name + "@example.org", {password!r})
User.objects.create_superuser("root", "root@example.org", {password!r})
"""


class Install(SiteProcesses):
    """`Install.embedded()` or `Install.distributed_on(rabbitmq, postgres)`; close it at the end."""

    def __init__(self, tree: Path | None = None, **environment: str) -> None:
        settings = {"DJANGO_SETTINGS_MODULE": "tests.site_settings", "PREDICTION_DEADLINE_S": "5"}
        super().__init__({**settings, **environment}, tree or REPOSITORY)

    @classmethod
    def embedded(cls, **environment: str) -> "Install":
        return cls(None, **environment).made_ready()

    @classmethod
    def distributed_on(
        cls, rabbitmq: RabbitMQ, postgres: PostgreSQL, tree: Path | None = None, **environment: str
    ) -> "Install":
        install = cls(tree, **environment)
        install.distributed(rabbitmq, postgres)
        return install.made_ready()

    @property
    def is_embedded(self) -> bool:
        return "RABBITMQ_URL" not in self.environment

    def made_ready(self) -> "Install":
        try:
            self.manage("migrate", "--verbosity", "0")
            self.shell(MAKE_PEOPLE.format(password=PASSWORD))
        except BaseException:
            self.close()
            raise
        return self

    def start(self, workers: int = 1) -> tuple[Web, list[Process]]:
        """A web process, and workers where the install is distributed."""
        web = self.web()
        return web, [] if self.is_embedded else [self.worker(wait_for="worker_started") for _ in range(workers)]

    def serve(self, architectures: Sequence[str]) -> None:
        """Import and release a version of each of the zoo's `architectures`; the slug is zoo-NAME."""
        for architecture in architectures:
            with tempfile.TemporaryDirectory(dir=GROUND.directory) as folder:
                zoo.artifact(folder, architecture)
                self.manage("import_version", folder, "--promote", "always")

    def log_in(self, web: Web, name: str = "alice") -> Person:
        return Person(web.url, name, PASSWORD).log_in()

    def shell(self, code: str) -> str:
        return self.manage("shell", "-v", "0", "-c", code)
