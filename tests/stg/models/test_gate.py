"""One decoder that attends to the scene and, through a gate, to the graph; begun with the weights of a scene model."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from decoders import TransformerDecoder
from graphs import FlatBatch
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.training import FitConfig, OptimConfig, RunConfig
from stg.datasets.open import open_dataset
from stg.explain.attention import attentions
from stg.explain.attention_projection import attributions_of
from stg.explain.deletion import DeletionTest
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.decoders import DECODERS, DecoderSpec
from stg.models.feature_kinds import FeatureWidths
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.training.loop import fit
from tests.stg.changed import with_changes
from tests.stg.models.test_readout import model_of, one_video, videos

WORDS = torch.tensor([[1, 5, 6], [1, 6, 5], [1, 5, 5]])


def opened(model: Captioner) -> Captioner:
    """The model with gates that let everything through."""
    assert isinstance(model.decoder, TransformerDecoder)
    for name, weight in model.decoder.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.constant_(weight, 1.0)
    return model


@pytest.mark.parametrize("readout", ["frames", "nodes", "tracks", "queries"])
def test_scene_and_graph_are_read_apart_and_no_padding(readout: str) -> None:
    model, batch = opened(model_of(readout=readout, join="gate")), videos()
    scene = model_of(branches="scene")
    assert scene.scene is not None
    memory = model.memory(batch)
    assert memory.frames.shape == scene.memory(batch).frames.shape
    assert memory.objects is not None
    assert model.needs_objects
    assert model.for_captioning() is model

    def features(batch: FlatBatch) -> Tensor:
        return model.decoder.features(WORDS, model.memory(batch))

    whole = features(batch)
    for name, row, video in (("x", 0, 0), ("scene", 4, 1), ("x", 6, 2)):
        changed = batch[name].clone()
        changed[row] += 1.0
        moved = (features(videos(**{name: changed})) - whole).abs().flatten(1).amax(1) > 1e-9
        assert moved.tolist() == [row == video for row in range(3)], name
    empty = {name: batch[name][:0] for name in ("x", "boxes", "frame", "batch", "track", "edge_weight")}
    none = features(videos(**empty, edge_index=batch.edge_index[:, :0]))
    assert bool(none.isfinite().all())
    torch.testing.assert_close(none[1], whole[1])


def test_closed_gates_leave_the_model_of_the_scene() -> None:
    model, scene = model_of(readout="nodes", join="gate"), model_of(branches="scene")
    model.load_state_dict(model.state_dict() | scene.state_dict())
    read = model.memory(videos())
    assert torch.equal(model.decoder.features(WORDS, read), scene.decoder.features(WORDS, scene.memory(videos())))
    assert not torch.equal(opened(model).decoder.features(WORDS, read), scene.decoder.features(WORDS, read))


@pytest.mark.parametrize("readout", ["nodes", "tracks"])
def test_attention_shows_frames_and_objects_each_by_itself(readout: str) -> None:
    model, batch = opened(model_of(readout=readout, join="gate")), one_video()
    memory = model.memory(batch)
    found = attentions(model.decoder, [5, 6], memory)
    frames, objects = attributions_of(found, memory, graph=batch)
    assert (frames.name, objects.name) == ("frames", "objects")
    assert frames.nodes is None
    assert frames.frames is not None
    torch.testing.assert_close(torch.from_numpy(frames.frames), found.maps[0].steps)
    steps = found.maps[1].steps
    assert steps is not None
    wanted = steps
    if readout == "tracks":
        # Steps: track 4 (objects 0 and 3), track 1 (objects 1 and 2), object 4.
        wanted = torch.stack([steps[:, 0] / 2, steps[:, 1] / 2, steps[:, 1] / 2, steps[:, 0] / 2, steps[:, 2]], 1)
    assert objects.nodes is not None
    assert objects.frames is not None
    torch.testing.assert_close(torch.from_numpy(objects.nodes), wanted)
    pictures = torch.stack([wanted[:, :2].sum(1), wanted[:, 2:4].sum(1), wanted[:, 4]], 1)
    torch.testing.assert_close(torch.from_numpy(objects.frames), pictures)
    # tanh(1) is let through by each of the two layers.
    assert "A gate lets through 0.76, 0.76 of it" in objects.note


def test_the_deletion_test_hides_objects() -> None:
    model, batch = opened(model_of(readout="nodes", join="gate")), one_video()
    test = DeletionTest(count=1)
    test.add(model.decoder, [5, 6], model.memory(batch))
    hidden = {found.title: found.hides for found in test.results()}
    assert hidden == {"frames": "frames", "objects": "objects"}
    assert all(found.attended != 0 for found in test.results())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"branches": "full"}, "join='gate' is for branches joint, which reads both; got full"),
        ({"branches": "joint", "decoder": "attention_lstm"}, "needs a decoder that attends to scene and graph apart"),
    ],
)
def test_settings_that_cannot_be_gated_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(join="gate", **settings)


def test_a_decoder_of_a_plugin_that_reads_no_objects_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DECODERS, "mine", DecoderSpec(lambda *_: None, lambda *_: {"frames": "decoder"}))  # type: ignore[arg-type,return-value]
    config = ModelConfig(join="gate", branches="joint")
    object.__setattr__(config, "decoder", "mine")
    widths = FeatureWidths(scene=5, motion=0, objects=6)
    with pytest.raises(
        ValueError, match=r"model\.join gate needs a decoder that attends to the memory's objects; mine"
    ):
        build_captioner(config, GraphConfig(), widths=widths, vocabulary=9, max_words=5)


WORLD = WorldConfig(train=8, val=3, test=3)


def trained(folder: Path, name: str, **changes: Any) -> tuple[Path, str]:
    config = FitConfig(
        data=DataConfig(store=str(folder / "store"), min_count=1),
        world=WORLD,
        model=ModelConfig(branches="scene", channels=8, heads=2, hidden=8, layers=1),
        optim=OptimConfig(batch_videos=4, epochs=1, epoch_captions=2, lr=1e-2),
        run=RunConfig(out=str(folder / name), samples=0),
    )
    config = with_changes(config, changes)
    text = io.StringIO()
    fit(config, reporter=ConsoleReporter(Console(file=text, width=200)))
    return folder / name, text.getvalue()


def test_a_gated_model_begins_as_the_scene_model_that_it_starts_from(tmp_path: Path) -> None:
    open_dataset(DataConfig(store=str(tmp_path / "store")), WORLD).store.close()
    # The layer that predicts words reads objects too from then on: of another shape, it begins afresh.
    scene, _ = trained(tmp_path, "scene", loss={"word_weight": 0.5})
    gate = {"model": {"branches": "joint", "join": "gate", "readout": "nodes"}, "run": {"start": str(scene)}}
    out, said = trained(tmp_path, "gate", **gate, optim={"lr": 1e-12}, loss={"word_weight": 0.5})
    before, after = (CaptionerBundle.load(run / "model.safetensors").captioner for run in (scene, out))
    mine = dict(before.named_parameters())
    assert mine.pop("words.scene.weight").shape[1] == 2 * 8
    fresh = sum(weight.numel() for name, weight in after.named_parameters() if name not in mine)
    assert f"beginning with the weights of {scene}; {fresh:,} others are new" in said
    assert after.objects is not None
    assert fresh > 0
    for name, weight in after.named_parameters():
        if name in mine:
            torch.testing.assert_close(weight, mine[name], rtol=0, atol=1e-9)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    best = [json.loads(line) for line in (scene / "metrics.jsonl").read_text().splitlines()]
    start = next(row for row in rows if row["kind"] == "start")
    assert start["cider"] == max(row["cider"] for row in best if row["kind"] == "validation")
    # The sequence mixes both from the first step on: it is another model.
    for settings, message in (
        ({**gate["model"], "join": "sequence", "hidden": 8}, "model.branches: was 'scene', now 'joint'"),
        ({**gate["model"], "hidden": 16}, r"holds another model \(model.hidden: was 8, now 16\)"),
    ):
        with pytest.raises(UserError, match=message):
            trained(tmp_path, f"refused-{settings['hidden']}", model=settings, run=gate["run"])
