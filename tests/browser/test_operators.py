"""An operator with a browser: pages about a model's life, wide and narrow, light and dark, and the way to an answer."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints, SignIn, Site


def open_model(page: Page) -> None:
    page.goto("/admin/mlmodels/mlmodel/")
    page.get_by_role("link", name="breast-cancer", exact=True).click()


def open_newest(page: Page, name: str, words: str = "") -> None:
    page.goto(f"/admin/mlmodels/{name}/")
    page.locator("#result_list tbody tr", has_text=words).first.locator("th a").click()


def test_from_a_model_to_what_was_live_and_why(sign_in: SignIn, lived: Site, complaints: Complaints) -> None:
    page = sign_in("admin")
    complaints.listen(page)
    open_model(page)
    page.get_by_role("link", name="Releases and figures").click()
    expect(page.locator("p.question")).to_have_text(re.compile(r"UTC breast-cancer@1 is live, as release 1\.$"))
    expect(page.get_by_role("img", name=re.compile("^accuracy: "))).to_be_visible()
    page.get_by_label("At (UTC)").fill("2020-01-01T00:00:00")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Nothing was live at 2020-01-01 00:00:00 UTC.")).to_be_visible()
    page.get_by_role("link", name="Now", exact=True).click()
    page.get_by_role("link", name="release 1", exact=True).click()
    expect(page.get_by_role("heading", name="breast-cancer release 1")).to_be_visible()


def test_a_disagreement_leads_to_its_prediction(sign_in: SignIn, lived: Site, complaints: Complaints) -> None:
    page = sign_in("admin")
    complaints.listen(page)
    open_newest(page, "evaluation", "gate of")
    expect(page.locator(".gate .question")).to_have_text("Refused. 2 of 4 checks failed: accuracy, replay.")
    page.locator(".replay a").first.click()
    expect(page.get_by_role("heading", name=re.compile("^prediction "))).to_be_visible()


def test_a_chart_says_its_numbers_and_its_table_opens(sign_in: SignIn, lived: Site) -> None:
    page = sign_in("admin")
    open_newest(page, "trainingrun")
    loss = page.locator("figure", has=page.get_by_text("Loss", exact=True))
    expect(loss.get_by_role("img", name=re.compile("^Loss. this run ends at 0.2357"))).to_be_visible()
    loss.get_by_text("The numbers").click()
    expect(loss.get_by_role("row", name=re.compile("^20 "))).to_contain_text("0.2357")


PLACES = ["model", "releases", "retrain", "version", "trainingrun", "gate", "evaluation", "delivery", "datasetsnapshot"]


def open_place(page: Page, place: str) -> None:
    if place == "gate":
        open_newest(page, "evaluation", "gate of")
    elif place in ("model", "releases", "retrain"):
        open_model(page)
        if place != "model":
            page.get_by_role("link", name={"releases": "Releases and figures", "retrain": "Retrain"}[place]).click()
    else:
        open_newest(page, "modelversion" if place == "version" else place, "breast-cancer@1" * (place == "version"))


@pytest.mark.parametrize("place", PLACES)
def test_pages_of_operators_fit_a_narrow_screen(sign_in: SignIn, lived: Site, place: str) -> None:
    page = sign_in("admin", viewport=(320, 640), color_scheme="dark")
    open_place(page, place)
    expect(page.locator("#content h1")).not_to_have_text(re.compile("^Select"))
    page.wait_for_load_state()
    assert page.evaluate("document.documentElement.scrollWidth") == 320


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_drawn_in_colours_that_stand_out(sign_in: SignIn, lived: Site, scheme: str) -> None:
    """At least 3 to 1 against their ground, which WCAG asks of graphics."""
    page = sign_in("admin", color_scheme=scheme)
    open_newest(page, "trainingrun")
    expect(page.get_by_role("heading", name="View training run")).to_be_visible()
    ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    for css in ("now", "earlier"):
        line = page.locator(f".plot .{css}").first.evaluate("line => getComputedStyle(line).stroke")
        lighter, darker = sorted((luminance(line), ground), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 3, (css, line)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
