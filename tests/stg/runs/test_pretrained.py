"""Captioners as folders that are passed on, and on a hub."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants, file_download

import stg
from graphs import flat_graph
from stg.captioning import VideoCaptioner
from stg.commands.caption import main
from stg.commands.parser import run_command
from stg.config.captioning import CaptionConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.datasets.world import World
from stg.features.extractor import Extractor
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import UserError
from stg.text.vocabulary import Vocabulary
from tests.stg.make_hub import Hub


@pytest.fixture(scope="module")
def bundle() -> CaptionerBundle:
    """An untrained captioner of the built-in world, whose networks have no files."""
    torch.manual_seed(0)
    world = World(train=1, val=1, test=1)
    model, graph = ModelConfig(branches="scene", channels=8, heads=2, hidden=8, layers=1), GraphConfig()
    words = Vocabulary.build(world.captions("test-00000"), min_count=1)
    extractor = Extractor(None, world.backbone())
    widths = FeatureWidths.of(flat_graph(extractor(world.sample("test-00000"))))
    captioner = build_captioner(model, graph, widths=widths, vocabulary=len(words), max_words=30).eval()
    return CaptionerBundle(captioner, words, model, graph, widths, extractor.manifest())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    World(train=1, val=1, test=1).write_mp4("test-00000", path)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub of each test's own, and no token of the user's."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return cache


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub({}).open() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        # The library reads that variable as it is imported, which other tests have made it do; older versions go by it.
        monkeypatch.setattr(constants, "ENDPOINT", served.address)
        for module in (constants, file_download):
            address = f"{served.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", address, raising=False)
        yield served


def equal(one: CaptionerBundle, other: CaptionerBundle) -> bool:
    states = one.captioner.state_dict(), other.captioner.state_dict()
    return (
        states[0].keys() == states[1].keys()
        and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and one.vocabulary.fingerprint == other.vocabulary.fingerprint
        and (one.model, one.graph, one.widths, one.features) == (other.model, other.graph, other.widths, other.features)
    )


def test_a_folder_has_the_files_of_a_hub_and_gives_the_captioner_back(bundle: CaptionerBundle, tmp_path: Path) -> None:
    bundle.save_pretrained(tmp_path / "mine", about="Trained on one video. Licence: MIT.")
    names = {"model.safetensors", "model.sha256", "config.json", "README.md"}
    assert {path.name for path in (tmp_path / "mine").iterdir()} == names
    assert equal(CaptionerBundle.from_pretrained(tmp_path / "mine"), bundle)
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert (config["format"], config["model"]["channels"]) == ("stg-captioner", 8)
    card = (tmp_path / "mine" / "README.md").read_text()
    # The hub reads the first lines as YAML.
    assert huggingface_hub.ModelCard(card).data.library_name == "stg"
    assert "Trained on one video. Licence: MIT." in card
    assert f"{bundle.num_weights:,} weights, {len(bundle.vocabulary):,} words" in card
    assert "| backbone | world-backbone | `none` | `none` |" in card


def test_a_card_that_is_there_stays(bundle: CaptionerBundle, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My model\n")
    bundle.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# My model\n"


def test_the_command_captions_with_such_a_folder(
    bundle: CaptionerBundle, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle.save_pretrained(tmp_path / "mine")
    options = [str(clip), "--model", str(tmp_path / "mine"), "--workers", "0", "--threads", "1"]
    assert run_command(CaptionConfig, main, "", options) == 0
    said = capsys.readouterr().out
    assert f"clip.mp4: {VideoCaptioner.from_pretrained(tmp_path / 'mine').caption(clip)}   (" in said


def test_a_folder_with_changed_settings_is_refused(bundle: CaptionerBundle, tmp_path: Path) -> None:
    bundle.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    config["model"]["dropout"] = 0.75
    file.write_text(json.dumps(config))
    found = r"config.json is not of the model next to it \(model.dropout: the model has 0.\d+, the file 0.75\)"
    with pytest.raises(UserError, match=found):
        stg.load(tmp_path)


def test_a_run_is_not_written_over(bundle: CaptionerBundle, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"run": {"seed": 0}}')
    with pytest.raises(UserError, match="is a run folder, or holds another model"):
        bundle.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_captioner_goes_to_a_hub_and_comes_back(
    bundle: CaptionerBundle, clip: Path, hub: Hub, own_cache: Path
) -> None:
    hub.token = "of mine"
    with pytest.raises(UserError, match=r"me/captioner could not be sent to http.*401"):
        bundle.push_to_hub("me/captioner")
    Path(constants.HF_TOKEN_PATH).write_text(hub.token)
    assert hub.address in bundle.push_to_hub("me/captioner", about="Mine.")
    sent = hub.models["me/captioner"]
    assert set(sent) == {"model.safetensors", "model.sha256", "config.json", "README.md"}
    assert b"Mine." in sent["README.md"]
    sent["pytorch_model.bin"] = b"a pickle"

    advice = "holds no trained model .* add --download; or elsewhere, `hf download me/captioner --local-dir FOLDER`"
    with pytest.raises(UserError, match=f"me/captioner {advice}"):
        stg.load("me/captioner")
    captioner = stg.load("me/captioner", download=True)
    assert equal(captioner.trained, bundle)
    assert not list(own_cache.rglob("*.bin"))
    # From now on without the network.
    del hub.asked[:]
    assert stg.load("me/captioner", download=True).caption(clip) == captioner.caption(clip)
    assert equal(CaptionerBundle.from_pretrained("me/captioner"), bundle)
    assert hub.asked == []


def test_a_hub_that_has_no_such_model_is_named(hub: Hub) -> None:
    with pytest.raises(UserError, match=r"no/model could not be fetched from http://127.0.0.1:\d+: 404"):
        CaptionerBundle.from_pretrained("no/model", download=True)


def test_a_copy_that_is_damaged_on_its_way_is_refused(bundle: CaptionerBundle, hub: Hub, tmp_path: Path) -> None:
    bundle.save_pretrained(tmp_path / "mine")
    files = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    files["model.safetensors"] = files["model.safetensors"][:-1] + bytes([files["model.safetensors"][-1] ^ 1])
    hub.models["me/damaged"] = files
    with pytest.raises(Exception, match="is damaged: its SHA-256 differs"):
        CaptionerBundle.from_pretrained("me/damaged", download=True)


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "never answers"])
def test_a_machine_without_a_network_answers_at_once(
    bundle: CaptionerBundle, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        if silent:
            monkeypatch.setattr(socket, "create_connection", lambda *args, **options: Event().wait())
        advice = (
            r"cannot be reached from here \((no answer|.*refused).* within 1.2 s\): .*`hf download me/captioner "
            r"--local-dir FOLDER` .*\(model.safetensors, model.sha256.* give it as the model"
        )
        start = time.monotonic()
        with pytest.raises(UserError, match=rf"me/captioner is not on this machine, and http.* {advice}"):
            stg.load("me/captioner", download=True)
        assert time.monotonic() - start < 6
        if not silent:
            with pytest.raises(UserError, match=r"me/captioner was not sent, and http.* cannot be reached"):
                bundle.push_to_hub("me/captioner")


def test_the_network_is_asked_only_where_that_is_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("the network was asked"))
    with pytest.raises(UserError, match="add --download"):
        stg.load("me/captioner")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE forbids the network"):
        stg.load("me/captioner", download=True)


def test_the_library_is_not_imported_for_what_is_not_there(tmp_path: Path) -> None:
    """It takes longer to import than the answer may take."""
    code = """
import sys
from stg.runtime.errors import UserError
from stg.runtime.hub import cached_copy, fetch

assert cached_copy("me/captioner", ["a"]) is None
try:
    fetch("me/captioner", ["a"], "the model")
except UserError as error:
    assert "cannot be reached" in str(error), error
assert "huggingface_hub" not in sys.modules
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "no_proxy": "*"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_copies_are_where_the_library_has_them(tmp_path: Path) -> None:
    code = """
from stg.runtime.hub import _cache, _endpoint
before = str(_cache()), _endpoint()
from huggingface_hub import constants
assert before == (constants.HF_HUB_CACHE, constants.ENDPOINT), (before, constants.HF_HUB_CACHE, constants.ENDPOINT)
assert before == (str(_cache()), _endpoint())
"""
    names = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_ENDPOINT")
    plain = {name: value for name, value in os.environ.items() if name not in names}
    for more in ({"HF_HOME": "~/here"}, {"XDG_CACHE_HOME": str(tmp_path), "HF_ENDPOINT": "http://h/"}):
        subprocess.run([sys.executable, "-c", code], check=True, env=plain | more)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'stg-video\[hub\]'"):
        stg.load("me/captioner", download=True)
    with pytest.raises(UserError, match="add --download"):
        stg.load("me/captioner")
