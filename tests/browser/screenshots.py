"""`make screenshots`: the pictures of the README, taken of a real install with the demo models. About a minute."""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.conftest import CHROMIUM_ARGUMENTS
from tests.installs import PASSWORD, Install
from tests.session import GROUND

FOLDER = Path(__file__).parent / "screenshots"
THREE = [
    (0.3, 0.25),
    (0.5, 0.18),
    (0.68, 0.28),
    (0.66, 0.4),
    (0.48, 0.49),
    (0.68, 0.58),
    (0.7, 0.73),
    (0.5, 0.83),
    (0.3, 0.76),
]


def main() -> int:
    install = Install.embedded(PREDICTION_DEADLINE_S="20")
    try:
        install.manage("setup_demo")
        take(install.web().url)
    finally:
        install.close()
        GROUND.close()
    return 0


def take(url: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1120, "height": 760})
        page.goto(f"{url}/accounts/login/")
        page.fill("input[name=username]", "alice")
        page.fill("input[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/")
        for slug in ("breast-cancer", "diabetes-progression"):
            page.goto(f"{url}/models/{slug}/?example=0")
            answer(page)
        draw(page, url)
        page.screenshot(path=FOLDER / "model.png")
        answer(page)
        page.screenshot(path=FOLDER / "prediction.png")
        page.goto(f"{url}/")
        page.screenshot(path=FOLDER / "home.png")
        page.emulate_media(color_scheme="dark")
        page.goto(f"{url}/predictions/")
        page.screenshot(path=FOLDER / "history-dark.png")
        browser.close()


def draw(page: Page, url: str) -> None:
    page.goto(f"{url}/models/digits/")
    box = page.locator("canvas").bounding_box()
    assert box
    points = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in THREE]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=8)
    page.mouse.up()


def answer(page: Page) -> None:
    page.get_by_role("button", name="Get the answer").click()
    page.wait_for_url("**/predictions/*/")
    page.get_by_text("Succeeded").or_(page.get_by_text("Done")).first.wait_for(timeout=20_000)
    page.wait_for_timeout(300)


if __name__ == "__main__":
    sys.exit(main())
