"""``evaluate --metrics``: which metrics are computed, those of plugins included."""

import json
from pathlib import Path

import pytest

import stg
from stg.config.data import DataConfig, WorldConfig
from stg.config.evaluation import EvaluateConfig
from stg.datasets.open import open_dataset
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


@pytest.mark.parametrize(
    ("metrics", "others", "said"),
    [
        ("bleu,cidre", {}, r"metrics must be one of bleu, rouge, .*; got 'cidre'; did you mean 'cider'\?"),
        ("", {}, "metrics must be one of bleu, .*; got ''"),
        ("meteor", {"meteor": False}, "names meteor, and --meteor false leaves it out"),
        ("spice", {}, "give their folder by --spice"),
    ],
)
def test_metrics_that_cannot_be_are_refused(metrics: str, others: dict[str, bool], said: str) -> None:
    with fresh_process(), pytest.raises(ValueError, match=said):
        EvaluateConfig("run", metrics=metrics, **others)


def test_by_default_all_are_computed() -> None:
    known = ("bleu", "meteor", "mine")
    assert EvaluateConfig("run").chosen_metrics(known) == known
    assert EvaluateConfig("run", meteor=False).chosen_metrics(known) == ("bleu", "mine")
    assert EvaluateConfig("run", metrics="cider,bleu, cider").chosen_metrics(known) == ("cider", "bleu")
