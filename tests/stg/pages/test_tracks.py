"""Tracks on pages and pictures: one colour and number over all frames, and the share of each for each word."""

import re
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from graphs import FlatBatch
from stg.explain import Attribution, Explanation
from stg.pages.videos.boxes_and_edges import COLOURS, strip_of, track_colour
from stg.pages.videos.caption_rows import boxes
from stg.pages.videos.edge_table import LISTED as EDGES_LISTED
from stg.pages.videos.edge_table import edge_table
from stg.pages.videos.overlay_drawing import BOX, Overlay
from stg.pages.videos.page import videos_html
from stg.pages.videos.pictures import nodes_of
from stg.pages.videos.strokes import INK
from stg.pages.videos.tracks import LISTED, box_weights, most_attended, track_table
from stg.pages.videos.views import Edge, ModelCaption, Node, Picture, VideoView
from tests.stg.made_views import made_jpeg, made_page, made_view

SHARES = np.array([[0.1, 0.1, 0.1, 0.15, 0.05], [0.05, 0.05, 0.05, 0.4, 0.0]])
FRAMES = np.array([[0.4, 0.3, 0.3], [0.5, 0.45, 0.05]])
ATTENDED = Attribution("frames", "Attention", "", frames=FRAMES, nodes=SHARES, by_track=True)


def view() -> VideoView:
    """Track 4 in each of three frames, track 0 in the first alone, and an object without a track in the second."""
    nodes = (
        Node(0, (10.0, 10.0, 30.0, 30.0), 0.9, "cat", 4),
        Node(1, (20.0, 10.0, 60.0, 50.0), 0.8, "dog", 4),
        Node(2, (30.0, 10.0, 50.0, 30.0), 0.7, "cat", 4),
        Node(0, (60.0, 60.0, 80.0, 80.0), 0.6, "cup", 0),
        Node(1, (60.0, 60.0, 80.0, 80.0), 0.5, "", -1),
    )
    edges = (
        Edge(0, 1, "track", 0.7),
        Edge(2, 1, "track", 0.3),
        Edge(0, 3, "spatial", 0.4),
        Edge(3, 3, "spatial", 0.6),
        Edge(2, 0, "dense", 0.25),
    )
    caption = ModelCaption("model", Explanation(("a", "cat"), (0.5, 0.9), (ATTENDED,)))
    pictures = tuple(Picture(10 * t, made_jpeg(t, width=100, height=100)) for t in range(3))
    return VideoView("v", (100, 100), pictures, nodes, edges, (caption,))


def luminance(colour: tuple[int, int, int]) -> float:
    part = np.array(colour) / 255
    return float(np.where(part <= 0.03928, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


def test_colours_of_tracks_lie_apart_and_carry_dark_letters() -> None:
    colours = [track_colour(track) for track in range(16)]
    assert min(float(np.linalg.norm(np.subtract(*pair))) for pair in combinations(colours[:8], 2)) > 40
    assert len(set(colours)) == 16
    assert min((luminance(colour) + 0.05) / (luminance(INK) + 0.05) for colour in map(track_colour, range(500))) > 4.5


def test_objects_have_the_track_of_the_graph() -> None:
    graph = FlatBatch(frame=torch.tensor([0, 0, 1]), boxes=torch.zeros(3, 4), track=torch.tensor([2, -1, 2]))
    assert [node.track for node in nodes_of(graph)] == [2, -1, 2]
    del graph.track
    assert [node.track for node in nodes_of(graph)] == [-1, -1, -1]


def test_boxes_are_shaded_by_the_share_of_their_whole_track() -> None:
    """By its parts, an object that is seen once would seem to count more than one that is seen in each frame."""
    shown = box_weights(ATTENDED, view().nodes)
    assert shown is not None
    np.testing.assert_allclose(shown, [[0.3, 0.3, 0.3, 0.15, 0.05], [0.15, 0.15, 0.15, 0.4, 0.0]])
    np.testing.assert_allclose(SHARES[0], [0.1, 0.1, 0.1, 0.15, 0.05])  # what came in is left as it was
    assert box_weights(replace(ATTENDED, by_track=False), view().nodes) is SHARES
    drawn = boxes(shown[0], 0, strip_of(view()))
    assert [(box["opacity"], box["colour"]) for box in drawn] == [
        (1.0, "#" + bytes(track_colour(4)).hex()),
        (0.5, "#" + bytes(track_colour(0)).hex()),
    ]


def test_a_track_has_its_whole_share_once_and_each_column_sums_to_one() -> None:
    table = track_table(ATTENDED, view().nodes, strip_of(view()), ("a", "cat"))
    assert table is not None
    assert table["heads"] == ["a", "cat"]
    rows = {row.get("track", row["name"]): row for row in table["rows"]}
    assert list(rows) == [0, 4, "objects without a track", "whole pictures"]
    shares = np.array([[cell["share"] for cell in row["cells"]] for row in rows.values()])
    np.testing.assert_allclose(shares, [[0.15, 0.4], [0.3, 0.15], [0.05, 0.0], [0.5, 0.45]])
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    assert [cell["part"] for cell in rows[4]["cells"]] == [60.0, 33.3]  # of the largest of its word
    assert (rows[4]["name"], rows[4]["frames"], rows[4]["frame"]) == ("cat", 3, 1)  # its largest box
    assert rows[4]["view"] == "48.0 24.0 96.0 96.0"
    assert most_attended(ATTENDED, view().nodes) == [
        [("#4 cat", pytest.approx(0.3)), ("#0 cup", pytest.approx(0.15))],
        [("#0 cup", pytest.approx(0.4)), ("#4 cat", pytest.approx(0.15))],
    ]


def test_what_is_not_known_of_a_word_is_missing_and_many_tracks_are_one_row() -> None:
    nodes = tuple(Node(0, (0.0, 0.0, 9.0, 9.0), None, "", track) for track in range(LISTED + 3))
    weights = np.stack([np.arange(1.0, LISTED + 4) / np.arange(1, LISTED + 4).sum(), np.full(LISTED + 3, np.nan)])
    made = replace(view(), nodes=nodes, edges=(), pictures=(Picture(0),))
    table = track_table(Attribution("a", "", "", nodes=weights), nodes, strip_of(made), ("x", "y"))
    assert table is not None
    rows = table["rows"]
    assert [row["track"] for row in rows[:-1]] == list(range(3, LISTED + 3))
    assert rows[-1]["name"] == "3 other tracks"
    assert rows[-1]["cells"][0]["share"] == pytest.approx(weights[0, :3].sum())
    assert all(np.isnan(row["cells"][1]["share"]) for row in rows)
    assert "view" not in rows[0]  # no picture to cut it from
    bare = made_view()
    assert track_table(bare.captions[0].explanation.attributions[1], bare.nodes, strip_of(bare), ()) is None


def test_the_page_colours_boxes_and_lists_tracks_and_edges() -> None:
    text = videos_html(made_page(view()))
    groups = re.findall(r'<g class="node[^"]*" data-node="(\d)" data-frame="\d"([^>]*)>', text)
    colours = [f' color="#{bytes(track_colour(track)).hex()}"' for track in (4, 4, 4, 0)]
    assert groups == [(str(number), colour) for number, colour in enumerate([*colours, ""])]
    assert re.findall(r">(#\d) <tspan>(\w+)</tspan> 0.\d\d<", text) == [
        ("#4", "cat"),
        ("#4", "dog"),
        ("#4", "cat"),
        ("#0", "cup"),
    ]
    legend = text.partition('class="legend"')[2].partition("</ul>")[0]
    for sign in ("track: one object", "track edge", "spatial edge", "dense graph"):
        assert sign in legend
    assert '<input type="checkbox" name="track" checked>' in text
    assert "url(#head-track)" in text
    assert '<marker id="head-track" class="track"' in text
    cells = re.findall(r'<td data-word="(\d)">([^<]*)<', text)
    assert cells[:4] == [
        ("0", "15\N{NO-BREAK SPACE}%"),
        ("1", "40\N{NO-BREAK SPACE}%"),
        ("0", "30\N{NO-BREAK SPACE}%"),
        ("1", "15\N{NO-BREAK SPACE}%"),
    ]
    plain = videos_html(made_page(replace(view(), nodes=tuple(replace(node, track=-1) for node in view().nodes))))
    for mark in ('class="scroll tracks"', "track: one object", 'class="node" data-node="0" data-frame="0" color'):
        assert mark not in plain


def test_edges_are_listed_with_kind_direction_and_weight() -> None:
    found = edge_table(strip_of(view()), view())
    assert [(kind["kind"], kind["count"], kind["loops"]) for kind in found] == [
        ("spatial", 2, 1), ("track", 2, 0), ("dense", 1, 0)
    ]  # fmt: skip
    rows = {
        kind["kind"]: [
            (r["target"]["name"], r["target"]["frame"], r["source"]["name"], r["source"]["frame"], r["weight"])
            for r in kind["rows"]
        ]
        for kind in found
    }
    assert rows["track"] == [("#4 dog", 10, "#4 cat", 0, "0.7"), ("#4 dog", 10, "#4 cat", 20, "0.3")]
    assert rows["spatial"] == [("#0 cup", 0, "#4 cat", 0, "0.4")]
    many = made_view(per_frame=6)
    spatial, temporal = edge_table(strip_of(many), many)
    for kind in (spatial, temporal):
        assert len(kind["rows"]) == EDGES_LISTED
        assert all(float(a["weight"]) >= float(b["weight"]) for a, b in pairwise(kind["rows"]))


def test_the_overlay_draws_tracks_in_their_colours() -> None:
    """Outline and label of each box; a box without a track stays as it was; a track edge is an arrow to the next."""
    large = replace(view(), size=(400, 400), edges=(Edge(0, 1, "track", 1.0), Edge(0, 2, "track", 1.0)))
    overlay = Overlay(large, (400, 400), (4.0, 4.0), 2)
    first, second, third = (np.asarray(overlay.layer(frame).convert("RGB")).astype(int) for frame in range(3))

    def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
        return float((np.abs(picture - colour).max(axis=2) <= 12).mean())

    cat, cup = track_colour(4), track_colour(0)
    assert min(share(first[:, :140], cat), share(first[220:, 220:], cup), share(third, cat)) > 0.005
    assert share(first, BOX) == share(third, cup) == 0
    assert share(second, BOX) > 0.005
    assert share(first[80:140, 90:170], COLOURS["track"]) > 0.01
    assert share(second, COLOURS["track"]) == 0
    numbers = [Image.fromarray(picture.astype(np.uint8)).crop((0, 0, 400, 60)) for picture in (first, third)]
    assert numbers[0].tobytes() != numbers[1].tobytes()
