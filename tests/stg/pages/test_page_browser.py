"""Pages of videos in a real browser: words light what they looked at, sliders hide edges, text stays text."""

import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page

from stg.pages.videos.page import video_fragment, videos_html, write_video_pages
from stg.pages.videos.views import VideosPage
from tests.stg.made_views import everything, hostile_page, made_page, made_view

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
    for _ in range(200):
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
    words.nth(5).click()
    words.nth(2).hover()
    assert lit_frames(page) == [int(shares[2].argmax())]
    page.mouse.move(1, 1)
    assert lit_frames(page) == [int(shares[5].argmax())]
    words.nth(5).click()
    page.mouse.move(1, 1)
    assert lit_frames(page) == []


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
        assert page.locator(".look:not([hidden]) .row .lit .hit").count() > 0


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


def test_a_caption_of_one_word_has_looks_of_the_word_and_of_the_whole(opened: Opener) -> None:
    page = opened(made_page(made_view(words=("fire",))))
    page.locator(".word").click()
    assert page.locator(".status").inner_text().startswith("“fire”: most in frame")
    assert page.locator(".look:visible .thumb").count() == 1
    page.get_by_label("Grad-CAM of the whole caption").check()
    assert page.locator(".status").inner_text().startswith("The whole caption: ")
    assert page.locator(".look:visible .thumb").count() == 6


def test_the_slider_and_the_threshold_change_how_many_edges_are_drawn(opened: Opener) -> None:
    page = opened(made_page(made_view(per_frame=8)))
    for k in (1, 5, 3, 0):
        slide(page.locator("input[name=k]"), k)
        assert drawn_edges(page, ".spatial") == 48 * k
        assert drawn_edges(page, ".temporal") == 40 * k
    slide(page.locator("input[name=k]"), 5)
    counts = [drawn_edges(page)]
    for threshold in (10, 20, 100):
        slide(page.locator("input[name=threshold]"), threshold)
        counts.append(drawn_edges(page))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 440
    assert counts[-1] == 2  # the strongest of each kind


def test_the_slider_ends_at_the_largest_rank_that_is_drawn(opened: Opener) -> None:
    for per_frame, most, first in ((4, "4", "2"), (1, "1", "1"), (0, "1", "1")):
        page = opened(made_page(made_view(per_frame=per_frame)))
        control = page.locator("input[name=k]")
        assert (control.get_attribute("max"), control.input_value()) == (most, first)
        slide(control, 1)
        fewer = drawn_edges(page)
        slide(control, int(most))
        assert (drawn_edges(page) > fewer) == (per_frame > 1)


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
    left, right = page.locator(".told").all()
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
    boxes = left.bounding_box(), right.bounding_box()
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]


def test_hostile_text_stays_text(opened: Opener) -> None:
    page = opened(hostile_page(everything()))
    page.wait_for_load_state()
    assert page.locator("img, script[src], iframe").count() == 0
    words = page.locator(".word")
    words.nth(1).click()
    words.nth(2).hover()
    for radio in page.locator(".looks input").all()[:4]:
        radio.check()
    words.nth(1).click()
    page.locator(".looks input").first.check()
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
    wanted = {"skip", "k", "threshold", "temporal", "spatial", "boxes", "labels", "heat", "zoom", "strip", "v1t0-look"}
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
    titles = [look.title for look in made_view().captions[0].explanation.attributions]
    assert page.locator(".look h4:visible").all_inner_texts() == titles
    assert all(heading.bounding_box()["height"] > 8 for heading in page.locator(".look h4").all())
    for folded in page.locator(".look > summary").all():
        folded.click()
    assert [look.locator(".thumb:visible").count() for look in page.locator(".look").all()] == [9, 9, 6, 6]
    paths = page.locator(".edges path")
    assert sum(path.is_visible() for path in paths.all()) == sum(
        path.get_attribute("hidden") is None for path in paths.all()
    )


@pytest.mark.parametrize("scripts", [False, True])
def test_every_look_is_printed_with_its_title(opened: Opener, scripts: bool) -> None:
    page = opened(made_page(made_view()), java_script_enabled=scripts, height=2000)
    page.emulate_media(media="print")
    assert [look.locator(".thumb:visible").count() for look in page.locator(".look").all()] == [9, 9, 6, 6]
    assert all(title.bounding_box()["height"] > 8 for title in page.locator(".look h4").all())
    assert not page.locator(".looks").is_visible()


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
