"""``python -m stg.store``: what it prints, and the exit code of each outcome."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphs import GraphStore
from tests.graphs.made_graphs import made_graph
from tests.stg.run_commands import store_command as main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "-videos [1].store"
    with GraphStore(path, "w", manifest={"detector": "boxes ü"}) as store:
        store.put_many((f"v{i}", made_graph([3, 2], seed=i, width=2048)) for i in range(5))
    return path


def test_info_tells_count_size_widths_and_manifest(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(path)]) == 0
    told = capsys.readouterr().out
    assert "-videos [1].store: 5 videos, 0.1 MiB on disk" in told
    with GraphStore(path) as store:
        assert f"bytes a video: {store.sizes()[0]} on average, from {store.sizes()[0]}" in told
    assert "fields: x [2048], boxes, frame, edge_index" in told
    assert "scene [4], motion [3]" in told
    assert "features in float16" in told
    assert '"detector": "boxes ü"' in told


def test_info_of_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    GraphStore(tmp_path / "empty", "w").close()
    assert main(["info", str(tmp_path / "empty")]) == 0
    told = capsys.readouterr().out
    assert "empty: 0 videos" in told
    assert "fields: none yet" in told
    assert "manifest: none" in told


def test_verify_names_the_broken_and_exits_1(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(path)]) == 0
    assert "5 records, all whole" in capsys.readouterr().out
    with GraphStore(path) as store:
        needle = store.get("v3").x.half().numpy().tobytes()
    raw = bytearray(path.read_bytes())
    raw[raw.index(needle) + 99] ^= 1
    path.write_bytes(raw)
    assert main(["verify", str(path)]) == 1
    told = capsys.readouterr()
    assert "'v3': damaged: the checksum is" in told.out
    assert "'v2'" not in told.out
    assert told.err.startswith("error: 1 of 5 records in")
    assert told.err.count("\n") == 1


def test_a_truncated_store_exits_2_with_words(path: Path, python: list[str]) -> None:
    """As its own process: LMDB itself would end it with SIGBUS. Named as videos are, with a dash in front."""
    os.truncate(path, path.stat().st_size // 2)
    command = [*python, "-m", "stg.store", "verify", "--", path.name]
    done = subprocess.run(
        command,
        cwd=path.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is truncated: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["info", "nowhere"], "there is no store at"),
        (["look", "nowhere"], "the action must be one of info, verify, merge, edges, tracks, got 'look'"),
        (["info"], "path"),
        (["merge", "nowhere"], "merge, edges and tracks need --out STORE, the other actions take none"),
        (
            ["verify", "nowhere", "--out", "here"],
            "merge, edges and tracks need --out STORE, the other actions take none",
        ),
        (["merge", "same", "--out", "same"], "'same' is --out and one of the stores to merge"),
        (["info", "nowhere", "--fast", "1"], "unrecognized arguments"),
    ],
)
def test_wrong_use_exits_2(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert message in capsys.readouterr().err


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['stg.store', '--help']; from stg.store import *\n"
        "try: command('store', StoreConfig, main, '')\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "info, verify, merge, edges or tracks" in done.stdout
