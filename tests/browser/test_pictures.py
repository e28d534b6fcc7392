"""Giving a picture: drawn, dropped, pasted or chosen."""

import base64
import io
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints, SignIn
from tests.browser.test_journey import answer
from tests.mlmodels import drawings

PEN = 20
"""As wide as our pad draws."""


def draw(page: Page, drawing: dict[str, Any]) -> None:
    """Repeat recorded strokes on the pad, point by point, as a mouse sends them."""
    page.locator("canvas").evaluate(
        """(canvas, [strokes, size]) => {
            const box = canvas.getBoundingClientRect();
            const send = (kind, [x, y]) => canvas.dispatchEvent(new PointerEvent(kind, {
                clientX: box.left + x / size * box.width, clientY: box.top + y / size * box.height,
                pointerId: 1, button: 0, bubbles: true }));
            canvas.setPointerCapture = () => {};
            for (const stroke of strokes) {
                send("pointerdown", stroke[0]);
                for (const point of stroke.slice(1)) send("pointermove", point);
                send("pointerup", stroke.at(-1));
            }
        }""",
        [drawing["strokes"], drawing["canvas"]],
    )


def png(drawing: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    drawings.render(drawing).save(file, "PNG")
    return file.getvalue()


def send(page: Page) -> str:
    page.get_by_role("button", name="Get the answer").click()
    return answer(page)


def test_a_digit_drawn_with_the_mouse_is_read(sign_in: SignIn, complaints: Complaints) -> None:
    page = sign_in()
    complaints.listen(page)
    page.goto("/models/digits/")
    box = page.locator("canvas").bounding_box()
    assert box
    one = [(0.5, 0.15), (0.5, 0.5), (0.5, 0.85)]
    for number, (x, y) in enumerate(one):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=10)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    expect(page.locator("img.preview")).to_be_visible()
    assert send(page) == "1"


@pytest.mark.slow
def test_at_least_45_of_50_recorded_drawings_are_recognised_through_the_page(sign_in: SignIn) -> None:
    page = sign_in()
    wrong = []
    for drawing in drawings.load("recorded"):
        page.goto("/models/digits/")
        if drawing["ink"] == "dark" and abs(drawing["pen"] - PEN) <= 6:
            draw(page, drawing)
        else:
            page.get_by_label("Picture of a digit").set_input_files(
                {"name": "drawing.png", "mimeType": "image/png", "buffer": png(drawing)}
            )
        read = send(page)
        if read != drawing["label"]:
            wrong.append(f"{drawing['label']} ({drawing['title']}) was read as {read}")
    assert len(wrong) <= 5, wrong


def test_strokes_can_be_taken_back_and_cleared(sign_in: SignIn) -> None:
    page = sign_in()
    page.goto("/models/digits/")
    line = {"canvas": 280, "strokes": [[[140, 40], [140, 240]]]}
    undo, clear = (page.get_by_role("button", name=name) for name in ("Undo", "Clear"))
    expect(undo).to_be_disabled()
    draw(page, line)
    draw(page, line)
    undo.click()
    expect(page.locator("img.preview")).to_be_visible()
    clear.click()
    expect(clear).to_be_disabled()
    expect(page.locator("img.preview")).to_be_hidden()
    page.get_by_role("button", name="Get the answer").click()
    expect(page.get_by_role("alert").first).to_contain_text("Choose a picture, drop one here or draw one.")


HAND_OVER = """([kind, data, name, type]) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    const event = kind === "paste"
        ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
        : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true });
    (kind === "paste" ? document.body : document.querySelector("[data-drop]")).dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(sign_in: SignIn, complaints: Complaints, kind: str) -> None:
    page = sign_in()
    complaints.listen(page)
    page.goto("/models/digits/")
    content = base64.b64encode(png(drawings.load("recorded")[0])).decode()
    page.evaluate(HAND_OVER, [kind, content, "zero.png", "image/png"])
    expect(page.locator("img.preview")).to_be_visible()
    assert send(page) in set("0123456789")
    expect(page.get_by_text("zero.png")).to_be_visible()


def test_what_is_no_picture_is_refused_before_it_is_sent(sign_in: SignIn) -> None:
    page = sign_in()
    page.goto("/models/digits/")
    content = base64.b64encode(b"<svg/>").decode()
    page.evaluate(HAND_OVER, ["drop", content, "drawing.svg", "image/svg+xml"])
    expect(page.get_by_role("alert")).to_contain_text("drawing.svg is not a PNG, JPEG or WebP picture.")
    expect(page.locator("img.preview")).to_be_hidden()


def test_a_truncated_picture_fails_with_a_sentence_that_helps(sign_in: SignIn) -> None:
    page = sign_in()
    page.goto("/models/digits/")
    cut = png(drawings.load("recorded")[0])[:-40]
    page.get_by_label("Picture of a digit").set_input_files({"name": "cut.png", "mimeType": "image/png", "buffer": cut})
    page.get_by_role("button", name="Get the answer").click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    expect(page.get_by_text("Change the input and try again.")).to_be_visible()


def test_an_example_stays_when_another_field_is_wrong_and_can_be_taken_away(sign_in: SignIn) -> None:
    page = sign_in()
    page.goto("/models/digits/?example=0")
    page.get_by_role("button", name="Take it away").click()
    expect(page.locator("img.preview")).to_be_hidden()
    page.get_by_role("button", name="Get the answer").click()
    expect(page.get_by_role("alert").first).to_contain_text("Choose a picture")
