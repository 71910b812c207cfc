"""The page of ``stg.compare --report``: the videos that changed most, with frames, both captions and all references."""

import html
import json
import re
from pathlib import Path

import pytest

from stg.commands.compare import main
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig
from stg.config.results import CompareConfig
from stg.datasets.world.dataset import World
from stg.pages.videos.pictures import glimpse
from tests.stg.commands.test_compare import FAIR, GOOD, REFERENCES, Capture, clips, make
from tests.stg.make_clips import grey_frames, write_clip

__all__ = ["clips"]  # a fixture: the folder of captioned clips that the runs are of

HOSTILE = '<script>alert(1)</script> & "rides"'


def compared(*argv: str) -> int:
    return run_command(CompareConfig, main, "", [*argv, "--meteor", "false", "--samples", "20"])


def two_runs(**captions: str) -> list[str]:
    return [make("a", 0, GOOD), make("b", 0, FAIR | captions, graph=GraphConfig(layers=1))]


def articles(text: str, part: str) -> list[str]:
    section = text.partition(f'id="{part}"')[2].partition("</section>")[0]
    return section.split("<li>\n<h3>")[1:]


def test_the_page_has_the_best_and_the_worst_with_everything_that_was_said(capsys: Capture) -> None:
    for video in REFERENCES:
        write_clip(Path("clips") / f"{video}.mp4", grey_frames(12))
    assert compared(*two_runs(), "--names", "old,new", "--show", "1", "--clips", "clips", "--report", "p.html") == 0
    out = capsys.readouterr()
    assert "written: p.html" in out.err
    text = Path("p.html").read_text(encoding="utf-8")
    (better,), (worse,) = articles(text, "better"), articles(text, "worse")
    assert "<h1><bdi>new against old</bdi></h1>" in text
    assert "<bdi>c</bdi>" in better
    assert re.findall(r'<dd class="said"><bdi>([^<]*)<', better) == [GOOD["c"], FAIR["c"]]
    assert re.findall(r"<li><bdi>([^<]*)<", better) == REFERENCES["c"]
    assert re.findall(r'<dd class="said"><bdi>([^<]*)<', worse) == [GOOD["b"], FAIR["b"]]
    assert better.count('<img src="data:image/jpeg') == worse.count('<img src="data:image/jpeg') == 6
    assert compared("a", "b", "--names", "old,new", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    change = record["gains"][0]
    assert change["references"] == REFERENCES["c"]
    before, after = (f"{change[side]['cider']:.2f}" for side in ("baseline", "row"))
    assert f"CIDEr {before} → {after} ({change['change']:+.2f})" in better
    cider = record["differences"][0]["scores"]["cider"]["value"]
    assert re.search(rf'<th scope="row">CIDEr</th>.*<td class="number">{re.escape(f"{cider:+.3f}")}</td>', text)


def test_the_world_shows_its_own_frames_and_clips_that_are_missing_none(capsys: Capture) -> None:
    assert compared(*two_runs(), "--report", "bare.html") == 0
    assert "<img" not in Path("bare.html").read_text()
    world = World.of(WorldConfig(train=1, val=3, test=1))
    references = {video: world.captions(video) for video in ("val-00000", "val-00001", "val-00002")}
    said = {video: texts[0] for video, texts in references.items()}
    worse = said | {"val-00001": "a star"}
    where = {"data": DataConfig(dataset="world"), "world": WorldConfig(train=1, val=3, test=1)}
    runs = [make("w", 0, said, **where), make("v", 0, worse, graph=GraphConfig(layers=1), **where)]
    assert compared(*runs, "--report", "w.html") == 0
    (loss,) = articles(Path("w.html").read_text(), "worse")
    assert re.findall(r'<img src="([^"]*)"', loss) == glimpse(world.sample("val-00001", 6))
    assert articles(Path("w.html").read_text(), "better") == []


def test_captions_stay_text() -> None:
    assert compared(*two_runs(d=HOSTILE), "--report", "p.html") == 0
    text = Path("p.html").read_text()
    assert str(html.escape(HOSTILE)).replace("&quot;", "&#34;") in text
    assert "<script" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--report", "p.txt"], "a page is a file that ends in .html"),
        (["--clips", "clips"], "clips are for the pictures of a page: add --report FILE.html"),
        (["--report", "p.html", "--show", "0"], "report shows the --show videos"),
        (["--report", "p.html", "--clips", "nowhere"], "nowhere"),
    ],
)
def test_what_makes_no_page_is_one_error(capsys: Capture, options: list[str], words: str) -> None:
    assert compared(*two_runs(), *options) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not Path("p.html").exists()


def test_one_row_alone_has_no_page(capsys: Capture) -> None:
    assert compared(make("s-seed0", 0, GOOD), make("s-seed1", 1, FAIR), "--report", "p.html") == 2
    assert "these runs are one row: give runs that differ in more than their seed" in capsys.readouterr().err
