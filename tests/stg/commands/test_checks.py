"""What commands refuse before torch is imported: all in one process without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

WRONG = {
    "fit --model.decoder odd": "model.decoder must be one of transformer, stats, attention_lstm",
    "fit --graph.variant odd": "graph.variant must be one of full, spatial",
    "fit --optim.algorithm odd": "optim.algorithm must be one of adam, rmsprop",
    "fit --data.dataset odd": "data.dataset must be one of world, msvd",
    "fit --data.dataset msvd": "--data.dataset msvd needs --data.root",
    "fit --data.dataset msvd --data.root gone": "could not read gone",
    "fit --data.dataset msvd --data.root . --data.store gone": "/gone: No such file or directory",
    "fit --run.start gone": "gone holds no trained model",
    "fit --config gone": "File does not exist",
    "ablate --data.dataset msvd": "needs --data.root",
    "embed --data.dataset msvd": "needs --data.root",
    "evaluate gone": "gone is not a run folder",
    "evaluate gone --search.method odd": "method must be one of greedy, beam",
    "caption gone.mp4 --model gone": "there is no file or folder 'gone.mp4'",
    "caption clip.mp4 --model gone": "gone holds no trained model",
    "caption clip.mp4 --model gone --overlay gone/x.mp4": "the folder of gone/x.mp4 is not there",
    "caption clip.mp4 --model gone --overlay clip.mp4": "clip.mp4 is a clip to caption, which would be lost",
    "caption clip.mp4 --model gone --report x.pdf": "a page is a file that ends in .html",
    "extract gone --out s": "there is no file or folder 'gone'",
    "extract clip.mp4 --out s --detector odd": "odd",
    "import_features gone.json --out s": "could not read gone.json",
    "report gone": "gone is not a run folder",
    "report gone --split val": "gone is not a run folder",
    "fuse gone --embedding gone --out x.json": "gone is not a run folder",
    "compare gone": "gone is not a run folder",
    "predictions merge gone.json other.json --out x.json": "could not read gone.json",
    "words gone.json": "could not read gone.json",
    "store info gone": "/gone: No such file or directory",
    "probe --store gone/s": "there is no folder gone",
}

PROGRAM = """
import contextlib, io, json, runpy, sys
said = {}
for line in sys.argv[1:]:
    name, *options = line.split()
    sys.argv = [f"stg {name}", *options]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            runpy.run_module(f"stg.{name}", run_name="__main__")
        except SystemExit as end:
            code = end.code
    heavy = sorted({"torch", "torchvision", "torch_geometric", "av", "pycocoevalcap"} & set(sys.modules))
    said[line] = [code, errors.getvalue(), heavy]
print(json.dumps(said))
"""


def test_what_is_wrong_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no clip")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *WRONG],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    for line, (code, said, heavy) in json.loads(done.stdout).items():
        assert (code, heavy) == (2, []), (line, said)
        assert said.startswith("error: "), (line, said)
        assert WRONG[line] in said, (line, said)
        assert len(said.splitlines()) == 1, (line, said)


@pytest.mark.parametrize(
    ("argv", "line"), [(["words", "some.json", "--tagger", "lexicon"], True), (["words", "--help"], False)]
)
def test_a_command_that_begins_says_so_on_stderr(argv: list[str], line: bool, tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text('{"a": "a man runs"}')
    done = subprocess.run(
        [sys.executable, "-m", "stg", *argv, *["--json"] * line],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stderr == "loading ...\n" * line
    assert not line or json.loads(done.stdout)
