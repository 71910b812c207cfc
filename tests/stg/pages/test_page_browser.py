"""Pages of videos in a real browser: words light what they looked at, sliders hide edges, text stays text."""

import dataclasses
import io
import re
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page

from stg.explain import Deletion
from stg.pages.videos.boxes_and_edges import COLOURS, ranked
from stg.pages.videos.page import video_fragment, videos_html, write_video_pages
from stg.pages.videos.views import Edge, Node, Picture, VideosPage, VideoView
from stg.video.film import small_film
from tests.stg.made_views import WORDS, everything, hostile_page, made_page, made_view
from tests.stg.make_clips import grey_frames, write_clip

Opener = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """Opens a page; at the end no dialog, no request but for the file, and no error may have come from any."""
    trouble: list[str] = []
    contexts: list[BrowserContext] = []

    def opened(page: VideosPage | str, *, width: int = 1280, height: int = 900, **settings: object) -> Page:
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(videos_html(page) if isinstance(page, VideosPage) else page, encoding="utf-8")
        contexts.append(
            browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **settings)
        )
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (trouble.append(f"dialog: {dialog.message}"), dialog.dismiss()))

        def requested(address: str) -> None:
            if address != file.as_uri() and not address.startswith("data:") and address != "about:srcdoc":
                trouble.append(f"request: {address[:80]}")

        tab.on("request", lambda request: requested(request.url))
        tab.goto(file.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert trouble == []


def lit_frames(page: Page) -> list[int]:
    return [int(frame.get_attribute("data-frame") or -1) for frame in page.locator(".film .frame.lit").all()]


def shown_shares(page: Page) -> list[str]:
    return page.locator(".film .share").all_text_contents()


def drawn_edges(page: Page, kind: str = "") -> int:
    return page.locator(f".edges{kind} path").evaluate_all(
        "lines => lines.filter(line => getComputedStyle(line).display !== 'none').length"
    )


def until(page: Page, condition: str) -> None:
    """Wait for something to hold; the browser's own way of waiting is closed by the policy of the page."""
    for _ in range(2000):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    pytest.fail(f"does not come to hold: {condition}")


def slide(control: Locator, value: int) -> None:
    """Move a slider as its reader would: to one end, then step by step."""
    low, high = (int(control.get_attribute(name) or 0) for name in ("min", "max"))
    control.focus()
    control.press("Home" if value - low <= high - value else "End")
    for _ in range(min(value - low, high - value)):
        control.press("ArrowRight" if value - low <= high - value else "ArrowLeft")
    assert control.input_value() == str(value)
    control.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_stepping_through_the_words_lights_what_each_looked_at(opened: Opener) -> None:
    view = made_view()
    shares = view.captions[0].explanation.attributions[0].frames
    assert shares is not None
    page = opened(made_page(view))
    assert lit_frames(page) == []
    page.locator(".word").first.focus()
    page.keyboard.press("ArrowRight")
    for word in range(1, 9):
        assert page.locator('.word[aria-pressed="true"]').get_attribute("data-word") == str(word)
        assert page.evaluate("document.activeElement.dataset.word") == str(word)
        assert lit_frames(page) == [int(shares[word].argmax())]
        percents = [int(100 * share + 0.5) if share >= 0.005 else 0 for share in shares[word].round(3)]
        assert [int(text.strip("< %\u00a0")) if "<" not in text else 0 for text in shown_shares(page)] == percents
        widths = page.locator(".film .bar").evaluate_all("bars => bars.map(bar => +bar.getAttribute('width'))")
        np.testing.assert_allclose(widths, 320 * shares[word] / shares[word].max(), atol=1.5)
        assert page.locator(".film image.heat:not([hidden])").count() == 6
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Home")
    assert page.locator('.word[aria-pressed="true"]').get_attribute("data-word") == "0"
    page.keyboard.press("Escape")
    assert lit_frames(page) == []
    assert page.locator('.word[aria-pressed="true"]').count() == 0
    assert page.locator(".film image.heat:not([hidden])").count() == 0


def test_pointing_at_a_word_lights_it_and_a_click_keeps_it(opened: Opener) -> None:
    view = made_view()
    shares = view.captions[0].explanation.attributions[0].frames
    assert shares is not None
    page = opened(made_page(view))
    words = page.locator(".word")
    words.nth(3).hover()
    assert lit_frames(page) == [int(shares[3].argmax())]
    page.mouse.move(1, 1)
    assert lit_frames(page) == []
    pinned = [int(shares[5].argmax())]
    assert pinned != [int(shares[2].argmax())]
    words.nth(5).click()
    for other in (words.nth(2), page.locator(".thumb").nth(3)):
        other.hover()
        assert lit_frames(page) == pinned
        assert page.locator(".word.lit").all_text_contents() == [words.nth(5).text_content()]
    page.mouse.move(1, 1)
    assert lit_frames(page) == pinned
    words.nth(5).click()
    page.mouse.move(1, 1)
    assert lit_frames(page) == []
    words.nth(5).click()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Escape")
    assert lit_frames(page) == []
    words.nth(2).hover()
    assert lit_frames(page) == [int(shares[2].argmax())]


def test_an_object_without_a_class_is_an_object(opened: Opener) -> None:
    view = made_view()
    nodes = tuple(dataclasses.replace(node, name="", score=None) for node in view.nodes)
    page = opened(made_page(dataclasses.replace(view, nodes=nodes)))
    page.get_by_label("Boxes", exact=True).check()
    page.locator(".word").first.click()
    assert re.search(r"boxes: object in frame \d+ \(\d+\s%\), object in", page.locator(".status").inner_text())


def test_a_look_over_boxes_lights_the_boxes_and_says_which(opened: Opener) -> None:
    view = made_view()
    weights = view.captions[0].explanation.attributions[1].nodes
    assert weights is not None
    page = opened(made_page(view))
    page.get_by_label("Boxes", exact=True).check()
    for word in (0, 4):
        page.locator(".word").nth(word).click()
        lit = {int(node.get_attribute("data-node") or -1) for node in page.locator(".node.lit").all()}
        assert lit == set(np.flatnonzero(np.rint(63 * weights[word] / weights[word].max()) / 63 >= 0.35).tolist())
        best = int(weights[word].argmax())
        name = f"{view.nodes[best].name} in frame {view.pictures[view.nodes[best].frame].number}"
        assert (
            f"boxes: {name} ({weights[word].max():.0%}".replace("%", "\u00a0%") in page.locator(".status").inner_text()
        )
        assert page.locator(".attribution:not([hidden]) .row .lit .hit").count() > 0


def test_a_look_at_edges_draws_them_by_importance(opened: Opener) -> None:
    view = made_view()
    page = opened(made_page(view))
    page.get_by_label("Importance of boxes and edges for the whole caption").check()
    assert page.locator(".status").inner_text().startswith("The whole caption: ")
    widths = page.locator(".edges path").evaluate_all(
        "lines => lines.map(line => parseFloat(getComputedStyle(line).strokeWidth))"
    )
    assert max(widths) == pytest.approx(4)
    assert len(set(widths)) > 20
    page.locator(".word").first.press("Escape")
    assert page.locator(".edges path[style*=opacity]").count() == 0


def test_a_look_of_the_whole_caption_marks_no_word_and_keeps_the_one_that_was_chosen(opened: Opener) -> None:
    view = made_view()
    page = opened(made_page(view))
    pressed, lit = page.locator('.word[aria-pressed="true"]'), page.locator(".word.lit, .thumb.lit")
    whole = page.get_by_label("Grad-CAM of the whole caption")
    whole.check()
    assert (pressed.count(), lit.count()) == (0, 0)
    assert page.locator(".film image.heat:not([hidden])").count() == 6
    page.get_by_label("Boxes", exact=True).check()
    assert page.locator(".status").inner_text().startswith("No word is chosen")
    page.locator(".word").nth(4).click()
    page.mouse.move(1, 1)
    whole.check()
    page.mouse.move(1, 1)
    assert (pressed.count(), lit.count()) == (0, 0)
    assert page.locator(".status").inner_text().startswith("The whole caption: ")
    page.get_by_label("Frames, then places in them").check()
    assert pressed.get_attribute("data-word") == "4"


def test_a_caption_of_one_word_has_attributions_of_the_word_and_of_the_whole(opened: Opener) -> None:
    page = opened(made_page(made_view(words=("fire",))))
    page.locator(".word").click()
    assert page.locator(".status").inner_text().startswith("“fire”: most in frame")
    assert page.locator(".attribution:visible .thumb").count() == 1
    page.get_by_label("Grad-CAM of the whole caption").check()
    assert page.locator(".status").inner_text().startswith("The whole caption: ")
    assert page.locator(".attribution:visible .thumb").count() == 6


def test_the_slider_and_the_threshold_change_how_many_edges_are_drawn(opened: Opener) -> None:
    view = made_view(per_frame=8)
    rows = [(edge, rank) for _, edge, rank in ranked(view.edges) if edge.kind == "spatial"]
    spatial = [(frozenset((edge.source, edge.target)), rank) for edge, rank in rows]
    page = opened(made_page(view))
    for k in (1, 5, 3, 0):
        slide(page.locator("input[name=k]"), k)
        assert drawn_edges(page, ".spatial") == len({pair for pair, rank in spatial if rank <= k})
        assert drawn_edges(page, ".temporal") == 40 * k
    slide(page.locator("input[name=k]"), 5)
    counts = [drawn_edges(page)]
    for threshold in (10, 20, 100):
        slide(page.locator("input[name=threshold]"), threshold)
        counts.append(drawn_edges(page))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 200 + len({pair for pair, rank in spatial if rank <= 5})
    assert counts[-1] == 2  # the strongest of each kind


def test_the_slider_ends_at_the_largest_rank_that_is_drawn(opened: Opener) -> None:
    for per_frame, most, first in ((4, "4", "2"), (1, "1", "1")):
        page = opened(made_page(made_view(per_frame=per_frame)))
        control = page.locator("input[name=k]")
        assert (control.get_attribute("max"), control.input_value()) == (most, first)
        slide(control, 1)
        fewer = drawn_edges(page)
        slide(control, int(most))
        assert (drawn_edges(page) > fewer) == (per_frame > 1)


def test_without_edges_there_are_no_sliders_and_the_rest_works(opened: Opener) -> None:
    page = opened(made_page(made_view(per_frame=0)))
    assert page.locator("input[name=k], input[name=threshold], input[name=boxes]").count() == 0
    page.locator("input[name=heat]").uncheck()
    page.wait_for_selector("body.off-heat")
    page.locator(".word").nth(1).click()
    assert len(lit_frames(page)) == 1


def test_the_first_screen_of_a_phone_shows_a_picture(opened: Opener) -> None:
    view = made_view(models=("Scene only", "Full"), words=WORDS * 2)
    page = opened(made_page(view, made_view("second")), width=390, height=844)
    box = page.locator(".film .frame image").first.bounding_box()
    assert box is not None
    assert 0 < box["y"] < box["y"] + box["height"] <= 844
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    legend = page.locator(".legends li").first
    assert not legend.is_visible()
    page.locator(".legends > summary").click()
    assert legend.is_visible()
    # What is said of the words stays one line that scrolls, or it would push their pictures away.
    assert page.locator(".attributions").first.bounding_box()["height"] < 80


def test_the_legend_stays_reachable_on_a_tablet_that_is_turned(opened: Opener) -> None:
    page = opened(made_page(made_view()), width=768, height=1024)
    legend, control = page.locator(".legends li").first, page.locator("input[name=k]")
    title = page.locator(".legends > summary")
    for width, wide in ((1024, True), (768, False), (960, True), (959, False)):
        page.set_viewport_size({"width": width, "height": 800})
        # Where they are folded there is a title to open them by.
        until(page, f"document.querySelector('.legends').open === {str(wide).lower()}")
        assert (legend.is_visible(), control.is_visible(), title.is_visible()) == (wide, wide, not wide)
    title.click()
    assert legend.is_visible()


@pytest.mark.parametrize("width", [360, 768])
def test_tables_keep_their_words_whole_on_narrow_screens(opened: Opener, width: int) -> None:
    deletion = Deletion("Object branch: Attention to frames", "frames", 18, 2, 0.0117, (0.0039, 0.0041))
    page = opened(dataclasses.replace(made_page(made_view()), deletions=(deletion,)), width=width)
    page.locator(".candidates > summary").first.click()
    for table in page.locator(".scroll table").all():
        # A cell that is broken into letters is much higher than wide.
        heights = table.locator("tr").evaluate_all("rows => rows.map(row => row.getBoundingClientRect().height)")
        assert 0 < max(heights) < 130
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_word_stays_under_the_pointer_on_a_narrow_screen(opened: Opener) -> None:
    page = opened(made_page(made_view()), width=360)
    word = page.locator(".word").nth(1)
    word.scroll_into_view_if_needed()
    box = word.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page, "document.querySelector('.status').textContent.startsWith('“')")
    for _ in range(20):
        assert word.bounding_box() == pytest.approx(box)
        page.wait_for_timeout(25)
    page.mouse.move(1, 1)  # or it may meet another word in the new layout
    page.set_viewport_size({"width": 1280, "height": 900})
    until(page, "document.querySelector('.status').style.minHeight === ''")


def test_the_clip_plays(opened: Opener, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "v.mp4", grey_frames(20, (48, 64)), rate=10)
    page = opened(made_page(dataclasses.replace(made_view(), film=small_film(clip))))
    until(page, "document.querySelector('video').readyState > 0")
    video = page.locator("video")
    assert video.evaluate("video => [video.videoWidth, video.videoHeight, video.duration]") == [64, 48, 2]
    video.evaluate("video => { video.muted = true; video.currentTime = 1.9; return video.play(); }")
    until(page, "document.querySelector('video').ended")


def test_labels_of_boxes_in_one_place_lie_apart(opened: Opener) -> None:
    view = made_view(per_frame=8, frames=2)
    boxes = [(200.0, 90.0 + n % 3, 300.0, 110.0) for n in range(len(view.nodes))]
    nodes = tuple(dataclasses.replace(node, box=box) for node, box in zip(view.nodes, boxes, strict=True))
    page = opened(made_page(dataclasses.replace(view, nodes=nodes)))
    labels = page.locator(".node text").evaluate_all("""texts => texts.map(text => text.getBBox()).map(
        ({ x, y, width, height }) => [x, y + 0.2 * height, x + width, y + 0.8 * height])""")
    assert len(labels) == 16
    for one, other in combinations(labels, 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert all(0 <= top < bottom <= 240 for _, top, _, bottom in labels)
    assert all(right <= 320 for _, _, right, _ in labels[:8])


@pytest.mark.parametrize("kind", ["spatial", "temporal"])
def test_edges_stand_out_from_objects_of_their_own_colour(opened: Opener, kind: str) -> None:
    colour = COLOURS[kind]
    stream = io.BytesIO()
    Image.new("RGB", (320, 240), colour).save(stream, "JPEG", quality=95)
    nodes = (Node(0, (20.0, 100.0, 40.0, 120.0)), Node(0 if kind == "spatial" else 1, (280.0, 100.0, 300.0, 120.0)))
    pictures = (Picture(0, stream.getvalue()), Picture(1, stream.getvalue()))
    page = opened(made_page(VideoView("v", (240, 320), pictures, nodes, (Edge(0, 1, kind, 0.5),))))
    page.locator("input[name=boxes]").uncheck()
    page.wait_for_selector("body.off-boxes")
    box = page.locator(".film .frame image").first.bounding_box()
    assert box is not None
    clip = {"x": box["x"] + 50, "y": box["y"] + 10, "width": 120, "height": box["height"] - 20}
    seen = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")) / 255

    def luminance(pixels: np.ndarray) -> np.ndarray:
        return np.where(pixels <= 0.03928, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    ground, found = float(luminance(np.array(colour) / 255)), luminance(seen)
    contrast = np.maximum((found + 0.05) / (ground + 0.05), (ground + 0.05) / (found + 0.05))
    # WCAG asks 3 of what is drawn, which smooth edges of lines lower a little; dashes leave gaps.
    assert (contrast.max(axis=0) >= 2.5).mean() > (0.9 if kind == "temporal" else 0.5)


def test_cards_are_drawn_at_once_unless_there_are_many(opened: Opener) -> None:
    for count, expected in ((29, "visible"), (30, "auto")):
        page = opened(VideosPage("t", "", tuple(VideoView(f"v{n}") for n in range(count))))
        assert page.locator("article").evaluate_all(
            "cards => [...new Set(cards.map(card => getComputedStyle(card).contentVisibility))]"
        ) == [expected]


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("temporal", ".edges.temporal path"),
        ("spatial", ".edges.spatial path"),
        ("boxes", ".node rect"),
        ("labels", ".node text"),
    ],
)
def test_each_box_of_the_bar_hides_what_it_names(opened: Opener, name: str, hidden: str) -> None:
    page = opened(made_page(made_view()))
    assert page.locator(hidden).first.is_visible()
    page.locator(f"input[name={name}]").uncheck()
    page.wait_for_selector(f"body.off-{name}")
    assert not page.locator(hidden).first.is_visible()


def test_the_strip_scrolls_to_the_frame_that_a_word_looked_at(opened: Opener) -> None:
    view = made_view(frames=12)
    (caption,) = view.captions
    first = dataclasses.replace(caption.explanation.attributions[0], frames=np.eye(12)[[0, 11, 0, 5, 0, 0, 0, 0, 0]])
    explanation = dataclasses.replace(caption.explanation, attributions=(first,))
    view = dataclasses.replace(view, captions=(dataclasses.replace(caption, explanation=explanation),))
    page = opened(made_page(view), width=800)
    assert page.locator(".strip").evaluate("strip => strip.scrollLeft") == 0
    page.locator(".word").nth(1).click()
    until(page, "document.querySelector('.strip').scrollLeft > 1000")
    page.locator(".controls summary").click()  # on narrow screens the bar is folded
    page.locator("select[name=zoom]").select_option("fit")
    until(page, "(strip => strip.scrollWidth <= strip.clientWidth + 1)(document.querySelector('.strip'))")


def test_models_side_by_side_share_the_frames_and_keep_their_words(opened: Opener) -> None:
    view = made_view(models=("Scene only", "Full"))
    page = opened(made_page(view), width=1600)
    left, right = page.locator(".model-caption").all()
    boxes = left.bounding_box(), right.bounding_box()
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    for section, explanation in ((left, view.captions[0].explanation), (right, view.captions[1].explanation)):
        section.locator(".word").nth(2).click()
        assert explanation.attributions[0].frames is not None
        assert lit_frames(page) == [int(explanation.attributions[0].frames[2].argmax())]
        assert page.locator('.word[aria-pressed="true"]').count() == 1
    page.set_viewport_size({"width": 390, "height": 800})
    # Both at once, and not before the page has its new layout.
    places = "[...document.querySelectorAll('.model-caption')].map(one => one.getBoundingClientRect())"
    until(page, f"(([left, right]) => left.bottom <= right.top)({places})")


def test_hostile_text_stays_text(opened: Opener) -> None:
    page = opened(hostile_page(everything()))
    page.wait_for_load_state()
    assert page.locator("img, script[src], iframe").count() == 0
    words = page.locator(".word")
    words.nth(1).click()
    words.nth(2).hover()
    for radio in page.locator(".attributions input").all()[:4]:
        radio.check()
    words.nth(1).click()
    page.locator(".attributions input").first.check()
    words.nth(2).click()
    assert "<script>alert(1)</script>" in page.locator(".status").first.inner_text()
    assert "<script>alert(1)</script>" in page.locator("h1").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_everything_can_be_reached_and_done_by_keyboard(opened: Opener) -> None:
    page = opened(made_page(made_view()))
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):  # past the end of the page
            break
        reached.append(page.evaluate("(e => e.name || e.className || e.tagName)(document.activeElement)"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"no focus to be seen on {reached[-1]}"
    wanted = {
        "skip",
        "k",
        "threshold",
        "temporal",
        "spatial",
        "boxes",
        "labels",
        "heat",
        "zoom",
        "strip",
        "v1t0-attribution",
    }
    assert wanted <= set(reached)
    assert sum("word" in name.split() for name in reached) == 1  # one stop for all words; arrows step through them
    page.locator(".word").first.focus()
    page.keyboard.press("End")
    assert lit_frames(page) != []


def test_without_scripts_caption_frames_boxes_and_some_edges_are_there(opened: Opener) -> None:
    page = opened(made_page(made_view()), java_script_enabled=False, height=2000)
    assert page.locator(".word").count() == 9
    for selector in (".word", ".film .frame image", ".node rect", ".edges.spatial path", ".edges.temporal path"):
        assert page.locator(selector).first.is_visible(), selector
    assert page.locator(".thumb:visible").count() == 9
    assert not page.locator(".controls").is_visible()
    titles = [one.title for one in made_view().captions[0].explanation.attributions]
    assert page.locator(".attribution h4:visible").all_inner_texts() == titles
    assert all(heading.bounding_box()["height"] > 8 for heading in page.locator(".attribution h4").all())
    for folded in page.locator(".attribution > summary").all():
        folded.click()
    assert [one.locator(".thumb:visible").count() for one in page.locator(".attribution").all()] == [9, 9, 6, 6]
    paths = page.locator(".edges path")
    assert sum(path.is_visible() for path in paths.all()) == sum(
        path.get_attribute("hidden") is None for path in paths.all()
    )


@pytest.mark.parametrize("scripts", [False, True])
def test_every_look_is_printed_with_its_title(opened: Opener, scripts: bool) -> None:
    page = opened(made_page(made_view()), java_script_enabled=scripts, height=2000)
    page.emulate_media(media="print")
    assert [one.locator(".thumb:visible").count() for one in page.locator(".attribution").all()] == [9, 9, 6, 6]
    assert all(title.bounding_box()["height"] > 8 for title in page.locator(".attribution h4").all())
    assert not page.locator(".attributions").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1920])
def test_text_stands_out_and_nothing_is_cut_off(opened: Opener, scheme: str, width: int) -> None:
    page = opened(everything(), width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".word").nth(1).click()
    low = page.evaluate(CONTRAST)
    assert low == []


# Text with a contrast below 4.5 to what is behind it (outside pictures), by WCAG's relative luminance.
CONTRAST = """() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => [r, g, b].map(linear)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll("main *, header *, footer *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest(".node, script") || !e.checkVisibility()) continue;
    const ink = parse(getComputedStyle(e)[e.closest("svg") ? "fill" : "color"]);
    const [a, b] = [luminance(ink), luminance(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push([e.className.baseVal ?? e.className, e.textContent.slice(0, 30), ratio]);
  }
  return low;
}"""


def test_headings_go_down_in_order_and_inputs_have_names(opened: Opener) -> None:
    page = opened(everything())
    depths = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert depths[0] == 1
    assert depths.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(depths))
    unnamed = page.evaluate("[...document.querySelectorAll('input,select')].filter(e => !e.labels.length).length")
    assert unnamed == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_a_notebook_frame_draws_the_page_and_its_words_work(opened: Opener) -> None:
    page = opened(
        f"<!doctype html><title>t</title><link rel=icon href='data:,'>{video_fragment(made_page(made_view()))}"
    )
    inside = page.frame_locator("iframe")
    inside.locator(".word").nth(1).click()
    assert inside.locator(".film .frame.lit").count() == 1
    size = inside.locator(".thumb use").first.evaluate("use => use.getBoundingClientRect().width")
    assert size > 50


def test_links_lead_from_page_to_page(opened: Opener, browser: Browser, tmp_path: Path) -> None:
    files = write_video_pages(
        tmp_path / "many pages.html", [made_view(f"v{n}") for n in range(3)], title="t", max_videos=1
    )
    tab = browser.new_page()
    tab.goto(files[0].as_uri())
    for name in ("v1", "v2"):
        tab.locator("a[rel=next]").click()
        tab.wait_for_load_state()
        assert tab.locator("h2").first.inner_text() == name
    assert tab.locator("a[rel=next]").count() == 0
    tab.close()
