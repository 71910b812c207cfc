"""Event classifiers: which events a branch can distinguish."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from graphs import FileLock, GraphStore
from stg.config.data import DataConfig, WorldConfig
from stg.config.probe import ProbeConfig
from stg.config.store import EdgeConfig
from stg.data.batches import BatchSource, shuffle_features
from stg.datasets.open import open_dataset
from stg.evaluation.event_classifier import EventClassifier, train_and_test
from stg.evaluation.probing import edges_in_words, probe, to_markdown
from stg.runtime.errors import Preempted, UserError
from stg.runtime.progress import ConsoleReporter
from tests.graphs.made_graphs import made_graph

WORLD = WorldConfig(train=6, val=3, test=4)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "world"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def config(store: Path, out: Path, **settings: object) -> ProbeConfig:
    small = {"world": WORLD, "epochs": 1, "channels": 8, "batch_videos": 4, "seeds": "0,1", "rows": "scene,full"}
    return ProbeConfig(out=str(out), store=str(store), **{**small, **settings})


def test_every_row_and_seed_is_scored_and_reported(store: Path, tmp_path: Path) -> None:
    found = probe(config(store, tmp_path, rows="scene,dense,full-shuffled"))
    assert {row: list(seeds) for row, seeds in found.items()} == {
        row: [0, 1] for row in ("scene", "dense", "full-shuffled")
    }
    record = json.loads((tmp_path / "table.json").read_text())
    for row in record["rows"]:
        assert row["scores"]["classifier"]["event"]["values"] == [s["event"] for s in found[row["name"]].values()]
    assert [row["control"] for row in record["rows"]] == [False, False, True]
    assert (tmp_path / "table.svg").read_text().startswith("<svg")


def test_it_resumes_where_it_was_stopped_with_the_same_results(store: Path, tmp_path: Path) -> None:
    whole = probe(config(store, tmp_path / "whole"))
    # Two steps a seed and row: stopped within the third.
    asked = iter([False] * 4 + [True])
    with pytest.raises(Preempted, match="the same command resumes"):
        probe(config(store, tmp_path / "two"), reporter=ConsoleReporter(QUIET, lambda: next(asked)))
    before = (tmp_path / "two" / "results.jsonl").read_text()
    assert before.count("\n") == 2
    (tmp_path / "two" / "results.jsonl").write_text(before + '{"row": "sce')  # cut short by a kill
    assert probe(config(store, tmp_path / "two")) == whole
    assert (tmp_path / "two" / "results.jsonl").read_text().startswith(before)


def test_one_process_writes_a_table(store: Path, tmp_path: Path) -> None:
    lock = FileLock(tmp_path / ".lock")
    with pytest.raises(UserError, match=r"is being written by process \d+ on host .* since 2"):
        probe(config(store, tmp_path))
    lock.release()


def test_other_settings_are_refused(store: Path, tmp_path: Path) -> None:
    probe(config(store, tmp_path, seeds="0", rows="none"))
    with pytest.raises(UserError, match=r"epochs: was 1, now 2.*choose another --out"):
        probe(config(store, tmp_path, epochs=2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rows": "scene,graph"}, "rows must be of scene, none, .*; got 'scene,graph'"),
        ({"seeds": "0,0"}, "seeds must be different whole numbers from 0"),
        ({"seeds": "0,x"}, "seeds must be different whole numbers from 0"),
        ({"channels": 20}, "channels must be a multiple of 8; got 20"),
        ({"epochs": 0}, "epochs must be greater than 0; got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProbeConfig(**settings)


def test_markdown_has_mean_and_deviation() -> None:
    scores = {"classifier": {"event": {"mean": 0.5, "deviation": 0.125, "values": [0.4, 0.6]}}}
    record = {
        "title": "which events",
        "dataset": "world",
        "edges": edges_in_words(EdgeConfig(tau_time=0.1, drop_zero_iou=True)),
        "settings": {"world": {"train": 3, "val": 2, "test": 1}},
        "commits": ["c", "d"],
        "rows": [{"name": "full", "seeds": [0, 1], "scores": scores}],
    }
    assert "| full | 2 | 0.500 ± 0.125 |" in to_markdown(record)
    assert "Commit c, d." in to_markdown(record)
    assert "Edges: tau_time 0.1, drop_zero_iou True." in to_markdown(record)
    assert edges_in_words(EdgeConfig()) == "as in the paper"


def graphs(path: Path) -> tuple[GraphStore, dict[str, list[str]], dict[str, int]]:
    """Videos whose event is the sign of their objects' first feature; one of them has no object at all."""
    store = GraphStore(path, "w")
    label = {}
    for number in range(48):
        graph = made_graph([0, 0] if number == 5 else [2, 1], seed=number)
        graph.x = torch.randn(graph.x.shape, generator=torch.Generator().manual_seed(number))
        graph.x[:, 0] = 3.0 * (2 * (number % 2) - 1)
        label[f"v{number}"] = number % 2
        store.put(f"v{number}", graph)
    names = list(label)
    return store, {"train": names[:32], "val": names[32:40], "test": names[40:]}, label


def classifier(store: GraphStore, **settings: object) -> EventClassifier:
    torch.manual_seed(0)
    width = store.get("v0").x.shape[1]
    return EventClassifier(**{"scene": None, "objects": width, "classes": 2, "channels": 16, **settings})


def test_the_graph_branch_learns_what_its_objects_show_and_the_control_does_not(tmp_path: Path) -> None:
    store, splits, label = graphs(tmp_path / "store")
    settings = {"seed": 0, "epochs": 12, "batch_videos": 8, "lr": 3e-3}
    source = BatchSource(store, "none")
    right, found = train_and_test(classifier(store), source, splits, label, **settings)
    assert right == 1.0
    assert found == {video: label[video] for video in splits["test"]}
    taken = {k: v for videos in splits.values() for k, v in shuffle_features(videos, 1).items()}
    swapped = {video: label[taken[video]] for video in label}
    # Features of another video, whose event they show: right where both happen to have one event.
    source = BatchSource(store, "none", shuffled=taken)
    _, found = train_and_test(classifier(store), source, splits, swapped, **settings)
    assert found == {video: swapped[video] for video in splits["test"]}


def test_padding_and_other_videos_of_a_batch_change_nothing(tmp_path: Path) -> None:
    store, _, _ = graphs(tmp_path / "store")
    model = classifier(store).double().eval()
    together = store.batch(["v0", "v5", "v1"]).to("cpu")
    together.x, together.edge_weight = together.x.double(), together.edge_weight.double()
    alone = store.batch(["v1"])
    alone.x, alone.edge_weight = alone.x.double(), alone.edge_weight.double()
    torch.testing.assert_close(model(together)[2], model(alone)[0])
    assert model(together).isfinite().all()
