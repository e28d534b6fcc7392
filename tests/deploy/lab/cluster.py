"""Three machines that Ansible has made one site: production, a worker host and a development host.

Making them takes more than a minute, so the tests of a session share them; each leaves them healthy, with the cable in.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from tests.deploy.lab.ground import Lab
from tests.deploy.lab.play import Play
from tests.deploy.lab.site import Site
from tests.person import Person

DOMAIN = "models.lab.example"
ADMIN = "admin"
FIRST_ADMINISTRATOR = "/etc/serving-site/first-administrator"


class Cluster:
    """The hosts, the `play` that made them, the `site` as people reach it, and its first administrator."""

    def __init__(self, lab: Lab, variables: Mapping[str, Any] | None = None) -> None:
        self.lab = lab
        self.production, self.worker, self.development = (
            lab.host(name) for name in ("production", "worker1", "development")
        )
        groups = {"production": [self.production], "workers": [self.worker], "development": [self.development]}
        given = {"site_domain": DOMAIN, "admin_email": "ann@example.org", **(variables or {})}
        self.play = Play(lab, groups, **given)
        self.first_recap = self.play.run("site.yml")
        self.site = Site(f"https://{DOMAIN}", self.production.address)
        self.site.await_ready()
        self._password = secrets.token_urlsafe(16)
        link = self.production.run(f"grep -o 'https://[^ ]*' {FIRST_ADMINISTRATOR}").split()[0]
        self.admin: Person = self.site.set_password(link, ADMIN, self._password)

    def person(self) -> Person:
        """The administrator in another browser, logged in."""
        return self.site.person(ADMIN, self._password).log_in()

    def rows(self, question: str) -> list[list[str]]:
        """Ask production's database; each row as texts."""
        ask = "su postgres -s /bin/sh -c 'psql --no-psqlrc -At -F \"\t\" serving-site'"
        return [line.split("\t") for line in self.production.run(ask, stdin=question).splitlines()]
