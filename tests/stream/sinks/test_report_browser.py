"""The report in Debian's chromium: what only a browser can tell."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from patience import PATIENCE_S

from facesieve.stream.sinks import FolderSink, render_report
from facesieve.stream.sinks import report as report_module

pytestmark = pytest.mark.browser

HOSTILE = "<script>document.title='hacked'</script><img src=x onerror=alert(1)> \"a\" 'b'\n.mp4"


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """visit(report, width=…) opens it; afterwards no error may be in its console, no request have left."""
    contexts, troubles = [], []

    def opened(report: Path, width: int = 1280, scheme: str = "light"):
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url == report.as_uri()
                or request.url.startswith("data:")
                or request.url.startswith(f"{(report.parent / 'shots').as_uri()}/")
                else troubles.append(f"request: {request.url}")
            ),
        )
        page.goto(report.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture
def report(tmp_path: Path, make_result) -> Path:
    """Three tracks with shots, at 0, 10 and 20 s with best scores .5, .9, .7, and one without."""
    with FolderSink(tmp_path) as sink:
        for track, (score, others) in enumerate([(0.5, 0), (0.9, 2), (0.7, 9)]):
            scores = [score] + [score - 0.03 * (i + 1) for i in range(others)]
            sink.write(make_result(track, scores, start_s=10.0 * track, source=HOSTILE))
        sink.write(make_result(3, (), source=HOSTILE))
        return sink.finish({"source": {"name": HOSTILE, "duration_s": 30.0}})


def shown(page) -> list[str]:
    return page.locator(".card:visible").evaluate_all("tracks => tracks.map(t => t.id)")


def slide(page, name: str, value: float) -> None:
    page.locator(f"input[name={name}]").evaluate(
        "(range, value) => { range.value = value; range.dispatchEvent(new Event('input', {bubbles: true})) }",
        value,
    )


def test_two_people_fit_on_a_page_of_paper(tmp_path: Path, make_result, visit) -> None:
    with FolderSink(tmp_path) as sink:
        for track in range(4):
            sink.write(make_result(track, (0.9, 0.8, 0.7), start_s=10.0 * track))
        report = sink.finish({"source": {"name": "film", "duration_s": 40.0}})
    page = visit(report)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 1031})  # A4 less its margins, at 96 pixels an inch
    heights = page.locator(".card").evaluate_all("cards => cards.map(c => c.getBoundingClientRect().height)")
    assert len(heights) == 4
    assert max(heights) < 1031 / 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(report: Path, visit, width: int, scheme: str) -> None:
    page = visit(report, width, scheme)
    page.locator(".unkept summary").click()
    page.locator(".controls summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    background = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert (background == "rgb(250, 249, 246)") == (scheme == "light")


def test_a_hostile_name_is_shown_as_text(report: Path, visit) -> None:
    page = visit(report)
    assert page.locator("h1").text_content() == HOSTILE
    assert page.title().startswith("<script>document.title=")
    assert page.locator("script").count() == 1


def test_every_picture_shows(report: Path, visit) -> None:
    page = visit(report)
    pictures = page.locator("img")
    assert pictures.count() == 14
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        picture.evaluate("image => image.decode()")
        assert picture.evaluate("image => image.naturalWidth") > 0


def test_sorting(report: Path, visit) -> None:
    page = visit(report)
    assert shown(page) == ["track-0", "track-1", "track-2"]
    page.locator("select[name=sort]").select_option("score")
    assert shown(page) == ["track-1", "track-2", "track-0"]


@pytest.mark.parametrize(
    ("moves", "left"),
    [
        ({"score": 0.6}, ["track-1", "track-2"]),
        ({"score": 0.6, "until": 15.0}, ["track-1"]),
        ({"from": 11.0}, ["track-1", "track-2"]),  # track 1 is in view until 11.9 s
        ({"length": 1.9}, ["track-0", "track-1", "track-2"]),  # the slider's end loses none
        ({"until": 5.0, "from": 9.0}, []),
    ],
)
def test_filters(report: Path, visit, moves: dict[str, float], left: list[str]) -> None:
    page = visit(report)
    for name, value in moves.items():
        slide(page, name, value)
    assert shown(page) == left
    assert page.locator(".nothing").is_visible() == (not left)
    count = page.locator("output[name=shown]").text_content()
    assert count == ("All 3 tracks" if len(left) == 3 else f"{len(left)} of 3 tracks")
    if len(left) < 3:
        page.get_by_role("button", name="Show all").click()
        assert shown(page) == ["track-0", "track-1", "track-2"]


def test_untouched_sliders_hide_nothing(tmp_path: Path, make_result, visit) -> None:
    """Not even a face of one frame at the very end, whose time the slider's end rounds down."""
    last = make_result(2, (0.5,))
    moment = dataclasses.replace(last.summary, first_pts_s=10 / 3, last_pts_s=10 / 3)
    with FolderSink(tmp_path) as sink:
        sink.write(make_result(1))
        sink.write(dataclasses.replace(last, summary=moment))
        report = sink.finish({})
    assert shown(visit(report)) == ["track-1", "track-2"]


def test_the_plot_answers_to_the_pointer(report: Path, visit) -> None:
    page = visit(report)
    track = page.locator("#track-1")
    plot = track.locator(".plot")
    plot.scroll_into_view_if_needed()
    box = plot.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4 / 1.9, box["y"] + 5)  # its best is 0.4 s after its start
    assert track.locator(".readout").text_content() == "0:10.4 · 0.90 · kept as number 1"
    assert track.locator("figure.lit").get_attribute("data-rank") == "1"
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + 5)
    assert track.locator(".readout").text_content() == "0:11.9 · 0.48 · outscored"
    page.mouse.move(0, 0)
    assert track.locator(".readout").text_content() == ""


def test_the_plot_answers_to_a_tap(report: Path, browser) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(report.as_uri())
    plot = page.locator("#track-1 .plot")
    plot.scroll_into_view_if_needed()
    plot.tap()
    assert page.locator("#track-1 .readout").text_content() == "0:10.9 · 0.28 · outscored"
    context.close()


def test_the_plot_answers_to_the_keyboard(report: Path, visit) -> None:
    page = visit(report)
    track = page.locator("#track-1")
    plot = track.get_by_role("slider", name="Quality over time")
    plot.focus()
    for key, said in (
        ("Home", "0:10.0 · 0.10 · outscored"),
        ("ArrowLeft", "0:10.0 · 0.10 · outscored"),
        ("ArrowRight", "0:10.1 · 0.12 · outscored"),
        ("End", "0:11.9 · 0.48 · outscored"),
    ):
        page.keyboard.press(key)
        assert track.locator(".readout").text_content() == said
        assert plot.get_attribute("aria-valuetext") == said


def test_a_picture_with_the_focus_shows_its_place_in_the_plot(report: Path, visit) -> None:
    page = visit(report)
    page.locator("#track-1 figure[data-rank='2'] a").focus()
    assert page.locator("#track-1 .mark.lit").get_attribute("data-rank") == "2"


def test_it_can_be_read_without_scripts(report: Path, browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".card:visible").count() == 3
    assert not page.locator(".controls").is_visible()
    context.close()


def test_it_prints_every_track_whole(report: Path, browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    style = page.locator(".card").first.evaluate(
        "t => [getComputedStyle(t).breakInside, getComputedStyle(t).contentVisibility]"
    )
    assert style == ["avoid", "visible"]
    assert not page.locator(".controls").is_visible()
    assert page.pdf().count(b"/Type /Page\n") >= 1
    context.close()


def test_an_empty_report(tmp_path: Path, visit) -> None:
    with FolderSink(tmp_path / "none") as sink:
        empty = sink.finish({"source": {"name": "street.mp4"}, "counts": {"frames": 50}})
    page = visit(empty, 360)
    assert page.get_by_role("heading", name="No face was found").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.fixture
def people(tmp_path: Path, make_result) -> Path:
    """Two sources: person 1 in both, person 2 in the second; one track of which nothing was kept."""
    for folder, results in {
        "front door": [make_result(1, (0.5, 0.4), identity=1)],
        "yard": [
            make_result(1, (0.8, 0.7), identity=1),
            make_result(2, (0.6,), start_s=9.0, identity=2),
            make_result(12, (), start_s=15.0),
        ],
    }.items():
        with FolderSink(tmp_path / folder) as sink:
            for result in results:
                sink.write(result)
            sink.finish({"source": {"name": f"{folder}.mp4", "duration_s": 20.0}})
    return render_report(tmp_path)


@pytest.mark.parametrize(
    ("typed", "left", "rows"),
    [
        ("person 2", ["person-2"], 0),
        ("front", ["person-1"], 0),
        ("YARD", ["person-1", "person-2"], 1),
        ("12", [], 1),
        ("track 2", ["person-2"], 0),
        ("2 front", [], 0),
    ],
)
def test_search(people: Path, visit, typed: str, left: list[str], rows: int) -> None:
    page = visit(people)
    page.get_by_label("Find a person, track or source").fill(typed)
    assert shown(page) == left
    assert page.locator("#rows tr").count() == rows


def test_filters_of_sources_reasons_and_what_was_kept(people: Path, visit) -> None:
    page = visit(people)
    page.locator(".controls summary").click()
    page.locator("select[name=source]").select_option("front door.mp4")
    assert shown(page) == ["person-1"]
    page.locator("select[name=source]").select_option("any")
    page.locator("select[name=kept]").select_option("those with none kept")
    assert shown(page) == []
    assert page.get_by_role("cell", name="yard.mp4").is_visible()
    page.get_by_role("button", name="Show all").click()
    assert shown(page) == ["person-1", "person-2"]
    page.locator("select[name=reason]").select_option("too small")
    assert page.locator(".controls summary").text_content() == "Filters (1 in use)"
    assert shown(page) == ["person-1", "person-2"]


def test_tiles_open_by_keyboard_and_close_with_escape(people: Path, visit) -> None:
    page = visit(people)
    page.get_by_role("radio", name="tiles").check()
    card = page.locator("#person-1")
    assert not card.locator(".about").is_visible()
    button = card.get_by_role("button", name="Person 1")
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    page.keyboard.press("Enter")
    assert card.locator(".about").is_visible()
    assert button.get_attribute("aria-expanded") == "true"
    card.locator(".others a").first.focus()
    page.keyboard.press("Escape")
    assert not card.locator(".about").is_visible()
    assert button.evaluate("button => button === document.activeElement")


def test_a_click_opens_a_tile_and_then_its_picture(people: Path, visit) -> None:
    page = visit(people)
    page.get_by_role("radio", name="tiles").check()
    page.locator("#person-2 .best a").click()
    assert page.url == people.as_uri()
    assert page.locator("#person-2 .about").is_visible()
    assert page.locator("#person-2 .best a").get_attribute("href") == "yard/shots/2/1.jpg"


@pytest.fixture
def long(tmp_path: Path, make_result, monkeypatch) -> Path:
    """90 people of which 5 are HTML, and none of whose pictures lies inside the page."""
    for name, value in (("WHOLE", 10), ("FIRST", 5), ("INSIDE", 20)):
        monkeypatch.setattr(report_module, name, value)
    with FolderSink(tmp_path / "long") as sink:
        for track in range(90):
            scores = (0.2 + track / 200, 0.1)
            sink.write(make_result(track, scores, start_s=3.0 * track, source=HOSTILE))
        return sink.finish({"source": {"name": HOSTILE, "duration_s": 300.0}})


def test_a_long_page_makes_its_cards_as_they_are_scrolled_to(long: Path, visit) -> None:
    page = visit(long)
    assert page.locator(".card").count() == 60
    assert page.locator(".about").count() == 5  # the others have only their tiles yet
    page.locator(".card").nth(59).scroll_into_view_if_needed()
    page.locator(".card").nth(89).wait_for(state="attached")
    assert not page.get_by_role("button", name="Show more").first.is_visible()
    picture = page.locator("#track-89 img")
    picture.scroll_into_view_if_needed()
    picture.evaluate("image => image.decode()")
    assert picture.evaluate("image => image.naturalWidth") == 200


def test_sorting_and_links_reach_cards_that_were_not_made_yet(long: Path, visit) -> None:
    page = visit(long)
    page.locator("select[name=sort]").select_option("score")
    assert shown(page)[:2] == ["track-89", "track-88"]
    page.evaluate("location.hash = 'track-3'")
    page.locator("#track-3.card.open").wait_for()
    assert page.locator("#track-3 .plot").is_visible()
    assert page.locator("#track-3 .plot").get_attribute("role") == "slider"
