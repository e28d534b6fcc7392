"""A whole site with the demo models, served as production serves it, and a browser that notices every complaint."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.conftest import NewPage
from tests.installs import PASSWORD, Install
from tests.processes import Web

ANSWER_MS = 30_000
COMPLAIN = """
  addEventListener("securitypolicyviolation", (event) =>
    console.error(`CSP ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


@dataclass
class Site:
    """A running site and its address."""

    install: Install
    web: Web

    @property
    def url(self) -> str:
        return self.web.url


@dataclass
class Complaints:
    """What a page's console, scripts and requests complained about."""

    lines: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", lambda line: self._add(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._add(str(error)))
        page.on("response", lambda answer: self._add(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
        page.add_init_script(COMPLAIN)

    def _add(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """The site after `manage.py prepare`: three demo models, and people of the tests."""
    install = Install(
        DJANGO_SUPERUSER_USERNAME="admin",
        DJANGO_SUPERUSER_EMAIL="admin@example.org",
        DJANGO_SUPERUSER_PASSWORD=PASSWORD,
    )
    try:
        install.manage("prepare", timeout_s=300)
        install.made_ready()
        install.manage("collectstatic", "--noinput")
        web = install.web(wait_for="/readyz?full")
        install.serve(["poison"])
        yield Site(install, web)
        print(install.logs())  # noqa: T201 - pytest shows it under a failed test
    finally:
        install.close()


A_LIFE = """
from mlmodels.models import MLModel
from predictions.models import Prediction
from serving_site.accounts.models import User
from tests import life, registry
model = MLModel.objects.select_related("live_release__version").get(slug="breast-cancer")
version = model.live_release.version
asked = registry.prediction(User.objects.get(username="bob"), model, "failed")
data = life.snapshot(model)
for seed in range(3):
    life.training_run(data, seed=seed, log="one line")
life.evaluation(version, snapshot=data, report=life.CLASS_REPORT)
life.evaluation(version, snapshot=data, report=life.NUMBER_REPORT)
gate = life.evaluation(version, "gate", against=version, report=life.gate_report(asked.pk), passed=False)
life.evaluation(version, "replay", report={"rows": 9, "agree": 9, "identical": 9, "disagreements": []})
life.delivery(version, evaluation=gate)
"""


@pytest.fixture(scope="session")
def lived(site: Site) -> Site:
    """The site with trainings, judgements and a push of its model `breast-cancer`, as rows that nothing has run."""
    site.install.shell(A_LIFE)
    return site


SignIn = Callable[..., Page]


@pytest.fixture
def sign_in(site: Site, new_page: NewPage) -> SignIn:
    """Open a page in which somebody is signed in: `sign_in("bob", viewport=(320, 640))`."""

    def open_page(name: str = "alice", **options: Any) -> Page:
        page = new_page(base_url=site.url, **options)
        page.set_default_timeout(ANSWER_MS)
        page.goto("/accounts/login/")
        page.get_by_label("User name or e-mail address").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/")
        return page

    return open_page


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Give pages to `listen`; the test fails if one of them complained."""
    heard = Complaints()
    yield heard
    assert heard.lines == []
