"""Pages of videos: what is drawn, that all text stays text, and that pages and files stay bounded."""

import base64
import dataclasses
import hashlib
import html
import inspect
import io
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import numpy as np
import pytest
from PIL import Image

from graphs import EDGE_TYPES
from stg.config.captioning import CaptionConfig
from stg.config.report import ReportConfig
from stg.explain import Attribution, Deletion, Explanation
from stg.pages.html import render, source
from stg.pages.videos.boxes_and_edges import COLOURS, LARGEST_K, Strip, colour_of, line, ranked, strip_of
from stg.pages.videos.caption_rows import deletion, number, percent
from stg.pages.videos.heatmaps import LEVELS, best_frames, for_script, heat_maps, levels, shares_of
from stg.pages.videos.page import video_fragment, videos_html, write_video_pages
from stg.pages.videos.views import Edge, ModelCaption, Node, Picture, VideosPage, VideoView
from stg.runtime.errors import UserError
from stg.video.clip import Film
from stg.video.film import SMALL_SOUND
from tests.stg.made_views import everything, hostile_page, made_jpeg, made_page, made_view


class Elements(HTMLParser):
    """What a browser would build: elements with the names of their attributes, their values, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.inside = ""
        self.scripts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(tag, name, value or "") for name, value in attrs]
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside in ("style", "script"):
            self.scripts.setdefault(self.inside, []).append(data)
        else:
            self.text.append(data)


def test_a_missing_value_is_an_error_and_every_value_is_escaped() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("videos.html", own={})
    assert "&lt;b&gt;" in videos_html(VideosPage("<b>", "", ()))


def test_half_a_character_can_be_written() -> None:
    assert "\\udcff" in videos_html(VideosPage("half \udcff", "", ()))


def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    page = everything()
    plain, worse = Elements(videos_html(page)), Elements(videos_html(hostile_page(page)))
    assert worse.elements == plain.elements
    assert "".join(worse.text).count("<script>alert(1)</script>") > 100
    links = {value for tag, name, value in worse.values if tag == "a" and name == "href" and value[0] != "#"}
    assert links == {html.escape(file).replace("&#x27;", "'") for file in links}


def test_the_policy_allows_this_style_and_script_and_no_other() -> None:
    text = videos_html(everything())
    page = Elements(text)
    (found,) = [v for tag, name, v in page.values if tag == "meta" and v.startswith("default-src")]
    rules = dict(rule.strip().split(" ", 1) for rule in found.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    style, script = re.search(r"<style>(.*?)</style>", text, re.S), re.search(r"<script>(.*?)</script>", text, re.S)
    for rule, inside in (("style-src", style), ("script-src", script)):
        assert inside is not None
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()}'"
    names = {name for _, name, _ in page.values}
    assert not {name for name in names if name.startswith("on")} | names & {"style", "srcset", "action"}
    for tag, name, value in page.values:
        if name in ("src", "href"):
            local = value.startswith(("data:", "#")) or (tag == "a" and ":" not in value)
            assert local, f"{tag} {name}={value[:60]}"


def test_rank_counts_the_stronger_edges_of_the_kind_into_the_target() -> None:
    random = np.random.default_rng(0)
    edges = [
        Edge(int(a), int(b), kind, float(w))
        for kind in ("spatial", "temporal")
        for a, b, w in zip(random.integers(0, 6, 80), random.integers(0, 6, 80), random.random(80), strict=True)
    ]
    edges.append(Edge(0, 1, "spatial", float("nan")))
    rows = ranked(edges)
    assert {number for number, _, _ in rows} == {i for i, e in enumerate(edges[:-1]) if e.source != e.target}
    for _, edge, rank in rows:
        rivals = [e for e in edges if (e.kind, e.target) == (edge.kind, edge.target) and e.source != e.target]
        assert rank == 1 + sum(e.weight > edge.weight for e in rivals)


def test_lines_run_from_start_to_end_and_arrows_stop_short() -> None:
    def ends(path: str) -> tuple[float, ...]:
        x, y, _, _, across, down = map(float, re.findall(r"-?\d+", path))
        return x, y, x + across, y + down

    assert ends(line((10.0, 20.0), (310.0, 20.0), arrow=False)) == (10, 20, 310, 20)
    assert ends(line((310.0, 60.0), (10.0, 60.0), arrow=True)) == (310, 60, 17, 60)


def test_arrows_run_as_messages_do_from_source_to_target() -> None:
    nodes = (Node(0, (0.0, 0.0, 20.0, 20.0)), Node(1, (80.0, 80.0, 100.0, 100.0)))
    edges = [(Edge(1, 0, "temporal", 0.5),), (Edge(0, 1, "temporal", 0.5),), (Edge(1, 0, "dense", 0.5),)]
    literal, forward, dense = (
        strip_of(VideoView("v", (100, 100), (Picture(0), Picture(1)), nodes, one)).edges[0][1][0].path for one in edges
    )
    assert forward.startswith("M24 24q")
    assert literal.startswith("M484 216q")
    assert dense == literal


def test_there_and_back_in_time_are_two_arrows() -> None:
    nodes = (Node(0, (0.0, 0.0, 20.0, 20.0)), Node(1, (80.0, 80.0, 100.0, 100.0)))
    for kind, count in (("temporal", 2), ("spatial", 1)):
        edges = (Edge(1, 0, kind, 0.5), Edge(0, 1, kind, 0.4))
        lines = strip_of(VideoView("v", (100, 100), (Picture(0), Picture(1)), nodes, edges)).edges[0][1]
        assert len({line.path for line in lines}) == count
        assert sorted(number for line in lines for number in line.numbers) == [0, 1]


def test_one_red_and_one_blue_tell_the_edges_apart_wherever_they_are_drawn() -> None:
    red, green, blue = COLOURS["temporal"]
    assert red > 200 > 100 > max(green, blue)
    red, green, blue = COLOURS["spatial"]
    assert blue > 200 > 150 > max(red, green)
    for kind, colour in COLOURS.items():
        assert re.findall(rf"--{kind}: (\S+);", source("base.css")) == ["#" + bytes(colour).hex()]
    for rule in re.findall(r"[^{}]*(?:spatial|temporal)[^{}]*\{[^{}]*\}", source("videos.css")):
        assert "#" not in rule.split("{")[1].replace("url(#head-", "")


def test_edges_of_other_types_have_a_colour_and_a_name_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for place, name in enumerate(("<close>", "far", "unused"), start=2):
        monkeypatch.setitem(EDGE_TYPES, name, place)
    colours = {colour_of(kind) for kind in (*COLOURS, "<close>", "far", "unused")}
    assert len(colours) == 7
    nodes = (Node(0, (0.0, 0.0, 20.0, 20.0)), Node(1, (80.0, 80.0, 100.0, 100.0)))
    edges = (Edge(0, 1, "temporal", 0.5), Edge(0, 1, "<close>", 2.0), Edge(1, 0, "far", 1.0))
    views = [VideoView("v", (100, 100), (Picture(0), Picture(1)), nodes, some) for some in (edges[:2], edges[2:])]
    text = videos_html(VideosPage("t", "", tuple(views)))
    for place, name in enumerate(("&lt;close&gt;", "far"), start=2):
        colour = "#" + bytes(colour_of(html.unescape(name))).hex()
        assert f"<bdi>{name}</bdi> edge</li>" in text
        assert text.count(f'class="edges own" color="{colour}" marker-end="url(#head-type{place})"') == 1
        assert f'<marker id="head-type{place}" fill="{colour}"' in text
    assert "unused" not in text
    assert ".off-dense .edges.own" in text
    assert '<input type="checkbox" name="dense" checked>' in text
    papers = videos_html(VideosPage("t", "", (dataclasses.replace(views[0], edges=edges[:1]),)))
    assert "own" not in Counter(re.findall(r'class="(?:edges )?(\w+)"', papers))
    assert "head-type" not in papers
    assert ".edges.own" not in papers


def test_strongest_edges_are_drawn_and_those_beyond_the_first_are_hidden_without_the_script() -> None:
    view = made_view(per_frame=8)
    page = Elements(videos_html(made_page(view)))
    paths = [attributes for tag, attributes in page.elements if tag == "path" and "data-rank" in attributes]
    ranks = [int(value) for _, name, value in page.values if name == "data-rank"]
    # A spatial pair is one line, at the better of its two ranks; temporal edges of this graph go one way.
    best: dict[object, int] = {}
    for place, edge, rank in ranked(view.edges):
        key = frozenset((edge.source, edge.target)) if edge.kind == "spatial" else place
        best[key] = min(best.get(key, rank), rank)
    assert Counter(ranks) == Counter(rank for rank in best.values() if rank <= LARGEST_K)
    assert sum("hidden" not in attributes for attributes in paths) == sum(rank <= 2 for rank in best.values())


def both_ways(kind: str, last: int) -> Strip:
    nodes = (Node(0, (0.0, 0.0, 20.0, 20.0)), Node(last, (80.0, 80.0, 100.0, 100.0)))
    edges = (Edge(0, 1, kind, 0.5), Edge(1, 0, kind, 0.7), Edge(0, 0, kind, 0.9))
    return strip_of(VideoView("v", (100, 100), (Picture(0), Picture(1)), nodes, edges))


def test_both_ways_in_time_are_two_arrows() -> None:
    strip = both_ways("temporal", 1)
    ((_, drawn),) = strip.edges
    assert [(edge.numbers, edge.rank, edge.weight) for edge in drawn] == [((0,), 1, 0.5), ((1,), 1, 0.7)]
    assert strip.order == [(0,), (1,)]


def test_both_ways_between_two_objects_are_one_line() -> None:
    """By the stronger of the two, also where the attribution of one is larger."""
    strip = both_ways("spatial", 0)
    ((_, drawn),) = strip.edges
    assert [(edge.numbers, edge.rank, edge.weight) for edge in drawn] == [((1, 0), 1, 0.7)]
    assert strip.order == [(1, 0)]
    weights = np.array([[0.2, 0.8, 0.1], [0.9, np.nan, 0.1]])
    found = for_script(Attribution("a", "", "", edges=weights), None, None, [(0, 1), (2,)])["edges"]
    assert found == [levels(np.array([0.8, 0.1])), levels(np.array([0.9, 0.1]))]


def test_signs_and_controls_are_those_of_what_is_drawn() -> None:
    def drawn(view: VideoView) -> tuple[set[str], set[str]]:
        text = videos_html(made_page(view))
        legend = text.partition('class="legend"')[2].partition("</ul>")[0]
        signs = {sign for sign in ("temporal", "spatial", "dense", "weight", "box", "share") if f"> {sign}" in legend}
        signs |= {"dense"} if "dense graph" in legend else set()
        return signs, set(re.findall(r'<(?:input|select)[^>]* name="(\w+)"', text)) - {"v1t0"}

    view = made_view(gate=False)
    spatial = tuple(edge for edge in view.edges if edge.kind == "spatial")
    (caption,) = view.captions
    bare = dataclasses.replace(caption, explanation=dataclasses.replace(caption.explanation, attributions=()))
    plain = dataclasses.replace(view, captions=(bare,), edges=spatial)
    assert drawn(plain) == (
        {"spatial", "weight", "box", "share"},
        {"k", "threshold", "spatial", "boxes", "labels", "zoom"},
    )
    assert drawn(dataclasses.replace(plain, edges=())) == ({"box", "share"}, {"boxes", "labels", "zoom"})
    assert drawn(dataclasses.replace(plain, edges=(), nodes=())) == ({"share"}, {"zoom"})
    assert drawn(dataclasses.replace(plain, edges=(), nodes=(), pictures=())) == (set(), set())
    dense = dataclasses.replace(plain, edges=tuple(dataclasses.replace(edge, kind="dense") for edge in spatial))
    assert drawn(dense) == ({"dense", "weight", "box", "share"}, {"k", "threshold", "dense", "boxes", "labels", "zoom"})
    assert "heat" in drawn(view)[1]


def test_pictures_come_first_then_references_then_captions() -> None:
    text = videos_html(made_page(made_view()))
    order = [text.index(f'class="{name}"') for name in ("film", "references", "captions")]
    assert order == sorted(order)


def test_confidence_has_two_digits() -> None:
    text = videos_html(made_page(made_view()))
    assert re.findall(r"confidence (\S+?)<", text)[:1] == ["0.63"]  # exp(-4.2 / 9) = 0.627
    assert re.findall(r'<td class="number">(0\.\d+)</td><td class="number">-', text) == ["0.63", "0.53"]


def test_boxes_lie_in_the_strip_at_the_place_that_they_have_in_their_frame() -> None:
    view = VideoView(
        "v", size=(100, 200), pictures=(Picture(0), Picture(5)), nodes=(Node(1, (50.0, 25.0, 100.0, 75.0), 0.5, "dog"),)
    )
    strip = strip_of(view)
    (node,) = strip.nodes
    assert strip.frame_width == 480
    assert (node.x - strip.frames[1].x, node.y, node.width, node.height) == (120, 60, 120, 120)
    assert (node.name, node.score) == ("dog", "0.50")


def test_every_picture_is_there_once() -> None:
    view = made_view(models=("Scene only", "Full"))
    text = videos_html(made_page(view))
    for picture in view.pictures:
        assert picture.jpeg is not None
        assert text.count(base64.b64encode(picture.jpeg).decode()) == 1


def test_shares_of_frames_come_from_frames_or_else_places_or_else_objects() -> None:
    random = np.random.default_rng(1)
    frames, places, nodes = random.random((3, 4)), random.random((3, 4, 2, 2)), random.random((3, 5))
    objects = [Node(frame, (0.0, 0.0, 1.0, 1.0)) for frame in (0, 0, 2, 3, 3)]
    both = Attribution("a", "", "", frames=frames, places=places, nodes=nodes)
    np.testing.assert_allclose(shares_of(both, objects, 4), frames)
    np.testing.assert_allclose(
        shares_of(dataclasses.replace(both, frames=None), objects, 4),
        places.sum((2, 3)) / places.sum((1, 2, 3))[:, None],
    )
    by_object = shares_of(Attribution("a", "", "", nodes=nodes), objects, 4)
    assert by_object is not None
    np.testing.assert_allclose(by_object[:, 3], nodes[:, 3:].sum(1) / nodes.sum(1))
    assert (by_object[:, 1] == 0).all()
    assert shares_of(Attribution("a", "", "", edges=random.random((1, 7))), objects, 4) is None


def test_what_is_not_finite_is_missing_and_not_nothing() -> None:
    frames = np.array([[0.2, np.nan, 0.8], [np.nan, np.nan, np.inf]])
    shares = shares_of(Attribution("a", "", "", frames=frames), (), 3)
    assert best_frames(shares) == [2, None]
    places = np.ones((1, 2, 2, 2))
    places[0, 1] = np.nan
    look = Attribution("a", "", "", places=places)
    assert [bool(uri) for uri in heat_maps(look)[0]] == [True, False]
    assert best_frames(shares_of(look, (), 2)) == [0]
    assert levels(np.array([1.0, np.nan, 0.5])) == f"{LEVELS[63]}-{LEVELS[32]}"
    assert (percent(float("nan")), number(float("inf"))) == ("no data", "no data")


def test_levels_say_the_weight_as_a_part_of_the_largest() -> None:
    row = np.random.default_rng(2).random(200)
    back = np.array([LEVELS.index(step) for step in levels(row)]) / 63 * row.max()
    np.testing.assert_allclose(back, row, atol=row.max() / 126 + 1e-9)
    assert set(levels(np.zeros(4))) == {LEVELS[0]}


def test_the_brightest_place_of_a_heat_map_is_the_one_with_the_largest_share() -> None:
    places = np.random.default_rng(3).random((2, 3, 7, 7))
    places[:, 1] *= 0.05

    def light(uri: str) -> np.ndarray:
        picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
        pixels = np.asarray(picture.convert("RGBA"), dtype=float)
        return pixels[..., :3].sum(-1) * pixels[..., 3]

    together = [[light(uri) for uri in row] for row in heat_maps(Attribution("a", "", "", places=places))]
    apart = [
        [light(u) for u in row] for row in heat_maps(Attribution("a", "", "", frames=np.ones((2, 3)), places=places))
    ]
    for word in range(2):
        for frame in range(3):
            assert apart[word][frame].ravel()[places[word, frame].argmax()] == apart[word][frame].max()
        assert together[word][1].max() < 0.5 * together[word][0].max()  # one scale a word
        assert apart[word][1].max() == apart[word][0].max()  # frames have their own share: a scale a frame


def test_what_is_missing_is_shown_as_missing() -> None:
    view = made_view("v", jpegs=[None] * 6, per_frame=0)
    (caption,) = view.captions
    broken = dataclasses.replace(caption.explanation.attributions[0], frames=np.full((9, 6), np.nan))
    explanation = dataclasses.replace(caption.explanation, attributions=(broken,), gate=np.full((9, 2), np.nan))
    caption = dataclasses.replace(caption, explanation=explanation)
    text = "".join(Elements(videos_html(made_page(dataclasses.replace(view, captions=(caption,))))).text)
    assert "There are no boxes to draw" in text
    assert text.count("no data") >= 9
    assert "frame 17" in text
    assert "Nothing to show: cannot be read" in "".join(
        Elements(videos_html(made_page(VideoView("v", error="cannot be read")))).text
    )


def test_a_video_of_nothing_and_a_caption_of_nothing_are_drawn() -> None:
    empty = ModelCaption("m", Explanation(words=(), probabilities=()))
    text = videos_html(VideosPage("t", "", (VideoView("v", captions=(empty,)), VideoView("w"))))
    assert "No words: the model ended the caption at once." in text
    assert "What the words attend to is not known" not in text
    assert "What the words attend to is not known" in videos_html(
        VideosPage("t", "", (VideoView("v", captions=(ModelCaption("m", Explanation(("a",), (0.5,))),)),))
    )
    assert "There is no video to show." in videos_html(VideosPage("t", "", ()))


def test_the_deletion_test_gives_mean_and_deviation_of_the_ratio_over_seeds() -> None:
    row = deletion(Deletion("ts", "frames", 10, 2, attended=0.6, random=(0.2, 0.3, 0.4)))
    assert row["ratio"] == "2.17 ± 0.764"  # 3, 2 and 1.5
    assert row["random"] == "0.3 ± 0.1"
    row = deletion(Deletion("ts", "frames", 10, 2, attended=0.6, random=(0.2, 0.0, 0.4)))
    assert row["ratio"] == "3, not steady over the seeds"
    row = deletion(Deletion("ts", "frames", 10, 2, attended=0.6, random=(-0.2, 0.0, 0.1)))
    assert row["ratio"] == "hiding at random costs nothing"


def test_thirty_videos_with_fifty_boxes_a_frame_stay_below_twenty_megabytes() -> None:
    jpegs = [made_jpeg(t, width=480, height=360, grain=4.0) for t in range(10)]
    assert 14_000 < np.mean([len(jpeg) for jpeg in jpegs]) < 22_000
    view = made_view(frames=10, per_frame=50, size=(360, 480), jpegs=jpegs)
    pages = [videos_html(made_page(*[view] * count)) for count in (1, 2)]
    one, two = (len(page.encode()) for page in pages)
    assert one + 29 * (two - one) < 20_000_000
    assert "only the 3 strongest edges of each kind into a box are drawn" in pages[0]


def test_many_videos_go_on_pages_of_bounded_size_that_lead_to_each_other(tmp_path: Path) -> None:
    taken = 0

    def videos() -> Iterator[VideoView]:
        nonlocal taken
        for n in range(65):
            # what came before the page in work has been written
            assert len(list(tmp_path.glob("*.html"))) >= max(0, (n - 1) // 30)
            taken += 1
            yield VideoView(f"video-{n}", error="not at hand")

    def deletions() -> tuple[Deletion, ...]:
        assert taken == 65
        return (Deletion("look-that-was-tested", "frames", 10, 2, 0.6, (0.2, 0.3)),)

    files = write_video_pages(tmp_path / "out.html", videos(), title="Many", deletions=deletions)
    assert [file.name for file in files] == ["out.html", "out-2.html", "out-3.html"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    pages = [Elements(file.read_text()) for file in files]
    assert [page.elements.count(("article", ("class", "id", "aria-labelledby"))) for page in pages] == [30, 30, 5]
    links = [[v for tag, name, v in page.values if tag == "a" and name == "href" and v[0] != "#"] for page in pages]
    assert links == [["out-2.html", "out-3.html"], ["out.html", "out-3.html"], ["out.html", "out-2.html"]]
    assert all("look-that-was-tested" in "".join(page.text) for page in pages)


def test_a_page_ends_before_it_is_too_large(tmp_path: Path) -> None:
    view = made_view()
    size = len(videos_html(made_page(view)).encode())
    files = write_video_pages(tmp_path / "new" / "folder", [view] * 5, title="t", max_bytes=3 * size)
    assert [file.name for file in files] == ["index.html", "index-2.html"]
    assert all(file.stat().st_size <= 3 * size for file in files)


@pytest.mark.parametrize("config", [CaptionConfig, ReportConfig])
def test_films_count_for_the_size_of_a_page_and_help_says_the_limit(tmp_path: Path, config: type) -> None:
    # The most that 30 seconds of a film take.
    film = Film(np.zeros(30 * (300_000 + SMALL_SOUND) // 8, np.uint8))
    view = dataclasses.replace(made_view(), film=film)
    files = write_video_pages(tmp_path / "out.html", [view] * 11, title="t")
    assert [file.name for file in files] == ["out.html", "out-2.html"]
    assert [file.stat().st_size <= 18_000_000 for file in files] == [True, True]
    assert "A page ends after 30" in (text := " ".join(inspect.getsource(config).split()))
    assert " or 18 MB; the others go to NAME-2.html, ..." in text


def test_a_shorter_report_takes_away_the_further_pages_of_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    def write(name: str, count: int) -> list[Path]:
        views = [VideoView(f"v{n}", error="not at hand") for n in range(count)]
        return write_video_pages(tmp_path / name, views, title="t", max_videos=1)

    write("a b[1].html", 5)
    others = [*write("a b[1]-7.html", 2), *write("a b.html", 3)]
    ours = (tmp_path / "a b[1]-3.html").read_text()
    for name, text in (("03", ours), ("x", ours), ("9", ours.replace(' name="generator"', "")), ("10", "mine")):
        others.append(tmp_path / f"a b[1]-{name}.html")
        others[-1].write_text(text)
    (tmp_path / "a b[1]-8.html").mkdir()
    assert len(list(tmp_path.iterdir())) == 15
    files = write("a b[1].html", 2)
    assert [file.name for file in files] == ["a b[1].html", "a b[1]-2.html"]
    assert set(tmp_path.iterdir()) == {*files, *others, tmp_path / "a b[1]-8.html"}


def test_numbers_have_three_digits_and_no_exponent() -> None:
    values = (0.0, 1.0, -4.2, 0.76449, 123456.0, 0.000012345, 2e-9, float("nan"))
    assert [number(value) for value in values] == [
        "0", "1", "-4.2", "0.764", "123000", "0.0000123", "about 0", "no data",
    ]  # fmt: skip


def test_no_video_gives_a_page_that_says_so(tmp_path: Path) -> None:
    (file,) = write_video_pages(tmp_path / "out.html", [], title="None")
    assert "There is no video to show." in file.read_text()


def test_a_report_that_cannot_be_written_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.html").mkdir()
    with pytest.raises(UserError, match=r"out\.html is a folder; give the name of a file"):
        write_video_pages(tmp_path / "out.html", [], title="t")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not make the folder"):
        write_video_pages(tmp_path / "file" / "out.html", [], title="t")


def test_a_notebook_gets_the_page_in_a_frame_of_its_own() -> None:
    page = hostile_page(made_page(made_view()))
    (element,) = Elements(video_fragment(page)).elements
    assert element[0] == "iframe"
    values = {name: value for _, name, value in Elements(video_fragment(page)).values}
    assert values["sandbox"] == "allow-scripts"
    assert values["srcdoc"] == videos_html(page)


def test_a_folded_video_shows_clip_caption_and_candidates_before_the_analysis() -> None:
    view = dataclasses.replace(made_view(), film=Film(np.zeros(9, np.uint8)), folded=True)
    words = " ".join(view.captions[0].explanation.words)
    text = videos_html(made_page(view, dataclasses.replace(view, film=None)))
    first, second = text.split('<article class="video card"')[1:]
    marks = ["<video controls", 'class="said"', 'class="candidates"', '<details class="analysis">', 'class="strip"']
    marks.append('class="word"')
    places = [first.index(mark) for mark in marks]
    assert places == sorted(places)
    assert [first.count(mark) for mark in marks[:3]] == [1, 1, 1]
    # Without the clip a frame of it, from the middle.
    middle = strip_of(view).frames[(len(view.pictures) - 1) // 2]
    assert f'src="{middle.jpeg}"' in second[: second.index('class="said"')]
    assert "<video" not in second
    # And the captions are listed at the top.
    contents = text[text.index('<details class="contents" open>') : text.index('<article class="video card"')]
    assert contents.count(html.escape(words)) == 2
    plain = videos_html(made_page(dataclasses.replace(view, folded=False)))
    assert 'class="said"' not in plain
    assert '<details class="analysis">' not in plain
    assert plain.index("<video controls") < plain.index('class="word"') < plain.index('class="candidates"')
