"""Bad ids, names, captions and archives, through the commands; tests/FAULTS.md says which row each test belongs to."""

import ast
import io
import json
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graphs import GraphStore, build_graph
from stg.commands.evaluate import main as evaluate
from stg.commands.fit import main as fit
from stg.commands.import_features import main as import_features
from stg.commands.parser import run_command
from stg.config.evaluation import EvaluateConfig
from stg.config.extraction import ImportConfig
from stg.config.training import FitConfig
from stg.data.batches import BatchSource, Item, TrainingSet
from stg.datasets.annotation import Captions
from stg.datasets.folder import read_folder
from stg.datasets.vatex import FILES, read_vatex
from stg.features.precomputed.files import open_source
from stg.runtime.errors import UserError
from stg.text.tokenizer import tokenize
from stg.text.vocabulary import BOS, EOS, PAD, UNK, Vocabulary
from stg.video.decoding import VideoError, sample_video, video_id
from stg.vision.weights import load_state_dict
from tests.stg.conftest import made_video
from tests.stg.run_commands import store_command

ROOT = Path(__file__).resolve().parents[3]


def fill(path: Path, videos: list[str]) -> Path:
    """A store with a small made graph for each video."""
    with GraphStore(path, "a", manifest={"made": "up"}) as store:
        for number, video in enumerate(videos):
            store.put(video, build_graph(replace(made_video(number, [2, 1]), video=video)))
    return path


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- A15: names of files


HOSTILE = [
    "-dash",
    "two words [bold]",
    "line\nbreak",
    "\N{GRINNING FACE}",
    os.fsdecode(b"caf\xe9"),
]


@pytest.fixture(params=HOSTILE, ids=ascii)
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name as a stranger would give it: relative, in the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    try:
        Path(request.param).touch()
    except OSError:
        pytest.skip("this file system refuses such names")
    Path(request.param).unlink()
    return request.param


def test_any_name_of_a_store_works(name: str, tmp_path: Path) -> None:
    fill(tmp_path / f"{name}1", ["a", "b"])
    fill(tmp_path / f"{name}2", ["c"])
    assert store_command([f"--out={name}", "merge", "--", f"{name}1", f"{name}2"]) == 0
    assert store_command(["info", "--", name]) == 0
    assert store_command(["verify", "--", name]) == 0
    with GraphStore(name) as store:
        assert list(store.keys()) == ["a", "b", "c"]


def test_any_name_of_feature_files_works(name: str, tmp_path: Path) -> None:
    folder = tmp_path / f"{name}-scene"
    folder.mkdir()
    np.save(folder / f"{name}.npy", np.zeros((8, 3), np.float32))
    scene = {"source": folder.name, "width": 3}
    (tmp_path / name).write_text(
        json.dumps({"name": "made", "version": "1", "frames": "centres", "num_frames": 4, "scene": scene})
    )
    assert run_command(ImportConfig, import_features, "", [f"--out={name}.store", "--", name]) == 0
    with GraphStore(f"{name}.store") as store:
        assert list(store.keys()) == [os.fsencode(name).decode("utf-8", "backslashreplace")]


def test_any_name_of_data_store_and_run_works(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """B3, too: of ten test videos one is gone, and the scores say how many they cover."""
    splits = {"train": 6, "val": 2, "test": 10}
    ids = [
        f"{name if name.isprintable() else 'v'} {split} {n}" for split, count in splits.items() for n in range(count)
    ]
    (tmp_path / f"{name}.data").mkdir()
    rows = [f"{video},a cat runs,{video.split()[-2]}\n" for video in ids]
    (tmp_path / f"{name}.data" / "captions.csv").write_text("video,caption,split\n" + "".join(rows))
    fill(tmp_path / f"{name}.store", [video for video in ids if not video.endswith("test 3")])
    data = ["--data.dataset", "folder", f"--data.root={name}.data", f"--data.store={name}.store"]
    small = ["--model.channels", "16", "--model.hidden", "16", "--model.heads", "2", "--data.min_count", "1"]
    tiny = ["--optim.epochs", "1", "--graph.layers", "1", "--model.layers", "1", "--run.samples", "1"]
    assert run_command(FitConfig, fit, "", [*data, *small, *tiny, f"--run.out={name}.run"]) == 0
    capsys.readouterr()
    options = ["--split", "test", "--meteor", "false", "--beam", "1"]
    assert run_command(EvaluateConfig, evaluate, "", [*options, "--", f"{name}.run"]) == 0
    told = capsys.readouterr().out
    assert ["test", "10", "9", "1", "9", "90", "%"] in [line.split() for line in told.splitlines()]
    assert "test: 1 of 10 videos are missing" in told
    assert "test, 9 videos:" in " ".join(told.split())
    scores = json.loads((tmp_path / f"{name}.run" / "evaluation" / "test-greedy-scores.json").read_text())
    assert scores["videos"] == 9


def test_feature_files_have_the_ids_of_clips(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.npy")
    try:
        np.save(path, np.ones((1, 2), np.float32))
    except OSError:
        pytest.skip("this file system refuses such names")
    source = open_source(tmp_path)
    assert list(source) == [video_id(path)] == ["caf\\xe9"]
    assert source.read("caf\\xe9").shape == (1, 2)


# --- B1, B2: ids


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(max_size=20), min_size=3, max_size=4, unique=True))
@example(["../../x", "b", "c"])
@example(["/etc/x", "b", "c"])
@example(["a", "A", "x" * 600])
@example(["..", "a\0b", ""])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, ids: list[str]) -> None:
    """From the annotation to the store: refused, or a key; in no case the name of a file."""
    root, out = tmp_path / "in" / "data", tmp_path / "in" / "out"
    for folder in (root, out):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"video": video, "caption": "a cat"}) for video in ids]
    (root / "captions.jsonl").write_text("\n".join(lines))
    try:
        videos = list(read_folder(root).captions)
    except UserError as error:
        assert "captions.jsonl" in str(error)  # noqa: PT017
        videos = []
    store = out / "store"
    store.unlink(missing_ok=True)
    fill(store, videos)
    with GraphStore(store) as filled:
        assert sorted(filled.keys()) == sorted(videos)
    expected = {"in", "in/data", "in/data/captions.jsonl", "in/out", "in/out/store", "in/out/store-lock"}
    assert everything(tmp_path) <= expected


def test_ids_that_differ_by_case_stay_two(tmp_path: Path) -> None:
    """Ids of a video site; on a case-blind disk the names of all files that are made must differ without case, too."""
    pair = ["dQw4w9WgXcQ_1_2", "dqW4w9WgXcQ_1_2"]
    rows = [{"videoID": video, "enCap": [f"a cat runs {n}"]} for n, video in enumerate(pair)]
    (tmp_path / FILES["train"]).write_text(json.dumps(rows))
    (tmp_path / FILES["val"]).write_text(json.dumps([{"videoID": "v", "enCap": ["a dog"]}]))
    assert read_vatex(tmp_path).splits["train"] == pair
    assert read_vatex(tmp_path).captions[pair[1]] == ["a cat runs 1"]
    out = tmp_path / "out"
    out.mkdir()
    fill(out / "one", pair[:1])
    fill(out / "two", ["z", *pair[1:]])
    assert store_command(["merge", str(out / "one"), str(out / "two"), "--out", str(out / "both")]) == 0
    with GraphStore(out / "both") as store:
        assert sorted(store.keys()) == sorted([*pair, "z"])
        first, second = (store.get(video) for video in pair)
        assert not np.array_equal(first.x, second.x)
    made = everything(out)
    assert len({path.casefold() for path in made}) == len(made)
    assert not any(video.casefold() in path.casefold() for video in pair for path in made)


# --- B6: captions


class OneGraph(GraphStore):
    """Stands for a store where only the words are of interest."""

    def __init__(self) -> None:
        pass

    def flat_batch(self, videos: Any, variant: str = "full", time_flow: str = "literal") -> Any:
        from torch_geometric.data import Data

        return Data()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec=None), max_size=40), max_size=5))
@example(["", " .,!? ", "\u0000\u001b[31m", "zzz qqq", "cat " * 10_000, "\u043a\u043e\u0442 \u732b", "\ud800"])
def test_any_captions_survive_the_batch(texts: list[str]) -> None:
    """Cleaned, encoded, padded together, and decoded again; unknown words stay in place as <unk>."""
    captions = Captions("en")
    for text in ["a cat runs", *texts]:
        captions.add("v", text)
    kept = captions.texts["v"]
    assert len(kept) + captions.dropped["v"] == len(texts) + 1
    known = Vocabulary.build(["a cat runs"], min_count=1, max_words=7)
    data = TrainingSet(BatchSource(OneGraph()), {"v": [known.encode(text) for text in kept]})
    batch = data.load([Item("v", tuple(range(len(kept))))])
    for row, text in enumerate(kept):
        words = tokenize(text)[:7]
        length = len(words) + 1
        assert batch.real[row].tolist() == [place < length for place in range(batch.real.shape[1])]
        assert batch.words[row, 0] == BOS
        assert batch.targets[row, length - 1] == EOS
        assert (batch.targets[row, length:] == PAD).all()
        expected = [word if word in known.words else known.words[UNK] for word in words]
        assert known.decode(batch.targets[row].tolist()).split() == expected


# --- B7: archives


def archives(folder: Path) -> dict[str, bytes]:
    """A tar and a zip whose members lead outside, into a link and to a device."""
    tar, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        for name, kind in (("../evil", tarfile.REGTYPE), (str(folder / "evil"), tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, 4
            file.addfile(member, io.BytesIO(b"evil"))
        for name, kind in (("link", tarfile.SYMTYPE), ("device", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            file.addfile(member)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../evil", "evil")
        archive.writestr(str(folder / "evil"), "evil")
    return {"tar": tar.getvalue(), "zip": packed.getvalue()}


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_strangers_archive_is_refused_wherever_a_file_is_asked_for(tmp_path: Path, kind: str) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    content = archives(tmp_path)[kind]
    for name in ("v.npz", "clip.mp4", "weights.pth", "captions.jsonl", "store"):
        (inside / name).write_bytes(content)
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=r"v\.npz"):
        open_source(inside, "../evil").read("v")
    with pytest.raises(VideoError, match=r"'clip\.mp4' is not a video in a known container"):
        sample_video(inside / "clip.mp4")
    with pytest.raises(UserError, match=r"weights\.pth"):
        load_state_dict(inside / "weights.pth")
    with pytest.raises(UserError, match=r"captions\.jsonl"):
        read_folder(inside)
    with pytest.raises(ValueError, match=r"store"):
        GraphStore(inside / "store").keys()
    assert everything(tmp_path) == before


UNPACKERS = {"extract", "extractall", "unpack_archive"}


def test_nothing_here_unpacks_an_archive_to_disk() -> None:
    for folder in ("stg", "graphs", "decoders"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    assert "tarfile" not in [getattr(node, "module", None), *(item.name for item in node.names)], path
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in UNPACKERS:
                    owner = ast.unparse(node.func.value)
                    extracting = ("self", "extractor", "self.extractor", "stg.features")  # features of clips
                    assert owner in extracting, f"{path}: {owner}.{node.func.attr}"
