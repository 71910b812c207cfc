"""Scores of answers and captions, against values counted by hand."""

import json
import re
from pathlib import Path

import pytest

from stg.benchmark.making import make_bench
from stg.benchmark.questions import Answer, Bench, write_answers, write_bench
from stg.benchmark.scoring import roles_are_right, score_answers, score_captions
from tests.stg.run_commands import run_stg


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = make_bench(0, 48)
    captions = {name: clip.captions for name, clip in made.clips.items()}
    return write_bench(tmp_path_factory.mktemp("a") / "bench", {}, captions, made.questions, made.key)


def test_true_answers_score_all(bench: Bench) -> None:
    found = score_answers(bench, {one.id: Answer(one.id, one.answer) for one in bench.key.values()})
    assert {(one["accuracy"], one["low"], one["twins"]) for one in found["kinds"].values()} == {(1, 1, 1)}
    assert (found["mean"], found["consistency"], found["notes"]) == (1, 1, [])
    assert [found["kinds"][name]["chance"] for name in ("verb", "order")] == [0.25, 0.5]


def test_the_same_answer_to_both_twins_is_right_in_one_and_never_consistent(bench: Bench) -> None:
    found = score_answers(bench, {one.id: Answer(one.id, 0) for one in bench.questions})
    for one in found["kinds"].values():
        assert (one["accuracy"], one["twins"]) == (one["chance"], 0)
        assert one["low"] < one["chance"] < one["high"]
    assert found["consistency"] == 0


def test_missing_answers_count_as_wrong_and_missing_kinds_not_at_all(bench: Bench) -> None:
    order = [one for one in bench.key.values() if one.id.startswith("order")]
    found = score_answers(bench, {one.id: Answer(one.id, one.answer) for one in order[: len(order) // 2]})
    assert list(found["kinds"]) == ["order"]
    assert found["kinds"]["order"]["accuracy"] == len(order) // 2 / len(order)
    assert (
        f"order: {len(order) - len(order) // 2} of {len(order)} questions without an answer count as wrong"
        in (found["notes"])
    )
    assert any(note.endswith("of kind verb: it is left out") for note in found["notes"])


def test_true_captions_score_all_and_exchanged_ones_no_roles(bench: Bench) -> None:
    truth = {video: texts[-1] for video, texts in bench.captions.items()}
    first = {video: texts[0] for video, texts in bench.captions.items()}
    assert {one["accuracy"] for one in score_captions(bench, first)["kinds"].values()} == {1}
    assert score_captions(bench, truth)["kinds"]["event"]["accuracy"] == 1
    spun = score_captions(bench, dict.fromkeys(truth, "a red star spins"))["kinds"]
    assert (spun["silence"]["accuracy"], spun["roles"]["accuracy"]) == (0, 0)
    assert spun["event"]["accuracy"] < 0.2
    none = score_captions(bench, {})
    assert {one["accuracy"] for one in none["kinds"].values()} == {0}
    assert none["notes"] == ["48 clips without a caption count as wrong"]


@pytest.mark.parametrize(
    ("caption", "right"),
    [
        ("a red star pushes a blue box", True),
        ("the star shoves a square", True),
        ("a red thing is pushing a blue thing", True),
        ("a blue square pushes a red star", False),
        ("a red star", False),
        ("a red star spins", False),
        ("a red star and a blue square", False),
        ("a green cross pushes a blue square", False),
        ("a red star circles a blue square", True),
    ],
)
def test_roles_are_read_off_the_places_of_the_words(caption: str, right: bool) -> None:
    assert roles_are_right(caption, frozenset({"a", "red", "star"}), frozenset({"a", "blue", "square"})) == right


def test_a_file_is_scored_by_the_command(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / "mine|x.jsonl", tmp_path / "page.html"
    write_answers(
        path,
        [
            Answer(
                one.id,
                None,
                tuple(-1.0 * (i != one.answer) for i in range(4 if one.id[:4] in ("verb", "even") else 2)),
            )
            for one in bench.key.values()
        ],
    )
    assert run_stg("bench", ["score", str(bench.folder), str(path), "--report", str(page)]) == 0
    head, rule, row, last = capsys.readouterr().out.strip().split("\n")
    assert (head.count("|"), rule.count("|")) == (row.replace("\\|", "").count("|"),) * 2
    assert head.startswith("| model | verb | verb, both twins | order |")
    assert row.startswith("| mine\\|x | 100.0 (100.0-100.0) | 100.0 |")
    assert last.startswith("written: ")
    assert "a clip and to its reverse differ, as they should, in 100.0 %" in page.read_text()
    captions = tmp_path / "c.jsonl"
    captions.write_text("".join(json.dumps({"video": v, "caption": t[0]}) + "\n" for v, t in bench.captions.items()))
    assert run_stg("bench", ["score", str(bench.folder), str(captions), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["name"], record["of"], record["mean"]) == ("c", "captions", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "order-99999", "choice": 0}\n', "is no question of"),
        ('{"video": "vid7", "caption": "a star"}\n', "no clips of"),
        ("", "holds no answers"),
        ('{"video": "clip-00000"}\n', "must be an object with video and caption"),
    ],
)
def test_a_file_of_another_bench_is_named(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    assert run_stg("bench", ["score", str(bench.folder), str(path)]) == 2
    assert message in capsys.readouterr().err
    assert run_stg("bench", ["score", str(bench.folder)]) == 2
    assert "needs a file of answers or captions as well" in capsys.readouterr().err


def test_likelihoods_are_scored_where_a_model_gives_them(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.jsonl"
    one, two, three, other = bench.videos[:4]
    rows = [
        # Of two right captions and a wrong one, one right one is surer than that, and one as sure.
        {"video": one, "caption": bench.captions[one][0], "log_prob": -1.0},
        {"video": two, "caption": bench.captions[two][0], "log_prob": -3.0},
        {"video": three, "caption": "nothing happens to that", "log_prob": -3.0},
        {"video": other, "caption": "x", "truth_log_probs": [-2.0] * len(bench.captions[other])},
    ]
    assert all("stands still" not in bench.captions[video][0] for video in (one, two, three))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_stg("bench", ["score", str(bench.folder), str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["likelihood"]
    words = [len(text.split()) + 1 for text in bench.captions[other]]
    assert found == {"truth": pytest.approx(-2.0 * len(words) / sum(words)), "truth_clips": 1, "sure": 0.75}
    assert run_stg("bench", ["score", str(bench.folder), str(path)]) == 0
    assert "| surer of right captions |" in capsys.readouterr().out
    path.write_text(json.dumps({**rows[-1], "truth_log_probs": [-2.0]}) + "\n")
    assert run_stg("bench", ["score", str(bench.folder), str(path)]) == 2
    assert re.search(r"line 1: 'truth_log_probs' must be \d finite numbers", capsys.readouterr().err)
