"""Plugins in the commands that do more than train and evaluate one run: embed, fuse, probe, compare, torchrun."""

import json
import subprocess
from pathlib import Path

import pytest

from graphs import VARIANTS
from stg.config.data import DataConfig, WorldConfig
from stg.datasets.open import open_dataset
from stg.runs.tensors import load_tensors
from tests.stg.plug_in import EXAMPLES, command

PLUGINS = ["--plugin", EXAMPLES / "my_decoder.py", "--plugin", EXAMPLES / "close_edges.py"]
WORLD = WorldConfig(train=4, val=2, test=3)
THREE = ["--world.train", 4, "--world.val", 2, "--world.test", 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    open_dataset(DataConfig(store=str(folder / "store")), WORLD).store.close()
    return folder


def options(folder: Path) -> list[object]:
    """Of a run with a decoder and edges of plugins."""
    small = ["--model.channels", 8, "--model.heads", 2, "--model.hidden", 8, "--optim.epochs", 1, "--run.samples", 0]
    own = ["--model.decoder", "gru", "--graph.variant", "close", "--model.branches", "object"]
    return [*small, *own, *THREE, *data(folder), "--optim.batch_videos", 2, "--run.device", "cpu"]


def data(folder: Path) -> list[object]:
    return ["--data.store", folder / "store", "--data.min_count", 1]


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Path]:
    """Two seeds, evaluated."""
    found = [folder / "run0", folder / "run1"]
    for seed, run in enumerate(found):
        assert command("fit", *options(folder), "--run.out", run, "--run.seed", seed, *PLUGINS) == 0
        words = ["--split", "test", "--beam", 1, "--metrics", "bleu,cider", "--device", "cpu", *PLUGINS]
        assert command("evaluate", run, *words) == 0
    return found


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of an error."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_compare_takes_runs_of_plugins(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*runs, "--split", "test", "--search", "greedy", "--meteor", "false"]
    assert command("compare", *asked, *PLUGINS) == 0
    assert "│ 2 │" in capsys.readouterr().out  # seeds
    assert command("compare", *asked) == 2
    assert "my_decoder.py --plugin" in said(capsys)


@pytest.mark.parametrize("method", ["ensemble", "rerank"])
def test_embed_and_fuse_take_plugins(
    method: str, folder: Path, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = [*runs, "--split", "test", "--out", tmp_path / "fused.json"]
    asked += ["--method", method, "--meteor", "false"]
    if method == "rerank":
        out = tmp_path / "embedding"
        small = ["--model.channels", 8, "--model.words", 8, "--model.hidden", 8, "--optim.epochs", 1]
        edges = ["--graph.variant", "close", "--model.video", "graph"]
        assert command("embed", *THREE, *data(folder), *small, *edges, "--out", out, *PLUGINS) == 0
        assert load_tensors(out / "embedding.safetensors")[1]["plugin"] == list(map(str, PLUGINS[1::2]))
        capsys.readouterr()
        assert command("embed", "--out", out, "--evaluate", "test") == 2
        assert f"the embedding {out} needs --plugin" in said(capsys)
        assert command("embed", "--out", out, "--evaluate", "test", *PLUGINS) == 0
        asked += ["--embedding", out]
    assert command("fuse", *asked, *PLUGINS) == 0
    assert len(json.loads((tmp_path / "fused.json").read_text())) == WORLD.test
    capsys.readouterr()
    assert command("fuse", *asked) == 2
    assert "needs --plugin" in said(capsys)


def test_probe_takes_edges_of_a_plugin(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--epochs", 1, "--channels", 8, "--batch_videos", 4, "--seeds", "0", "--store", folder / "store"]
    asked = [*small, *THREE, "--rows", "close,close-shuffled", "--out", tmp_path / "probe"]
    assert command("probe", *asked, *PLUGINS) == 0
    rows = json.loads((tmp_path / "probe/table.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["close", "close-shuffled"]
    assert "close" not in VARIANTS
    capsys.readouterr()
    assert command("probe", *asked) == 2
    assert (
        "rows must be of scene, none, spatial, temporal, dense, full, tracks, spatial+tracks, full+tracks, each"
        in said(capsys)
    )


def test_two_processes_train_with_plugins(folder: Path, python: list[str], tmp_path: Path) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    asked = [*options(folder), "--run.out", tmp_path / "run", "--run.threads", 1, *PLUGINS]
    words = [*python, *launch, *python, "-m", "stg.fit", *asked]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run/config.json").read_text())["plugin"] == list(map(str, PLUGINS[1::2]))
    newest = max((tmp_path / "run/checkpoints").glob("*.safetensors"))
    assert load_tensors(newest)[1]["processes"] == 2
