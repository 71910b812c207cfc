"""What README and the guides show runs as it stands, but for smaller numbers; every command of README is run."""

import json
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from PIL import Image

from graphs import EDGE_TYPES, GraphStore
from stg.commands.option_files import with_preset
from stg.commands.parser import parse
from stg.config import FitConfig
from stg.datasets.world import World
from stg.runs.folder import default_folder
from tests.readme import README, ROOT, block, blocks

LINES, LONGEST = 150, 120
"""Most lines of README, and most characters of one."""
RUN_BY = {
    "./run fit": (".ci/smoke", './run fit "${tiny[@]}"'),
    "./run test": (".ci/run", "\n./run test\n"),
    "./run caption clip.mp4": (".ci/smoke", './run caption "$smoke/clip.mp4"\n'),
    "./run caption clip.mp4 --report clip.html": (".ci/smoke", '--report "$smoke/clip.html"'),
    "./run evaluate runs/world-joint-spatial-seed0 --split test": (
        ".ci/smoke",
        './run evaluate "$smoke/run" --split test',
    ),
    "./run report runs/world-joint-spatial-seed0 --split test --limit 5": (
        ".ci/smoke",
        './run report "$smoke/run" --split test --limit 3',
    ),
}
"""A command of README -> the file that runs it, on tiny settings, and the words there that do."""
PYTHON = ("stg.load()", "graphs.STGEncoder")
"""Words by which the tests below find the Python of README."""


def run(code: str, names: dict[str, Any], **smaller: str) -> dict[str, Any]:
    """Run a block with the names of those before it, other numbers put into it; returns the names with its own."""
    for old, new in smaller.items():
        assert old in code
        code = code.replace(old, new)
    exec(compile(code, "README.md", "exec"), names)
    return names


def test_a_classifier_is_trained_explained_and_drawn_and_its_graphs_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = run(
        block("class Classifier"), {}, **{"train=300": "train=6", "test=100": "test=1", "range(20)": "range(1)"}
    )
    run(block("GNNExplainer(epochs=100)"), names, **{"epochs=100": "epochs=5"})
    assert names["found"].edge_mask.shape == (names["graph"].num_edges,)
    with Image.open("edges.png") as picture:
        assert picture.width > 4 * 360
    # In this process: other tests start workers.
    run(block("VideoGraphDataset"), names, **{"num_workers=2": "num_workers=0"})
    assert len(names["dataset"]) == 6
    assert names["batch"].y.shape == (6,)


def test_boxes_become_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    item = {"box": [1, 2, 30, 40]}
    video = {"width": 64, "height": 48, "frames": [[item], [item, item]]}
    Path("boxes.json").write_text(json.dumps({"format": "video-boxes/1", "videos": {"one": video, "two": video}}))
    frames = [{"boxes": torch.tensor([[1.0, 2, 30, 40]]), "labels": torch.tensor([90])}] * 4
    names = run(block("read_boxes"), {"graphs": __import__("graphs"), "frames": frames})
    with GraphStore("boxes.lmdb") as store:
        assert store.keys() == ["one", "two"]
        assert store.get("two").boxes.shape == (3, 4)
    graph = names["graph"]
    assert graph.track.tolist() == [0] * 4
    assert int((graph.edge_type == EDGE_TYPES["track"]).sum()) == 2 * (3 + 2)
    assert graph.x.shape == (4, 5 + 91)


def test_a_decoder_writes_words_and_says_where_it_attended() -> None:
    names = run(block("STaTSDecoder"), {})
    assert names["words"].shape == names["attention"]["gate"].shape[:2]


def test_a_clip_is_captioned_by_what_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    World(train=1, val=1, test=1).write_mp4("test-00000", "clip.mp4")
    found = run(block("stg.load()", "found.caption"), {})["found"]
    assert capsys.readouterr().out == f"{found.caption} {found.confidence}\n"
    assert 0 < found.confidence < 1


def test_boxes_become_states_of_nodes_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    frames = [{"boxes": torch.tensor([[1.0, 2, 30, 40], [20, 30, 90, 80]]), "labels": torch.tensor([1, 44])}] * 3
    names = run(block("graphs.STGEncoder"), {"frames": frames})
    assert names["states"].shape == (6, 64)
    assert names["graph"].track.unique().numel() == 2
    assert len(capsys.readouterr().out) > 200


def test_readme_is_short_and_narrow_and_opens_with_its_commands() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= LINES
    assert [line for line in text.splitlines() if len(line) > LONGEST] == []
    assert [command for command, _ in zip(commands(text), range(2), strict=False)] == ["./run fit", "./run test"]
    assert text.index("./run fit") < 400


def test_every_command_of_readme_is_run_and_every_block_of_python() -> None:
    text = README.read_text("utf-8")
    assert set(commands(text)) == set(RUN_BY), "say in RUN_BY what runs it"
    for command, (file, words) in RUN_BY.items():
        assert words in (ROOT / file).read_text("utf-8"), f"{file} no longer runs {command}"
    python = blocks(README)
    assert [sum(word in code for code in python) for word in PYTHON] == [1] * len(python)


def test_the_parser_takes_every_command_of_readme() -> None:
    for command in commands(README.read_text("utf-8")):
        _, name, *options = shlex.split(command)
        if name != "test":
            config = get_type_hints(import_module(f"stg.commands.{name}").main)["config"]
            parse(config, options, prog=name, description="")
    made = default_folder(parse(FitConfig, with_preset([], "stg_world"), prog="fit", description="")[0])
    assert f"{made} " in " ".join(RUN_BY)


def test_numbers_that_were_measured_stand_in_the_table_alone() -> None:
    text = re.sub(
        r"<!-- measured -->.*<!-- /measured -->|\(http[^)]*\)", "", README.read_text("utf-8"), flags=re.DOTALL
    )
    # But a version, of Python.
    assert re.findall(r"(?<![\d.])\.\d+|\d+\.\d+(?!\d| or newer)|\d+ ?%", text) == []


def commands(text: str) -> list[str]:
    """The commands in the shell blocks of a page, without what is said of them."""
    lines = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).splitlines()
    return [line.partition(" # ")[0].strip() for line in lines]
