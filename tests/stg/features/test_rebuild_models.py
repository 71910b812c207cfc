"""Models on networks of transformers and timm caption new clips as their stored graphs; other settings are refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants

import stg
from graphs import GraphStore
from stg.commands.import_features import main as import_features
from stg.commands.parser import run_command
from stg.config.extraction import ImportConfig, NetworkConfig
from stg.features.precomputed.description import Description
from stg.features.precomputed.importer import Importer
from stg.runtime.errors import UserError
from stg.vision.registry import locate
from tests.stg import make_models
from tests.stg.commands.test_caption import clip, from_store
from tests.stg.features.test_rebuild import Bench
from tests.stg.make_hub import Hub

FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    make_models.write_clip(folder / "clip")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with me/clip, and a cache of its own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = make_models.write_clip(tmp_path / "theirs")
    files = {name: (folder / name).read_bytes() for name in FILES}
    with Hub({"me/clip": files | {"pytorch_model.bin": b"a pickle"}}).open() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def same_captions(bench: Bench, *places: Path) -> None:
    captioner, expected = bench.load(*places), from_store(bench, 2)
    for path in bench.files:
        found = captioner.describe(path)
        assert (found.caption, found.log_prob) == (
            expected[path.stem].text,
            pytest.approx(expected[path.stem].log_prob, abs=1e-3),
        )


def test_a_clip_gets_the_caption_of_its_stored_graph(models: Path, tmp_path: Path) -> None:
    make_models.write_detr(models / "eye", "rt_detr")
    make_models.write_videomae(models / "motion")
    chosen = {"backbone": f"hf:{models}/clip", "detector": f"hf:{models}/eye", "motion": f"hf:{models}/motion"}
    bench = Bench(tmp_path / "bench", models, **chosen, motion_span=4)
    bench.save("concat")
    with GraphStore(bench.store) as store:
        made = store.manifest
        names = [made[part]["name"] for part in ("backbone", "detector", "motion")]
        assert names == ["clip", "rt_detr", "videomae"]
        assert store.get("clip0")["scene"].shape == (3, 12)
        assert len(store.get("clip0")["boxes"]) > 0
    same_captions(bench, models)

    settings = models / "clip" / "preprocessor_config.json"
    kept = settings.read_text()
    settings.write_text(json.dumps(json.loads(kept) | {"image_mean": [0.0, 0.0, 0.0]}))
    with pytest.raises(UserError, match=r"backbone.processor.image_mean: trained on \[0.4, 0.5, 0.6\], now \[0.0"):
        bench.load(models)
    settings.write_text(kept)
    shutil.rmtree(models / "clip")
    with pytest.raises(UserError, match=r"the backbone of this model needs clip: model.safetensors \(sha256 "):
        bench.load(models)
    make_models.write_clip(models / "clip", seed=9)
    with pytest.raises(UserError, match=r"backbone.sha256: trained on"):
        bench.load(models)


def test_a_network_of_timm_describes_clips(tmp_path: Path) -> None:
    folder = make_models.write_timm(tmp_path / "models" / "net", "test_convnext")
    bench = Bench(tmp_path / "bench", tmp_path / "models", backbone=f"timm:{folder}")
    same_captions(bench, folder)


def test_a_network_of_a_hub_is_fetched_where_that_is_wished(hub: Hub, tmp_path: Path) -> None:
    advice = "add --download; or elsewhere, `hf download me/clip --local-dir FOLDER` .* give it as --backbone hf:FOLDER"
    with pytest.raises(UserError, match=f"backbone hf:me/clip: neither a folder .* {advice}"):
        locate(NetworkConfig(backbone="hf:me/clip", detector="none"))
    assert hub.asked == []
    locate(NetworkConfig(backbone="hf:me/clip", detector="none"), fetch=True)
    bench = Bench(tmp_path / "bench", tmp_path, backbone="hf:me/clip")
    same_captions(bench, tmp_path / "clips")
    assert not list((tmp_path / "cache").rglob("*.bin"))
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UserError, match="the backbone of this model needs me/clip"):
        stg.load(bench.run)
    assert stg.load(bench.run, download=True).caption(bench.files[0])


def test_all_that_is_missing_of_models_is_named_at_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "clip" / "preprocessor_config.json").unlink()
    choice = NetworkConfig(backbone=f"hf:{models}/clip", detector="hf:nowhere", motion="hf:me/mae")
    with pytest.raises(UserError) as raised:
        locate(choice)
    said = str(raised.value)
    assert "clip lacks preprocessor_config.json" in said
    assert "detector hf:nowhere is neither a folder nor the name of a model on a hub" in said
    assert "motion hf:me/mae: neither a folder" in said
    monkeypatch.setattr("stg.vision.model_folders.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"hf:me/mae needs transformers, which is not installed: pip install .*\[hf\]"):
        locate(choice)


def test_words_for_a_detector_that_takes_none_are_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--detector_words needs a detector that takes words"):
        stg.extract(
            clip(tmp_path / "one.mp4"), tmp_path / "s",
            networks=NetworkConfig(backbone=f"hf:{models}/clip", detector="none", detector_words="a ball"),
        )  # fmt: skip
    with pytest.raises(ValueError, match="detector_words names what to look for"):
        NetworkConfig(detector_words=" , ")


def describe(folder: Path, **changes: object) -> Path:
    made = {"name": "CLIP", "version": "1", "num_frames": 3, "scene": {"source": "scene", "width": 12}}
    path = folder / "features.json"
    path.write_text(json.dumps(made | changes))
    return path


def test_imported_features_and_their_backbone_caption_new_clips(models: Path, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "bench", models, backbone=f"hf:{models}/clip")
    (tmp_path / "scene").mkdir()
    with GraphStore(bench.store) as store:
        for video in list(store):
            np.save(tmp_path / "scene" / f"{video}.npy", store.get(video)["scene"].float().numpy())
    extracted, bench.store = from_store(bench, 2), tmp_path / "imported"
    path = describe(tmp_path, backbone=f"hf:{models}/clip")
    assert run_command(ImportConfig, import_features, "", [str(path), "--out", str(bench.store)]) == 0
    bench.save("scene")
    assert {name: found.text for name, found in from_store(bench, 2).items()} == {
        name: found.text for name, found in extracted.items()
    }
    same_captions(bench, models)
    # Without it there is nothing that could describe a clip.
    bench.store = tmp_path / "unnamed"
    assert run_command(ImportConfig, import_features, "", [str(describe(tmp_path)), "--out", str(bench.store)]) == 0
    bench.save("scene")
    with pytest.raises(UserError, match=r"not new clips .imported scene features can, where their description names"):
        bench.load(models)


def test_a_backbone_that_cannot_have_made_the_features_is_refused(models: Path, tmp_path: Path) -> None:
    (tmp_path / "scene").mkdir()
    np.save(tmp_path / "scene" / "v.npy", np.zeros((3, 16), np.float32))
    path = describe(tmp_path, backbone=f"hf:{models}/clip", scene={"source": "scene", "width": 16})
    with pytest.raises(UserError, match="makes scene features of width 12, and the description says 16"):
        Importer(Description.read(path), tmp_path)
    with pytest.raises(UserError, match="backbone needs the scene that it made, of frames centres or linspace"):
        Description.read(describe(tmp_path, backbone="resnet101", frames="stride:8"))
