"""The page of a run: what it reads, what it leaves out, and that it is closed."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stg.config.schema import from_dict, to_dict
from stg.config.training import FitConfig
from stg.pages.run.ablations import read_ablation
from stg.pages.run.captions import changes, choose
from stg.pages.run.charts import BOTTOM, LEFT, RIGHT, TOP, Series, draw, thin
from stg.pages.run.page import run_html, run_view
from stg.pages.run.record import read_run
from stg.runtime.errors import UserError
from stg.runtime.files import without_places

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def make_run(folder: Path, *, epochs: int = 6, per_epoch: int = 5, **settings: Any) -> Path:
    """A run folder as `stg.fit` writes it, with made numbers; the third epoch is the best."""
    folder.mkdir(parents=True)
    chosen = to_dict(FitConfig())
    for key, value in {"run.out": str(folder), "run.samples": 2, **settings}.items():
        part, name = key.split(".")
        chosen[part][name] = value
    (folder / "config.json").write_text(json.dumps(to_dict(from_dict(FitConfig, chosen))))
    (folder / "state.json").write_text(json.dumps({"status": "finished"}))
    stamp = "2026-11-21 17:0{}:00,123 INFO something\n"
    (folder / "train.log").write_text(stamp.format(1) + stamp.format(7))
    rows: list[dict[str, Any]] = []
    for epoch in range(epochs):
        for _ in range(per_epoch):
            step = len(rows) - epoch + 1  # each earlier epoch has a row of its validation
            rows.append(
                {"kind": "step", "step": step, "epoch": epoch, "norm": 2.0, "loss": 5 / step, "scene": 3 / step}
            )
        samples = {"v0": f"a dog {'runs' if epoch > 1 else 'sits'}", "v1": "a cat"}
        scores = {"bleu4": 0.1, "rouge": 0.3, "cider": [0.1, 0.4, 0.9, 0.9, 0.2, 0.3][epoch % 6]}
        rows.append({"kind": "validation", "step": step, "epoch": epoch, "loss": 1.5, "samples": samples, **scores})
    write_rows(folder, rows)
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def add_evaluation(folder: Path, captions: dict[str, str], stem: str = "val-greedy", **scores: float) -> None:
    (folder / "evaluation").mkdir(exist_ok=True)
    rows = [{"image_id": video, "caption": text} for video, text in captions.items()]
    (folder / "evaluation" / f"{stem}.json").write_text(json.dumps(rows))
    about = {"split": "val", "search": {"method": "greedy"}, "videos": len(captions), "scores": scores}
    about |= {"broken_endings": 1, "unavailable": {"meteor": "no Java"}}
    (folder / "evaluation" / f"{stem}-scores.json").write_text(json.dumps(about))


CAPTIONS = {
    "v0": "a dog runs in the park",
    "v1": "a man plays a guitar",
    "v2": "a dog runs in the park",
    "v3": "a dog runs in the",
}
REFERENCES = {
    "v0": ["a cat sleeps on a sofa", "the cat is asleep"],
    "v1": ["a man plays a guitar", "a man is playing a guitar", "someone plays music", "a guitar is played"],
    "v2": ["a dog runs across a park", "a dog is running in the park"],
    "v3": ["two women cook soup"],
}


def test_thinning_keeps_means_and_extremes() -> None:
    y = np.sin(np.arange(1003.0))
    x, mean, least, greatest = thin(np.arange(1003.0), y, most=50)
    assert len(x) == 50
    assert (np.diff(x) > 0).all()
    assert (least.min(), greatest.max()) == (y.min(), y.max())
    starts = np.arange(50) * 1003 // 50
    assert mean == pytest.approx([part.mean() for part in np.split(y, starts[1:])])


def test_few_points_stay_and_what_is_not_finite_goes() -> None:
    y = np.array([1.0, np.nan, 3.0, np.inf])
    assert thin(np.arange(4.0), y).tolist() == [[0, 2], [1, 3], [1, 3], [1, 3]]
    assert thin(np.zeros(0), np.zeros(0)).shape == (4, 0)
    assert draw("nothing", [Series("y", np.arange(4.0), np.full(4, np.nan))], x_name="step") is None


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("y", [[3.0], [1e-12, 1e12], [0.5, 0.5, 0.5], [1.0, 2.0, 900.0]])
def test_curves_stay_inside_of_the_chart(y: list[float], logarithmic: bool) -> None:
    x = np.arange(1.0, len(y) + 1)
    chart = draw("t", [Series("y", x, np.array(y))], x_name="step", marks=[(1.0, "m")], logarithmic=logarithmic)
    assert chart is not None
    points = [tuple(map(float, pair.split(","))) for pair in chart.lines[0].path[1:].split()]
    assert len(points) == len(y)
    assert all(LEFT <= a <= RIGHT and TOP <= b <= BOTTOM for a, b in points)
    assert all(TOP <= place <= BOTTOM for place, _ in chart.y_ticks)
    heights = [b for _, b in points]
    assert heights == sorted(heights, reverse=True)  # what is more is higher
    assert len(chart.y_ticks) >= 2


def test_ticks_tell_the_values() -> None:
    chart = draw("t", [Series("y", np.array([0.0, 10.0]), np.array([1.0, 100.0]))], x_name="step", logarithmic=True)
    assert chart is not None
    assert {"1", "10", "100"} <= {label for _, label in chart.y_ticks}
    where = {label: place for place, label in chart.y_ticks}
    assert where["1"] - where["10"] == pytest.approx(where["10"] - where["100"], abs=0.2)
    assert chart.x_ticks[-1] == (RIGHT, "10")
    ends = [float(pair.split(",")[1]) for pair in chart.lines[0].path[1:].split()]
    assert ends == [where["1"], where["100"]]


def test_changes_of_a_caption() -> None:
    pieces = [(piece.text, piece.kind) for piece in changes("a dog sits here", "a big dog runs here")]
    assert pieces == [
        ("a", "kept"),
        ("big", "new"),
        ("dog", "kept"),
        ("sits", "gone"),
        ("runs", "new"),
        ("here", "kept"),
    ]
    assert [piece.text for piece in changes("a " * 50, "")] == ["a a a a a a …"]


def test_page_of_a_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "some-run")
    add_evaluation(folder, CAPTIONS, bleu4=0.25, cider=1.5)
    page = run_view(folder, references=REFERENCES, tagger="lexicon")
    assert dict(page.facts)["best on validation"] == "epoch 3, CIDEr 0.900"
    dict(page.facts)["epochs"].startswith("6 of ")
    assert dict(page.facts)["log"] == "2026-11-21 17:01:00 to 2026-11-21 17:07:00"
    assert [chart.title for chart in page.charts] == [
        "Training loss and its parts",
        "Validation, CIDEr",
        "Validation, other scores",
        "Gradient norm",
    ]
    # The mark stands above the third of six epochs, where the validation's third dot is.
    cider = page.charts[1]
    assert cider.marks == ((cider.lines[0].dots[2][0], "best: epoch 3"),)
    assert cider.lines[0].dots[2][0] == pytest.approx((LEFT + RIGHT) / 2, abs=0.1)
    assert page.numbers is not None
    assert page.numbers.strong == (2,)
    assert [(stage.when, stage.best) for stage in page.histories[0].stages] == [("1 to 2", False), ("3 to 6", True)]
    assert page.scores is not None
    assert page.scores.rows == (("val, greedy", "4", "0.250", "1.500", "1"),)
    assert "METEOR: no Java" in page.scores.note
    assert page.written is not None
    assert page.written.lead.startswith("4 captions, 3 of them distinct (75 %); 1 break off")
    assert [(bar.name, bar.count) for bar in page.written.frequent] == [("a dog runs in the park", 2)]
    assert page.written.broken[0].name == "a dog runs in the"
    assert page.written.best[0].video == "v1"
    assert page.written.best[0].unseen == 1
    assert {item.video for item in page.written.worst} <= {"v0", "v3"}
    assert not {item.video for item in page.written.worst} & {item.video for item in page.written.best}
    assert page.written.word_shares is not None
    assert page.written.word_shares.heads == ("", "the model", "people")


def test_scores_of_videos_are_those_of_the_scorer(tmp_path: Path) -> None:
    from stg.metrics.scorer import score

    folder = make_run(tmp_path / "run")
    add_evaluation(folder, CAPTIONS)
    written = run_view(folder, references=REFERENCES, tagger="lexicon", shown=4).written
    assert written is not None
    expected = score(CAPTIONS, REFERENCES, metrics=("cider",)).per_video
    found = {item.video: dict(item.scores)["CIDEr"] for item in (*written.best, *written.worst)}
    assert found == {video: f"{values['cider']:.2f}" for video, values in expected.items()}
    assert sum(bar.count for bar in written.spread) == 4


def test_what_is_missing_is_told_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_run(tmp_path / "runs" / "my run")
    write_rows(folder, [])
    for name in ("state.json", "train.log"):
        (folder / name).unlink()
    page = run_html(run_view(folder))
    for part in (
        "No step is logged yet.",
        "There is no trained model yet",
        "val was not captioned yet.",
        "No ablation table",
    ):
        assert part in page
    assert "python -m stg.fit --run.out &#39;runs/my run&#39;" in page
    (folder / "metrics.jsonl").unlink()
    assert "not begun" in run_html(run_view(folder))
    rows = [{"kind": "step", "step": 1, "epoch": 0, "norm": 2.0, "loss": 5.0}]
    write_rows(folder, rows)
    view = run_view(folder)
    assert view.missing["numbers"] is not None
    assert view.charts[0].x_name == "steps"


def test_damaged_rows_are_counted_and_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"kind": "step", "step": 31, "loss": NaN, "norm": Infinity}\n')
        file.write('{"kind": "broken", "step": 32, "epoch": 6, "videos": ["x", "y"]}\n')
        file.write(
            '[1, 2]\n{"kind": "step"}\n{"kind": "validation", "step": 33, "cider": NaN, "samples": [1]}\n{"kind": "st'
        )
    view = run_view(folder)
    assert view.warnings == (
        "3 lines of metrics.jsonl could not be read: the page is without.",
        "1 step was not applied: loss or gradient was not finite.",
    )
    assert view.charts[0].crosses[0][1] == "step 32 was not applied; videos: x, y"
    assert dict(view.facts)["best on validation"] == "epoch 3, CIDEr 0.900"
    page = run_html(run_view(folder))
    assert not re.search(r"\bnan\b|\binf\b", page, re.IGNORECASE)


def test_no_run_and_other_searches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder"):
        run_html(run_view(tmp_path))
    folder = make_run(tmp_path / "run")
    add_evaluation(folder, CAPTIONS)
    with pytest.raises(UserError, match=r"val was not captioned by 'beam 5': choose one of 'greedy'"):
        run_html(run_view(folder, search="beam 5"))
    (folder / "evaluation" / "val-greedy-scores.json").write_text('{"scores": 3}')
    with pytest.raises(UserError, match=r"val-greedy-scores\.json is not what stg\.evaluate writes"):
        run_html(run_view(folder))


def test_a_search_that_is_not_greedy_is_preferred(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    add_evaluation(folder, CAPTIONS)
    add_evaluation(folder, CAPTIONS, stem="val-beam5")
    evaluations = read_run(folder).evaluations
    assert [one.search for one in evaluations] == ["beam5", "greedy"]
    chosen = choose(evaluations, "val", None)
    assert chosen is not None
    assert chosen.search == "beam5"
    assert choose(evaluations, "test", None) is None


def test_hostile_text_stays_text_and_nothing_else_is_loaded(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "<b>run")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["kind"] == "validation":
            row["samples"] = {HOSTILE: HOSTILE}
        else:
            row[HOSTILE] = 1.0
    rows.append({"kind": "broken", "step": 99, "videos": [HOSTILE]})
    write_rows(folder, rows)
    (folder / "state.json").write_text(json.dumps({"status": HOSTILE, "error": HOSTILE}))
    add_evaluation(folder, {HOSTILE: HOSTILE, "v1": "a\ud800 b"}, stem=f"val-{HOSTILE[9:13]}")
    page = run_html(run_view(folder, references={HOSTILE: [HOSTILE], "v1": [HOSTILE]}, tagger="lexicon"))
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>run" not in page
    assert "&lt;script&gt;alert(1)" in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "script-src &#39;none&#39;" in policy[1]
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert " style=" not in page
    page.encode()


def test_places_of_this_machine_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "alice"
    monkeypatch.setenv("HOME", str(home))
    folder = make_run(home / "secret" / "run", **{"data.store": "/data/bob/stores/w", "run.start": "~/old/run0"})
    error = f"could not read {home}/data/x.json; see https://example.org/a/b or val/test"
    (folder / "state.json").write_text(json.dumps({"status": "failed", "error": error}))
    page = run_html(run_view(folder))
    assert "alice" not in page
    assert "secret" not in page
    assert "bob" not in page
    assert "…/w" in page
    assert without_places(error) == "could not read …/x.json; see https://example.org/a/b or val/test"


def test_the_page_of_many_videos_stays_small(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", epochs=300, per_epoch=10)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["kind"] == "validation":
            row["samples"] = {f"v{place}": f"word{row['epoch']} " * 300 for place in range(14)}
    write_rows(folder, rows)
    captions = {f"v{place}": f"a dog {'abcdefghij'[place % 10] * (place // 10 + 1)} with a" for place in range(1000)}
    add_evaluation(folder, captions)
    page = run_html(run_view(folder, references={video: [text] for video, text in captions.items()}, tagger="lexicon"))
    assert len(page) < 300_000
    assert "12 of 14 sample videos are shown." in page
    assert "61 of 300 validations are listed." in page or "62 of 300 validations are listed." in page


def record(**changed: Any) -> dict[str, Any]:
    """A small table as `stg.ablate` writes it."""

    def spread(*values: float) -> dict[str, Any]:
        return {"mean": sum(values) / len(values), "deviation": 0.1 if len(values) > 1 else None, "values": [*values]}

    row = {"control": False, "seeds": [0, 1], "weights": {"trained": 1_500_000}, "minutes": {"mean": 2.5}, "verbs": {}}
    rows = [
        {**row, "name": "full", "row": "full", "title": "Our Full Model", "settings": {"data.store": "/home/alice/w"}},
        {**row, "name": "none", "row": "none", "title": "None", "settings": {"graph.variant": "none"}},
    ]
    rows[0]["scores"] = {"greedy": {"cider": spread(1.0, 1.2)}}
    rows[1]["scores"] = {"greedy": {"cider": spread(0.5)}, "beam 5": {"cider": spread(0.6)}}
    rows[1]["seeds"] = [0]
    return {
        "table": "graph",
        "title": "a title",
        "dataset": "world",
        "split": "test",
        "searches": ["greedy", "beam 5"],
        "reference": "full",
        "rows": rows,
        "differences": [
            {
                "row": "none",
                "against": "full",
                "settings_apart": 2,
                "scores": {"greedy": {"cider": {"difference": -0.6, "deviations": -3.0}}},
            }
        ],
        "in_units_of_deviations": "so",
        "published": [],
        "notes": [],
        "missing": {"none-seed1": "not begun"},
        "cells": 4,
        **changed,
    }


def test_ablation_tables(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (tmp_path / "table.json").write_text(json.dumps(record(title=HOSTILE)))
    (tmp_path / "table.svg").write_text("<svg><script>alert(3)</script></svg>")
    found = read_ablation(tmp_path)
    greedy, beam = found.tables
    assert greedy.heads == ("row", "seeds", "CIDEr", "weights", "minutes")
    assert greedy.rows == (("full", "2", "1.100 ± 0.100", "1.50M", "2.5"), ("none", "1", "0.500", "1.50M", "2.5"))
    assert greedy.strong == (0,)
    assert [row[2] for row in beam.rows] == ["-", "0.600"]
    assert found.more[0].rows == (("none", "full (2 settings)", "-0.600 (-3.0)"),)
    assert found.more[1].rows[0] == ("full", "data.store …/w")
    assert len(found.plots) == 2
    page = run_html(run_view(folder, ablations=[tmp_path, tmp_path / "table.json"]))
    assert page.count('src="data:image/svg+xml;base64,') == 4
    assert "1 of 4 cells are missing" in page
    assert "<script" not in page


@pytest.mark.parametrize("changed", [{"rows": 3}, {"rows": [{}]}, {"differences": [1]}, {"missing": []}])
def test_a_table_that_is_not_ours_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"holds no ablation table"):
        read_ablation(tmp_path)
    (tmp_path / "table.json").write_text(json.dumps(record(**changed)))
    with pytest.raises(UserError, match=r"table\.json is not a table of stg\.ablate"):
        read_ablation(tmp_path)
