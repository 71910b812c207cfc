"""``stg ship``, ``stg models``, and captions by a captioner that comes with the installation."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import stg
from stg.commands.caption import main as caption
from stg.commands.parser import run_command
from stg.commands.ship import main as ship
from stg.commands.shipped import main as models
from stg.config.captioning import CaptionConfig
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.search import SearchConfig
from stg.config.shipping import ModelsConfig, ShipConfig
from stg.config.training import FitConfig, LossConfig, OptimConfig, RunConfig
from stg.datasets.world.dataset import World
from stg.evaluation import shipping
from stg.runs import shipped
from stg.runs.bundle import CaptionerBundle
from stg.runs.shipped import read_card, read_origins, shipped_models
from stg.runs.tensors import load_tensors, save_tensors
from stg.runtime.errors import UserError
from stg.training.loop import fit
from tests.stg.commands.test_caption import Bench


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the world that differ in their seed, evaluated, in ``run0`` and ``run1``."""
    folder = tmp_path_factory.mktemp("trained")
    for seed in (0, 1):
        config = FitConfig(
            data=DataConfig(store=str(folder / "store"), min_count=1),
            world=WorldConfig(train=3, val=3, test=2),
            model=ModelConfig(branches="scene", channels=16, heads=2, hidden=16, layers=1),
            loss=LossConfig(word_weight=1.0),
            optim=OptimConfig(epochs=1, epoch_captions=1),
            run=RunConfig(out=str(folder / f"run{seed}"), samples=0, seed=seed),
        )
        fit(config)
        stg.evaluate(folder / f"run{seed}", "test", metrics=("cider", "bleu"), device="cpu")
    World(train=3, val=3, test=2).write_mp4("test-00000", folder / "clip.mp4")
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation's folder of captioners, with the origins of its networks and no captioner."""
    place = tmp_path / "pretrained"
    shutil.copytree(shipped.PRETRAINED / "networks", place / "networks")
    monkeypatch.setattr(shipped, "PRETRAINED", place)
    monkeypatch.setattr(shipping, "PRETRAINED", place)
    return place


def shipping_words(trained: Path, *more: str) -> list[str]:
    return [str(trained / "run0"), "--weights", str(trained), "--name", "small", *more]


def test_a_shipped_run_captions_where_no_model_is_given(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shipping_words(trained, "--default")
    assert run_command(ShipConfig, ship, "", [words[0], str(trained / "run1"), *words[1:]]) == 0
    assert "half precision changes " in capsys.readouterr().out
    clip = trained / "clip.mp4"
    expected = stg.load(trained / "run0", device="cpu").caption(clip)
    assert stg.load(device="cpu").caption(clip) == stg.load("small", device="cpu").caption(clip) == expected
    assert run_command(CaptionConfig, caption, "", [str(clip), "--workers", "0"]) == 0
    assert capsys.readouterr().out.startswith(f"{clip}: {expected}   (confidence")
    # The card says what was recorded, over both seeds.
    scores = [json.loads((trained / f"run{n}/evaluation/test-beam5-scores.json").read_text())["scores"] for n in (0, 1)]
    facts = read_card(place / "small/card.md")
    assert facts["scores"]["test, beam 5"]["cider"]["values"] == [round(each["cider"], 4) for each in scores]
    assert facts["default"] is True
    assert (facts["networks"], facts["needs_detector"]) == ({}, False)
    assert facts["data"].endswith("3 / 3 / 2 videos")


def test_a_captioner_is_searched_as_its_card_says(trained: Path, place: Path) -> None:
    words = shipping_words(trained, "--search.length_penalty", "0.5", "--search.max_length", "2")
    assert run_command(ShipConfig, ship, "", words) == 0
    assert read_card(place / "small/card.md")["search"] == "beam 5 +penalty0.5 +max2"
    assert stg.load("small", device="cpu").search == SearchConfig(length_penalty=0.5, max_length=2)
    asked = stg.load("small", device="cpu", search=SearchConfig(max_length=4)).search
    assert asked == SearchConfig(length_penalty=0.5, max_length=4)
    assert stg.load(trained / "run0", device="cpu").search == SearchConfig()


def test_the_layer_that_predicts_words_comes_along_where_the_search_reads_it(trained: Path, place: Path) -> None:
    assert run_command(ShipConfig, ship, "", shipping_words(trained, "--search.word_weight", "0.1")) == 0
    captioner = stg.load("small", device="cpu")
    assert captioner.search == SearchConfig(word_weight=0.1)
    ours, theirs = (model.trained.captioner.words for model in (captioner, stg.load(trained / "run0", device="cpu")))
    assert ours is not None
    assert theirs is not None
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), atol=1e-3, rtol=1e-3)
    shutil.rmtree(place / "small")
    assert run_command(ShipConfig, ship, "", shipping_words(trained)) == 0
    assert stg.load("small", device="cpu").trained.captioner.words is None
    with pytest.raises(UserError, match=r"holds the layer \(older ones do not\): leave search\.word_weight out"):
        stg.load("small", device="cpu", search=SearchConfig(word_weight=0.1))


def test_models_lists_scores_by_the_search_that_captions(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_command(ShipConfig, ship, "", shipping_words(trained)) == 0
    capsys.readouterr()
    assert models(ModelsConfig()) == 0
    table = capsys.readouterr().out
    assert "test, beam 5: " in table
    assert "greedy" not in table
    # Of a search that was not scored, all that was.
    shutil.rmtree(place / "small")
    assert run_command(ShipConfig, ship, "", shipping_words(trained, "--search.beam", "3")) == 0
    capsys.readouterr()
    assert models(ModelsConfig()) == 0
    table = capsys.readouterr().out
    assert "test, beam 5: " in table
    assert "test, greedy: " in table


def test_models_lists_and_finds_damage(trained: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(ModelsConfig, models, "", []) == 0
    assert "no captioner comes with this installation" in capsys.readouterr().out
    assert run_command(ShipConfig, ship, "", shipping_words(trained)) == 0
    capsys.readouterr()
    assert run_command(ModelsConfig, models, "", ["--json"]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["name"], row["damaged"]) == ("small", [])
    assert row["megabytes"] == (place / "small/model.safetensors").stat().st_size / 2**20
    with open(place / "small/model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    assert run_command(ModelsConfig, models, "", []) == 1
    said = capsys.readouterr()
    assert "damaged" in said.out
    assert "files of small are missing or damaged" in said.err


def test_half_precision_is_taken_where_captions_stay(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_command(ShipConfig, ship, "", shipping_words(trained)) == 0
    tensors, _ = load_tensors(place / "small/model.safetensors")
    kinds = {name: tensor.dtype for name, tensor in tensors.items()}
    # Deviations of features lie beyond what half precision holds.
    assert {kind for name, kind in kinds.items() if name.startswith("standardise.")} == {torch.float32}
    assert {kind for name, kind in kinds.items() if not name.startswith("standardise.")} == {torch.float16}
    assert read_card(place / "small/card.md")["half_precision"] == {"used": True, "changed": 0, "captions": 3}
    # Weights so rounded that nothing of the captions is left.
    save = CaptionerBundle.save

    def zeros(bundle: CaptionerBundle, path: Path, *, half: bool = False, words: bool = True) -> None:
        save(bundle, path, half=half, words=words)
        if half:
            tensors, header = load_tensors(path)
            save_tensors(path, {name: tensor * 0 for name, tensor in tensors.items()}, header)

    monkeypatch.setattr(CaptionerBundle, "save", zeros)
    words = shipping_words(trained)
    assert run_command(ShipConfig, ship, "", [*words[:-1], "rounded"]) == 0
    facts = read_card(place / "rounded/card.md")["half_precision"]
    assert (facts["used"], facts["captions"]) == (False, 3)
    assert facts["changed"] > 0
    tensors, _ = load_tensors(place / "rounded/model.safetensors")
    assert torch.float16 not in {tensor.dtype for tensor in tensors.values()}


REFUSED = {
    "": "small is there already: remove it, or give another --name",
    "--name networks": "not networks; got 'networks'",
    "--name A/b": "name must be lower-case letters, digits, - and _",
    "--name other --control gone": "gone is not a run folder (it has no config.json)",
    "--name other --origins gone.json": "could not read gone.json",
    "--name other --notes gone.md": "could not read gone.md",
}


def test_what_cannot_be_shipped_is_refused(trained: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(ShipConfig, ship, "", shipping_words(trained)) == 0
    for more, said in REFUSED.items():
        assert run_command(ShipConfig, ship, "", shipping_words(trained, *more.split())) == 2, more
        assert said in capsys.readouterr().err
    assert [model.name for model in shipped_models()] == ["small"]
    assert not (place / "other").exists()


def test_no_captioner_and_a_wrong_name_say_what_to_do(
    trained: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"no captioner comes with this installation: give one with --model RUN"):
        stg.load()
    assert run_command(CaptionConfig, caption, "", [str(trained / "clip.mp4")]) == 2
    assert "give one with --model RUN" in capsys.readouterr().err
    assert run_command(ShipConfig, ship, "", shipping_words(trained)) == 0
    with pytest.raises(UserError, match=r"smalll holds no .*\(model.safetensors\), and is none of .* \(small\): give"):
        stg.load("smalll")
    (place / "small/card.md").write_text("---\nscores: {}\n---\n")
    with pytest.raises(UserError, match=r"card.md is no model card of stg ship: its head lacks 'sha256'"):
        shipped_models()


def test_networks_come_along_once_with_their_licence(tmp_path: Path, place: Path) -> None:
    (tmp_path / "bench").mkdir()
    bench = Bench(tmp_path / "bench")
    config = ShipConfig((str(bench.run),), name="a", weights=str(bench.weights))
    files, reads = shipping._network_files(config)
    assert ([file.name for file in files], reads) == (["net.onnx", "net.json"], ["scene"])
    with pytest.raises(UserError, match=r"nothing says where net.onnx \(sha256 [0-9a-f]{64}\) comes from"):
        shipping._origins(config, files)
    own = tmp_path / "own"
    own.mkdir()
    origin = {"what": "a test", "sha256": shipped.sha256_file(files[0]), "source": "here", "copyright": "nobody"}
    (own / "origins.json").write_text(json.dumps({"net.onnx": {**origin, "licence": "MIT", "text": "MIT.txt"}}))
    config = ShipConfig((str(bench.run),), name="a", weights=str(bench.weights), origins=str(own / "origins.json"))
    with pytest.raises(UserError, match=r"the licence of net.onnx is to lie in .*MIT.txt, which is not there"):
        shipping._origins(config, files)
    (own / "MIT.txt").write_text("free")
    origins = shipping._origins(config, files)
    for _ in range(2):  # another captioner of the same networks
        shipping._copy_networks(files, origins, place / "networks")
    assert (place / "networks/net.onnx").read_bytes() == files[0].read_bytes()
    assert (place / "networks/MIT.txt").read_text() == "free"
    there = read_origins(place / "networks/origins.json")
    assert there["net.onnx"]["source"] == "here"
    assert "yolox_nano.onnx" in there
    files[0].write_bytes(b"other")
    with pytest.raises(UserError, match=r"net.onnx is there already, and is another file than"):
        shipping._copy_networks(files, origins, place / "networks")


def test_what_lies_in_the_package_goes_into_the_wheel() -> None:
    """Origins name what they come with, and no rule of git, which the wheel follows, leaves models out."""
    networks = shipped.PRETRAINED / "networks"
    for name, origin in read_origins(networks / "origins.json").items():
        assert "Apache License" in (networks / origin["text"]).read_text(), name
    root = Path(stg.__file__).parents[1]
    ignored = (root / ".gitignore").read_text().splitlines()
    left_out = ("onnx", "safetensors", "pretrained", "networks")
    assert not [line for line in ignored if line.strip("*/").endswith(left_out)]
