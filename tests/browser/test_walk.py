"""Every page of site and admin that links lead to: nothing complains, and everything has a name."""

import re
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Complaints, SignIn, Site
from tests.browser.test_journey import ask

MOST_PAGES = 150
KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/)\d+(?=/)")
NAMELESS = """() => [...document.querySelectorAll("input, select, textarea, button, a[href], summary")]
    .filter((one) => one.type !== "hidden")
    .filter((one) => one.offsetParent !== null)
    .filter((one) => !(one.labels?.length || one.getAttribute("aria-label") || one.getAttribute("aria-labelledby")
        || one.title || one.textContent.trim() || (one.type === "submit" && one.value) || one.placeholder))
    .map((one) => one.outerHTML.slice(0, 120))"""


def pages(page: Page, start: str, base: str) -> list[str]:
    """Every address that can be reached by links from `start`, one for each kind of page."""
    waiting, seen = [start], {start}
    visited: list[str] = []
    while waiting and len(visited) < MOST_PAGES:
        address = waiting.pop(0)
        answer = page.goto(address)
        assert answer is not None
        assert answer.status < 400, f"{answer.status} {address}"
        visited.append(address)
        if "/admin/" not in address:
            nameless = page.evaluate(NAMELESS)
            assert nameless == [], f"{address}: {nameless}"
            assert page.locator("h1").count() == 1, address
        assert page.title() != ""
        for link in page.eval_on_selector_all("a[href]", "links => links.map((link) => link.href)"):
            there = urlsplit(urljoin(address, link))
            kind = KEY.sub("X", there.path) + ("?" if there.query else "")
            if f"{there.scheme}://{there.netloc}" == base and kind not in seen and "logout" not in kind:
                seen.add(kind)
                waiting.append(there._replace(fragment="").geturl())
    return visited


@pytest.mark.slow
def test_a_walk_over_every_page_finds_no_complaint(sign_in: SignIn, lived: Site, complaints: Complaints) -> None:
    site = lived
    page = sign_in("admin")
    for slug in ("breast-cancer", "digits", "diabetes-progression"):
        ask(page, slug)
    complaints.listen(page)
    walked = [*pages(page, f"{site.url}/", site.url), *pages(page, f"{site.url}/admin/", site.url)]
    paths = {KEY.sub("X", urlsplit(address).path) for address in walked}
    assert {"/", "/predictions/", "/predictions/X/", "/predictions/X/delete/", "/models/digits/", "/accounts/"} <= paths
    assert {
        "/admin/",
        "/admin/mlmodels/delivery/X/change/",
        "/admin/mlmodels/datasetsnapshot/X/change/",
        "/admin/mlmodels/evaluation/X/change/",
        "/admin/mlmodels/mlmodel/X/releases/",
        "/admin/mlmodels/mlmodel/X/retrain/",
        "/admin/mlmodels/mlmodel/X/rollback/",
        "/admin/mlmodels/modelversion/",
        "/admin/mlmodels/modelversion/X/evaluate/",
        "/admin/mlmodels/modelversion/X/promote/",
        "/admin/mlmodels/modelversion/X/replay/",
        "/admin/mlmodels/trainingrun/X/change/",
        "/admin/predictions/prediction/run-again/X/",
        "/admin/predictions/prediction/",
        "/admin/jobs/worker/",
    } <= paths


def test_an_error_page_is_styled_and_tells_its_number(sign_in: SignIn) -> None:
    page = sign_in()
    page.goto("/nothing/here/")
    assert page.get_by_role("heading", name="There is nothing here").is_visible()
    assert page.evaluate("getComputedStyle(document.querySelector('.button')).borderRadius") != "0px"
    assert re.search(r"[0-9a-f-]{36}", page.locator("main").inner_text())
