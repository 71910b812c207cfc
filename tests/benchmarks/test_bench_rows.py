"""The table and the figure of a bench, by hand; what the command refuses before it begins."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import bench_rows
from benchmarks.bench_plot import to_svg
from benchmarks.bench_rows import answer_file, as_numbers, chance_rights, flow_features, main, markdown, plain_row
from stg.benchmark.balance import blind_hits
from stg.benchmark.making import MadeBench, make_bench
from stg.benchmark.questions import KINDS, Bench
from stg.runs.model_file import MODEL_FILE
from stg.runs.shipped import shipped_models
from tests.stg.benchmark.make_bench import small_bench


@pytest.fixture(scope="module")
def made() -> MadeBench:
    return make_bench(0, 24)


def test_a_row_is_the_mean_of_its_seeds(made: MadeBench) -> None:
    right = {one.id: float(one.kind == "order") for one in made.questions}
    wrong = dict.fromkeys(right, 0.0)
    row = plain_row("ours", made, [right, wrong])
    order = row["kinds"]["order"]
    assert (order["accuracy"], order["seeds"], order["low"], order["high"]) == (0.5, [1.0, 0.0], 0.5, 0.5)
    assert (order["twins"], order["chance"], order["questions"]) == (0.5, 0.5, 4)
    assert row["in_time"] == 0.125
    assert row["seeds"] == 2
    # Kinds that nobody answers are none.
    some = {name: value for name, value in right.items() if not name.startswith("count")}
    assert set(KINDS) - plain_row("ours", made, [some])["kinds"].keys() == {"count"}
    # Nor are those that one of the seeds does not answer.
    assert plain_row("ours", made, [right, some])["kinds"].keys() == plain_row("ours", made, [some])["kinds"].keys()


def test_table_and_figure_hold_every_row(made: MadeBench) -> None:
    no_count = {name: hit for name, hit in as_numbers(blind_hits(made)).items() if not name.startswith("count")}
    rows = [
        plain_row("chance", made, [chance_rights(made)]),
        {**plain_row("a < b", made, [no_count, no_count]), "control": True, "consistency": 0.25},
    ]
    head, rule, first, second = markdown(rows)
    assert head.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert first.startswith("| chance | 1 | 25 (25-25) | 50 (50-50) |")
    assert second.endswith("| 25 |")
    record = {"rows": rows, "clips": 24}
    drawn = ElementTree.fromstring(to_svg(record))
    words = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"chance", "a < b", *KINDS} <= set(words)
    assert words.count("no words") == 1


def test_flow_has_the_sign_of_the_motion() -> None:
    def clip(step: int) -> np.ndarray:
        frames = np.zeros((10, 96, 96, 3), np.uint8)
        rng = np.random.default_rng(0)
        patch = rng.integers(0, 255, (24, 24, 1), np.uint8).repeat(3, 2)
        for time in range(10):
            left = 40 + step * (time - 5)
            frames[time, 30:54, left : left + 24] = patch // 2 + 60
        return frames

    right, left, still = (flow_features(clip(step)) for step in (1, -1, 0))
    # The first number of each third is how far things move to the right.
    assert all(right[place] > 0.1 and left[place] < -0.1 for place in (0, 9, 18))
    assert np.abs(still[[0, 9, 18]]).max() < 1e-9


def write_model(folder: Path, name: str) -> Path:
    """A folder with the header of a model, which is all that is read before the work begins."""
    folder.mkdir(parents=True)
    made = {"features": {"name": name}, "model": {"branches": "scene"}, "widths": {"scene": 1, "motion": 0}}
    header = json.dumps({"__metadata__": {"stg": json.dumps(made)}}).encode()
    (folder / MODEL_FILE).write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def test_what_does_not_fit_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = list[tuple[str, dict[str, list[Path]]]]()

    def begin(bench: Bench, runs: Mapping[str, Sequence[Path]], options: object) -> None:
        began.append((bench.folder.name, {name: list(folders) for name, folders in runs.items()}))

    monkeypatch.setattr(bench_rows, "write_rows", begin)
    bench, run = small_bench(tmp_path / "bench"), write_model(tmp_path / "a" / "run", "one")
    given = [str(bench.folder), f"scene={run}"]
    places = ["--answers", str(tmp_path / "new" / "answers"), "--out", str(tmp_path / "new" / "out")]
    for words, said in (
        (["scene"], "a run must be given as NAME=RUN, such as scene=runs/a-seed0; got 'scene'"),
        (["scene="], "as NAME=RUN"),
        ([f"={run}"], "as NAME=RUN"),
        ([f"graph={tmp_path}"], f"{tmp_path} holds no trained model (model.safetensors)"),
        ([f"graph={bench.folder / 'bench.json'}"], "bench.json is not a trained model"),
        ([f"scene={run / MODEL_FILE}"], "the row 'scene' has this run already"),
        (["--control", "scenes"], "--control must name a row of runs (those are scene); got 'scenes'; did you"),
    ):
        assert main([*given, *words, *places]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert main([str(tmp_path / "none"), *places]) == 2
    assert (began, (tmp_path / "new").exists()) == ([], False)
    ours = shipped_models()[0]
    assert main([*given, f"graph={run}", f"graph={ours.name}", "--control", "graph", *places]) == 0
    assert began == [("bench", {"scene": [run], "graph": [run, ours.folder]})]
    assert (tmp_path / "new" / "answers").is_dir()
    assert (tmp_path / "new" / "out").is_dir()


def test_runs_in_folders_of_one_name_keep_their_answers_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (write_model(tmp_path / name / "run", name) / MODEL_FILE for name in ("a", "b"))
    assert answer_file(tmp_path, one, "none") != answer_file(tmp_path, other, "none")
    assert answer_file(tmp_path, one, "none") != answer_file(tmp_path, one, "single")
    monkeypatch.chdir(one.parent)
    assert answer_file(tmp_path, Path(MODEL_FILE), "none") == answer_file(tmp_path, one, "none")
    assert answer_file(tmp_path, one, "none").name.startswith("run-")
