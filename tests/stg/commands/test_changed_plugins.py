"""Plugins whose text has changed since a run was trained with them: every command says so, and none refuses."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

import stg
from stg.config.data import DataConfig, WorldConfig
from stg.config.plugins import PluginChanged
from stg.datasets.open import open_dataset
from stg.runs.tensors import load_tensors
from tests.stg.plug_in import EXAMPLES, command, fresh_process

TEXT = (EXAMPLES / "my_decoder.py").read_bytes()
HASH = hashlib.sha256(TEXT).hexdigest()
WORLD = {"train": 4, "val": 2, "test": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, a run with a plugin and its scores, and that plugin with one line more."""
    folder = tmp_path_factory.mktemp("changed")
    open_dataset(DataConfig(store=str(folder / "store")), WorldConfig(**WORLD)).store.close()
    with fresh_process():
        run = stg.fit(
            plugin=EXAMPLES / "my_decoder.py",
            data={"store": str(folder / "store"), "min_count": 1},
            world=WORLD,
            model={"decoder": "gru", "branches": "scene", "channels": 8, "heads": 2, "hidden": 8, "layers": 1},
            optim={"epochs": 1},
            run={"out": str(folder / "run"), "samples": 0, "device": "cpu"},
        )
        stg.evaluate(run, "test", metrics=["cider"], device="cpu")
    (folder / "my_decoder.py").write_bytes(TEXT + b"# more\n")
    return folder


def test_a_run_and_its_model_keep_the_hash(folder: Path) -> None:
    kept = json.loads((folder / "run/config.json").read_text())
    assert kept["plugin"] == [str(EXAMPLES / "my_decoder.py")]
    assert kept["plugin_sha256"] == [HASH]
    assert load_tensors(folder / "run/model.safetensors")[1]["plugin_sha256"] == [HASH]
    # That file is for --config, which takes options alone.
    options = yaml.safe_load((folder / "run/config.yaml").read_text())
    assert options == {name: value for name, value in kept.items() if name != "plugin_sha256"}


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "run", "--split", "test", "--beam", "1", "--meteor", "false"],
        ["report", "run", "--out", "run.html"],
        ["compare", "run", "--split", "test", "--search", "greedy", "--meteor", "false"],
        ["fit", "--config", "run/config.yaml"],
    ],
    ids=lambda words: "-".join(words[:3]).replace("/", "-"),
)
def test_a_command_warns_of_a_changed_plugin(
    words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert command(*words, "--plugin", EXAMPLES / "my_decoder.py") == 0
    assert "warning" not in capsys.readouterr().err
    assert command(*words, "--plugin", "my_decoder.py") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 1
    now = hashlib.sha256((folder / "my_decoder.py").read_bytes()).hexdigest()
    assert lines[0].startswith(f"warning: the plugin {EXAMPLES / 'my_decoder.py'} is not the one that the run ")
    assert f"run was made with (sha256 {HASH[:12]}... then, {now[:12]}... now): results may differ" in lines[0]


def test_the_log_of_a_run_says_where_the_text_of_a_plugin_changed(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    words = ["fit", "--config", run / "config.yaml", "--run.out", run, "--optim.epochs", 2, "--run.override", "true"]
    assert command(*words, "--plugin", folder / "my_decoder.py") == 0
    now = hashlib.sha256((folder / "my_decoder.py").read_bytes()).hexdigest()
    assert json.loads((run / "config.json").read_text())["plugin_sha256"] == [now]
    (line,) = [line for line in (run / "train.log").read_text().splitlines() if "another text" in line]
    assert line.endswith(f"resumes with plugins of another text: plugin_sha256: was ['{HASH}'], now ['{now}']")
    assert command(*words, "--plugin", folder / "my_decoder.py") == 0
    assert (run / "train.log").read_text().count("another text") == 1


def test_python_warns_of_a_changed_plugin_and_one_of_several_processes_speaks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_process(), pytest.warns(PluginChanged, match="my_decoder.py is not the one that the run") as said:
        stg.evaluate(folder / "run", "test", metrics=["cider"], plugin=folder / "my_decoder.py", device="cpu")
    assert len(said) == 1
    with fresh_process(), pytest.warns(PluginChanged, match="my_decoder.py is not the one that the model"):
        stg.load(folder / "run", plugin=folder / "my_decoder.py", device="cpu")
    monkeypatch.setenv("RANK", "1")
    asked = ["compare", folder / "run", "--split", "test", "--search", "greedy", "--meteor", "false"]
    assert command(*asked, "--plugin", folder / "my_decoder.py") == 0  # type: ignore[arg-type]
    assert "warning" not in capsys.readouterr().err
