"""``evaluate --metrics``: which metrics are computed, those of plugins included."""

import json
from pathlib import Path
from typing import Any

import pytest

import stg
from stg.config.data import DataConfig, WorldConfig
from stg.config.evaluation import EvaluateConfig
from stg.datasets.open import open_dataset
from stg.runs.evaluations import read_scores
from tests.stg.plug_in import EXAMPLES, command, fresh_process

PLUGIN = EXAMPLES / "my_metric.py"
WORLD = {"train": 4, "val": 2, "test": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metrics")
    open_dataset(DataConfig(store=str(folder / "store")), WorldConfig(**WORLD)).store.close()
    return stg.fit(
        data={"store": str(folder / "store"), "min_count": 1},
        world=WORLD,
        model={"branches": "scene", "channels": 8, "heads": 2, "hidden": 8, "layers": 1},
        optim={"epochs": 1},
        run={"out": str(folder / "run"), "samples": 0, "device": "cpu"},
    )


def test_the_metrics_that_are_named_are_computed_and_no_others(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["evaluate", run, "--split", "test", "--beam", 1, "--metrics", "words, cider", "--plugin", PLUGIN]
    assert command(*asked) == 0  # type: ignore[arg-type]
    scores = json.loads((run / "evaluation/test-greedy-scores.json").read_text())["scores"]
    captions = [row["caption"] for row in json.loads((run / "evaluation/test-greedy.json").read_text())]
    assert scores.keys() == {"words", "cider"}
    assert scores["words"] == pytest.approx(sum(len(text.split()) for text in captions) / 3)
    shown = capsys.readouterr().out
    assert "words" in shown
    assert "CIDEr" in shown
    assert "BLEU" not in shown
    # Whoever reads such scores goes by what is there.
    compared = ["compare", run, "--split", "test", "--search", "greedy", "--meteor", "false"]
    assert command(*compared) == 0  # type: ignore[arg-type]
    assert command("report", run, "--out", run / "page.html") == 0


def test_recorded_scores_of_the_same_captions_stay_and_others_are_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["evaluate", run, "--split", "test", "--beam", "1", "--out", tmp_path]
    file = tmp_path / "test-greedy-scores.json"
    assert command(*asked, "--metrics", "bleu,rouge") == 0
    first = read_scores(file)
    assert first["scores"].keys() == {"bleu1", "bleu2", "bleu3", "bleu4", "rouge"}
    # A reason of an earlier call stays, too, until there is a score.
    file.write_text(json.dumps({**first, "unavailable": {"meteor": "no Java", "cider": "no Java"}}))
    assert command(*asked, "--metrics", "cider") == 0
    second = read_scores(file)
    assert second["scores"] == {**first["scores"], "cider": second["scores"]["cider"]}
    assert second["unavailable"] == {"meteor": "no Java"}
    assert "no longer holds" not in capsys.readouterr().out
    # Scores of other references, and of other captions, do not hold.
    file.write_text(json.dumps({**second, "references": "of another annotation"}))
    assert command(*asked, "--metrics", "rouge") == 0
    assert read_scores(file)["scores"] == {"rouge": first["scores"]["rouge"]}
    assert f"{file} no longer holds BLEU-1, BLEU-2, BLEU-3, BLEU-4, CIDEr, which" in capsys.readouterr().out
    captions = tmp_path / "test-greedy.json"
    captions.write_text(captions.read_text().replace('"caption": "', '"caption": "once '))
    assert command(*asked, "--metrics", "cider") == 0
    assert read_scores(file)["scores"] == {"cider": second["scores"]["cider"]}
    assert f"{file} no longer holds ROUGE-L, which" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("metrics", "others", "said"),
    [
        ("bleu,cidre", {}, r"metrics must be one of bleu, rouge, .*; got 'cidre'; did you mean 'cider'\?"),
        ("", {}, "metrics must be one of bleu, .*; got ''"),
        ("meteor", {"meteor": False}, "names meteor, and --meteor false leaves it out"),
        ("spice", {}, "give their folder by --spice"),
        ("cider", {"spice": "folder"}, "--spice gives the files of spice, and --metrics leaves it out"),
    ],
)
def test_metrics_that_cannot_be_are_refused(metrics: str, others: dict[str, Any], said: str) -> None:
    with fresh_process(), pytest.raises(ValueError, match=said):
        EvaluateConfig("run", metrics=metrics, **others)


def test_by_default_all_are_computed() -> None:
    known = ("bleu", "meteor", "mine")
    assert EvaluateConfig("run").chosen_metrics(known) == known
    assert EvaluateConfig("run", meteor=False).chosen_metrics(known) == ("bleu", "mine")
    assert EvaluateConfig("run", metrics="cider,bleu, cider").chosen_metrics(known) == ("cider", "bleu")
