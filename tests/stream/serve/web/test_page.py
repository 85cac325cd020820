"""The page in Debian's chromium, over a running service."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S
from web_stack import SECRETS, WebStack, camera_toml

from facesieve.stream.serve.events import IdentityUpdated, Message, Moment, Origin

pytestmark = pytest.mark.browser


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """visit(stack, width=…) opens its page. Afterwards no error is in the console, no request left."""
    contexts, troubles = [], []

    def opened(stack: WebStack, width: int = 1280, scheme: str = "light"):
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda told: troubles.append(told.text) if is_trouble(told) else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(stack.url) else troubles.append(asked.url),
        )
        page.goto(stack.url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def is_trouble(told) -> bool:
    """Not what a browser says of a refused login, nor of a face that was deleted as it was asked for."""
    asked_for_a_face = re.search(r"/api/v1/(shots|identities)/", told.location["url"])
    expected = "401" in told.text or ("404" in told.text and asked_for_a_face)
    return told.type == "error" and not expected


def until(page, expression: str) -> None:
    """Wait until it is true in the page. (Playwright's own way evaluates strings, which the page forbids.)"""
    deadline = time.monotonic() + PATIENCE_S
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def log_in(page, scope: str = "admin") -> None:
    page.get_by_label("Token").fill(SECRETS[scope])
    page.get_by_role("button", name="Log in").click()
    page.locator("main").wait_for()


def test_cameras_shots_and_people_from_login_to_deletion(start, visit, clip: Path) -> None:
    stack = start(camera_toml("gate", clip), people=True)
    page = visit(stack)
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    page.get_by_text("the token is not valid").wait_for()
    log_in(page)
    card = page.locator("[data-camera=gate]")
    card.get_by_text("live", exact=True).wait_for()
    until(page, "document.querySelector('[data-camera=gate] img').naturalWidth === 320")
    page.locator("#strip li img").first.wait_for()
    until(page, "document.querySelector('#strip img').naturalWidth > 0")
    shown = page.locator("#strip li").count()
    stack.until(lambda: len(stack.feed.shots()) > shown)
    until(page, f"document.querySelectorAll('#strip li').length > {shown}")

    card.get_by_role("button", name="Watch gate").click()
    until(page, "document.querySelector('#detail img').naturalWidth === 320")
    page.get_by_role("button", name="Close").click()
    page.locator("#strip button").first.click()
    page.get_by_role("heading", name="Face at gate").wait_for()
    assert "null" not in page.locator("#detail").inner_text()
    page.get_by_role("button", name="Close").click()
    until(page, "document.querySelector('#summary').textContent.startsWith('1 of 1 live')")
    card.get_by_role("button", name="Pause").click()
    card.get_by_text("stopped").wait_for()
    card.get_by_text("last picture").wait_for()
    until(page, "document.querySelector('#summary').textContent.startsWith('0 of 1 live')")

    page.get_by_role("button", name="Person 1").click()
    page.locator(".timeline circle").nth(1).wait_for()
    page.on("dialog", lambda asked: asked.accept())
    page.get_by_role("button", name="Delete this person").click()
    page.get_by_text("2 tracks and 2 pictures deleted").wait_for()
    page.get_by_role("button", name="Person 1").wait_for(state="detached")

    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Token").wait_for()
    assert page.locator("main").is_hidden()


def test_a_reader_on_a_phone_sees_and_cannot_change(start, visit, clip: Path) -> None:
    stack = start(camera_toml("gate", clip), people=True)
    page = visit(stack, width=390, scheme="dark")
    log_in(page, "read")
    card = page.locator("[data-camera=gate]")
    card.get_by_text("live", exact=True).wait_for()
    assert not card.get_by_role("button", name="Pause").is_visible()
    assert not page.get_by_role("button", name="Reload configuration").is_visible()
    page.get_by_role("button", name="Person 1").click()
    page.locator(".timeline").wait_for()
    assert not page.get_by_role("button", name="Delete this person").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    small = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => b.offsetHeight && b.offsetHeight < 30).length"
    )
    assert small == 0, "buttons that a thumb can hit"
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(28, 28, 26)", "dark mode"


def test_without_tokens_this_machine_needs_no_login(start, visit, clip: Path) -> None:
    stack = start(camera_toml("gate", clip), tokens=False)
    page = visit(stack)
    page.locator("main").wait_for()
    page.locator("#link.on").wait_for()
    assert page.locator("#people").is_hidden(), "nobody is kept here"
    assert page.get_by_role("button", name="Log out").is_hidden()


NAMELESS = """
[...document.querySelectorAll('button, a, input:not([type=hidden]), img, [role=img]')]
  .filter(e => e.checkVisibility())
  .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.hasAttribute('alt')))
  .map(e => e.outerHTML)
"""
HEADINGS = """
[...document.querySelectorAll('h1, h2, h3')].filter(e => e.checkVisibility()).map(e => Number(e.tagName[1]))
"""


def test_everything_has_a_name_and_the_keyboard_reaches_it(start, visit, clip: Path) -> None:
    stack = start(camera_toml("gate", clip), people=True)
    page = visit(stack)
    assert page.evaluate(NAMELESS) == []
    log_in(page)
    page.locator("#strip button").first.wait_for()
    page.locator("#gallery button").first.wait_for()
    assert page.evaluate(NAMELESS) == []
    levels = page.evaluate(HEADINGS)
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    wanted = {"Watch gate", "Pause gate", "Person 1", "Cameras", "Shots", "People"}
    for _ in range(300):  # meanwhile shots come
        page.keyboard.press("Tab")
        wanted.discard(
            page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent")
        )
        if not wanted:
            break
    assert not wanted
    page.locator("#gallery button").first.focus()
    page.keyboard.press("Enter")
    page.locator(".timeline").wait_for()
    assert page.evaluate("document.querySelector('#view').contains(document.activeElement)")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#view').open")


def test_a_camera_without_a_picture_says_so(start, visit) -> None:
    stack = start('[[camera]]\nname = "away"\nurl = "rtsp://127.0.0.1:9/x"\n', tokens=False)
    page = visit(stack)
    page.get_by_text("no picture yet").wait_for()
    page.get_by_text("Connection refused").wait_for()
    assert page.locator("[data-camera=away] .trend").is_hidden()


def test_what_was_deleted_elsewhere_leaves_the_page(start, visit, clip: Path) -> None:
    stack = start(camera_toml("gate", clip), people=True)
    page = visit(stack)
    log_in(page)
    # Track 3 means that 1 and 2 have ended: a track in view would go on after the deletion.
    stack.until(lambda: {1, 2, 3} <= {recent.event.track for recent in stack.feed.shots()})
    stack.client("admin").delete("/api/v1/identities/1")
    page.get_by_role("button", name="Person 1").wait_for(state="detached")
    shown = "[...document.querySelectorAll('#strip li')].map(li => li.dataset.key)"
    until(page, f"!{shown}.some(key => ['b00t/gate/1/1/0', 'b00t/gate/1/2/0'].includes(key))")


def told_of(stack: WebStack, number: int) -> None:
    """Person 1 gains a track, as far as the page hears."""
    at, origin = Moment(pts_s=0, wall_s=0, monotonic_s=0), Origin(camera="gate", boot="b", session=1)
    stack.feed.publish(
        Message(
            IdentityUpdated(id=f"b/gate/1/identity-1/{number}", origin=origin, at=at, identity=1, tracks=9)
        )
    )


def test_what_was_searched_for_stays_while_people_walk_by(start, visit, clip: Path, tmp_path: Path) -> None:
    stack = start(camera_toml("gate", clip), people=True)
    page = visit(stack)
    log_in(page)
    page.locator("#gallery li").nth(1).wait_for()
    page.clock.install()
    picture = tmp_path / "face.jpg"
    picture.write_bytes(b"\xff\xd8\x01")
    page.locator("#search").set_input_files(picture)
    page.get_by_text("Most alike first.").wait_for()
    page.evaluate("document.querySelector('#gallery').dataset.mark = 1")
    page.evaluate("document.querySelector('#gallery li').dataset.mark = 1")
    told_of(stack, 1)
    stack.until(lambda: stack.feed.watchers)
    with page.expect_response(re.compile("/api/v1/cameras$")):
        page.clock.fast_forward(20_000)
    assert page.evaluate("document.querySelector('#gallery li').dataset.mark") == "1"
    assert page.get_by_text("Most alike first.").is_visible()
    page.get_by_role("button", name="Show everyone").click()
    page.get_by_text("2 people, last seen first").wait_for()


def test_a_picture_that_is_there_is_not_asked_for_again(start, visit, clip: Path) -> None:
    stack = start(camera_toml("gate", clip), people=True)
    page = visit(stack)
    log_in(page)
    page.locator("#gallery li").nth(1).wait_for()
    page.locator("#gallery button").last.focus()
    page.clock.install()
    page.evaluate(
        "for (const e of document.querySelectorAll('#gallery li, #gallery img')) e.dataset.mark = 1"
    )
    told_of(stack, 1)
    deadline = time.monotonic() + PATIENCE_S
    while page.evaluate("document.querySelectorAll('#gallery li[data-mark]').length"):
        assert time.monotonic() < deadline, "the list was never read anew"
        page.clock.fast_forward(6000)
        page.wait_for_timeout(50)
    assert page.evaluate("document.querySelectorAll('#gallery img[data-mark]').length") == 2
    assert page.evaluate("document.activeElement === document.querySelector('#gallery li:last-child button')")


def test_a_service_that_is_gone_is_not_shown_as_live(start, browser, clip: Path) -> None:
    stack = start(camera_toml("gate", clip), tokens=False)
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.goto(stack.url)
    page.locator("[data-camera=gate]").get_by_text("live", exact=True).wait_for()
    assert page.locator("#wall.away").count() == 0
    stack.close()
    page.locator("#wall.away").wait_for()
    page.get_by_text("the service does not answer, trying again").wait_for()
    context.close()


def test_long_names_stay_within_their_cards_on_a_phone(start, visit, clip: Path) -> None:
    name = "by the long northern fence behind the old shed for bicycles no. 4"[:64]
    stack = start(camera_toml(name, clip) + camera_toml("x" * 64, clip), people=True)
    page = visit(stack, width=390)
    log_in(page)
    page.locator("#strip li").nth(1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
    assert (
        page.evaluate("Math.max(...[...document.querySelectorAll('#strip li')].map(li => li.offsetHeight))")
        < 230
    )


def test_a_camera_that_is_not_live_is_shown_with_its_last_picture_and_why(quiet: WebStack, visit) -> None:
    page = visit(quiet)
    log_in(page)
    page.get_by_role("button", name="Watch gate").click()
    until(page, "document.querySelector('#detail img').naturalWidth === 320")
    page.locator("#detail").get_by_text("stopped, last picture").wait_for()
