"""A person with a browser, from signing in to finding an answer again."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests import zoo
from tests.browser.conftest import Complaints, SignIn, Site
from tests.conftest import NewPage
from tests.installs import PASSWORD


def answer(page: Page) -> str:
    """What the page shows as the answer, once it is there."""
    shown = page.locator(".answer .value")
    expect(shown).to_be_visible()
    return shown.inner_text()


def ask(page: Page, slug: str, example: int = 0) -> str:
    page.goto(f"/models/{slug}/")
    page.locator(".chip").nth(example).click()
    page.get_by_role("button", name="Get the answer").click()
    return answer(page)


def sleep_for_a_while(page: Page) -> None:
    """Leave `page` on a prediction that runs until it is killed."""
    page.goto("/models/zoo-poison/")
    page.get_by_label("X").fill(str(zoo.POISON_SLEEP))
    page.get_by_role("button", name="Get the answer").click()
    expect(page.get_by_text("The model is computing")).to_be_visible()


def test_from_signing_in_to_finding_the_answer_again(sign_in: SignIn, complaints: Complaints) -> None:
    page = sign_in()
    complaints.listen(page)
    page.get_by_role("link", name="Breast cancer").click()
    expect(page.get_by_role("heading", name="How good is it?")).to_be_visible()
    page.locator(".chip").first.click()
    page.get_by_text("Add a note for yourself").click()
    page.get_by_label("Note").fill("the very first 100% one")
    page.get_by_role("button", name="Get the answer").click()
    assert answer(page) in ("Malignant", "Benign")
    expect(page).to_have_title(re.compile("^Done: Breast cancer"))
    expect(page.get_by_text("Computed", exact=True)).to_be_visible()
    permalink = page.url
    page.get_by_role("link", name="My predictions").first.click()
    page.get_by_role("searchbox").fill("FIRST 100% O")
    page.get_by_role("button", name="Search").click()
    page.locator(".row-link").click()
    assert page.url == permalink
    page.get_by_role("link", name="Delete this prediction").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The prediction is deleted.")).to_be_visible()


def test_every_demo_model_answers_its_examples(sign_in: SignIn, complaints: Complaints) -> None:
    page = sign_in()
    complaints.listen(page)
    assert ask(page, "breast-cancer") in ("Malignant", "Benign")
    assert ask(page, "digits") in set("0123456789")
    expect(page.locator(".shown-picture img")).to_be_visible()
    assert page.locator(".shown-picture img").evaluate("picture => picture.naturalWidth > 0")
    assert float(ask(page, "diabetes-progression")) > 0
    expect(page.locator("svg.range")).to_be_visible()


def test_a_double_click_submits_once(sign_in: SignIn) -> None:
    page = sign_in("carol")
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.goto("/models/diabetes-progression/?example=0")
    page.get_by_role("button", name="Get the answer").dblclick(no_wait_after=True)
    answer(page)
    assert len(posts) == 1
    page.goto("/predictions/")
    expect(page.locator(".row-link")).to_have_count(1)


def test_going_back_and_sending_again_works(sign_in: SignIn) -> None:
    page = sign_in()
    ask(page, "diabetes-progression")
    first = page.url
    page.go_back()
    page.get_by_label("Age", exact=True).fill("33")
    page.get_by_role("button", name="Get the answer").click()
    answer(page)
    assert page.url != first


def test_wrong_values_are_explained_and_kept(sign_in: SignIn) -> None:
    page = sign_in()
    page.goto("/models/diabetes-progression/?example=0")
    page.get_by_label("Age", exact=True).fill("old")
    page.get_by_role("button", name="Get the answer").click()
    summary = page.get_by_role("alert")
    expect(summary).to_be_focused()
    summary.get_by_role("link").click()
    expect(page.get_by_label("Age", exact=True)).to_be_focused()
    assert page.get_by_label("Age", exact=True).input_value() == "old"
    assert page.get_by_label("Blood sugar").input_value() != ""


def test_what_runs_can_be_canceled_and_the_page_notices(sign_in: SignIn, complaints: Complaints) -> None:
    page = sign_in()
    complaints.listen(page)
    sleep_for_a_while(page)
    expect(page.get_by_text(re.compile(r"Running for [1-9]"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("You canceled this")).to_be_visible()


HIDE = """(hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_polling_pauses_in_a_hidden_tab_and_ends_with_the_outcome(sign_in: SignIn) -> None:
    page = sign_in()
    asked: list[float] = []
    sleep_for_a_while(page)
    page.on("request", lambda request: asked.append(request.timing["startTime"]) if "/status/" in request.url else None)
    page.evaluate(HIDE, arg=True)
    page.wait_for_timeout(300)
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []
    page.evaluate(HIDE, arg=False)
    expect(page.locator("#prediction[data-poll]")).to_have_count(0)
    assert len(asked) >= 1
    page.wait_for_timeout(200)
    asked.clear()
    page.wait_for_timeout(2500)
    assert asked == []


def test_everything_works_by_keyboard_alone(site: Site, new_page: NewPage) -> None:
    page = new_page(base_url=site.url)
    page.goto("/accounts/login/")
    page.keyboard.type("bob")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What would you like to know?")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    press_until_focused(page, "Diabetes progression")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your input")).to_be_visible()
    press_until_focused(page, "Little progression")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Age", exact=True)).not_to_have_value("")
    press_until_focused(page, "Get the answer")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert float(answer(page)) > 0


def press_until_focused(page: Page, words: str) -> None:
    for _ in range(60):
        page.keyboard.press("Tab")
        if words in page.evaluate("document.activeElement.textContent"):
            return
    raise AssertionError(f"nothing called {words!r} can be reached with Tab")


def test_control_and_enter_send_the_form(sign_in: SignIn) -> None:
    page = sign_in()
    page.goto("/models/diabetes-progression/?example=1")
    page.get_by_label("Age", exact=True).press("Control+Enter")
    assert float(answer(page)) > 0


def test_everything_works_without_scripts(sign_in: SignIn) -> None:
    page = sign_in("bob", java_script_enabled=False)
    page.goto("/models/digits/")
    expect(page.locator("canvas")).to_be_hidden()
    page.locator(".chip").first.click()
    page.get_by_role("button", name="Get the answer").click()
    page.wait_for_selector(".answer .value")
    assert answer(page) in set("0123456789")
    page.locator("summary[aria-label^='Your account']").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(
    "path", ["/", "/models/breast-cancer/", "/models/digits/?example=0", "/predictions/", "/accounts/"]
)
def test_pages_fit_a_narrow_screen(sign_in: SignIn, path: str) -> None:
    page = sign_in(viewport=(320, 640))
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_results_fit_a_narrow_screen(sign_in: SignIn) -> None:
    page = sign_in(viewport=(320, 640))
    for slug in ("breast-cancer", "digits", "diabetes-progression"):
        ask(page, slug)
        assert page.evaluate("document.documentElement.scrollWidth") == 320


THEME_AT_FIRST_SIGHT = """new MutationObserver((_, observer) => {
    if (!document.body) return;
    window.early = document.documentElement.dataset.theme;
    observer.disconnect();
}).observe(document, { childList: true, subtree: true });"""


def test_the_choice_of_light_and_dark_is_remembered_without_a_flash(sign_in: SignIn) -> None:
    page = sign_in(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Dark mode").click()
    light = page.evaluate(ground)
    assert light != dark
    page.add_init_script(THEME_AT_FIRST_SIGHT)
    page.reload()
    assert page.evaluate("window.early") == "light"
    assert page.evaluate(ground) == light
    page.goto("/models/digits/")
    assert page.get_by_role("button", name="Dark mode").get_attribute("aria-pressed") == "false"
