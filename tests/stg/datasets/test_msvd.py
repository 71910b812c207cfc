"""The MSVD annotation, and the motion features that join its clips."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stg.datasets.msvd import DISTINCT_WORDS, SPLITS, read_msvd
from stg.features.precomputed.motion_table import MotionFeatures
from stg.runtime.errors import UserError
from stg.text.tokenizer import tokenize
from stg.video.decoding import SampledFrames


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small copy: three clips, one of them of the validation split and without captions."""
    (tmp_path / "captions").mkdir()
    (tmp_path / "youtube_mapping.txt").write_text(
        "-a_0_5 vid1\n\nb_1_2 vid1201\nc d_0 vid1301\n".replace("c d_0", "c_d_0")
    )
    sentences = {"train": "vid1\ta dog\nvid1\ta dog  runs \n", "val": "", "test": "vid1301\ta\x0bcat\n"}
    for split, text in sentences.items():
        (tmp_path / "captions" / f"sents_{split}_lc_nopunc.txt").write_text(text)
    return tmp_path


def test_ids_are_clip_names_and_splits_are_the_customary_ones(root: Path) -> None:
    data = read_msvd(root)
    assert data.name == "MSVD"
    assert data.captions == {"-a_0_5": ["a dog", "a dog runs"], "c_d_0": ["a cat"]}
    assert data.splits == {"train": ["-a_0_5"], "val": ["b_1_2"], "test": ["c_d_0"]}


def test_a_video_without_captions_is_told_not_fatal(root: Path) -> None:
    data = read_msvd(root)
    assert data.problems() == {"without captions": ["b_1_2"]}
    assert data.references("val") == {}


def test_captions_may_lie_beside_the_mapping(root: Path) -> None:
    for path in list((root / "captions").iterdir()):
        path.rename(root / path.name)
    (root / "captions").rmdir()
    assert len(read_msvd(root).captions) == 2


def test_captions_without_a_clip_keep_their_number(root: Path) -> None:
    path = root / "captions" / "sents_train_lc_nopunc.txt"
    path.write_text(path.read_text() + "vid7\ta bird\n")
    assert read_msvd(root).problems()["captions without a video"] == ["vid7"]


def test_empty_captions_are_left_out_with_a_note(root: Path) -> None:
    path = root / "captions" / "sents_train_lc_nopunc.txt"
    path.write_text("vid1\ta dog\nvid1\t  \nvid1\t ... !\n")
    data = read_msvd(root)
    assert data.captions["-a_0_5"] == ["a dog"]
    assert data.notes == ("2 captions without any word left out ('-a_0_5')",)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "captions/sents_val_lc_nopunc.txt",
            "vid1\ta dog\n",
            r"line 1: vid1 is not a val video of MSVD \(vid1201 to vid1300",
        ),
        (
            "captions/sents_train_lc_nopunc.txt",
            "\nvid1 a dog\n",
            r"line 2: expected 'vidN<TAB>sentence'; got 'vid1 a dog'",
        ),
        ("captions/sents_train_lc_nopunc.txt", "../x\ta dog\n", r"line 1: expected 'vidN<TAB>sentence'"),
        ("captions/sents_train_lc_nopunc.txt", "vid٣\ta dog\n", r"line 1: expected 'vidN<TAB>sentence'"),
        ("youtube_mapping.txt", "a_0_1 vid1\na_0_1 vid2\n", r"line 2: a_0_1 or vid2 stands twice"),
        ("youtube_mapping.txt", "a_0_1 vid1\nb_0_1 vid1\n", r"line 2: b_0_1 or vid1 stands twice"),
        ("youtube_mapping.txt", "../a vid1\n", r"line 1: the video id '../a' must not hold '/'"),
        ("youtube_mapping.txt", "a_0_1\n", r"line 1: expected 'clip vidN'; got 'a_0_1'"),
    ],
)
def test_a_wrong_line_is_named(root: Path, name: str, text: str, words: str) -> None:
    (root / name).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        read_msvd(root)


def test_missing_and_binary_files_are_named(root: Path) -> None:
    path = root / "captions" / "sents_test_lc_nopunc.txt"
    path.write_bytes(b"vid1301\t\xff\xfe\n")
    with pytest.raises(UserError, match=r"sents_test_lc_nopunc.txt is not UTF-8 text \(byte 8\)"):
        read_msvd(root)
    path.unlink()
    with pytest.raises(UserError, match=r"could not read .*sents_test_lc_nopunc.txt: No such file"):
        read_msvd(root)


@pytest.mark.parametrize(
    ("words", "told"), [(12_359, True), (12_360, False), (13_010, False), (13_660, False), (13_661, True)]
)
def test_a_whole_annotation_with_other_words_than_the_papers_is_noted(tmp_path: Path, words: int, told: bool) -> None:
    numbers = [number for split in SPLITS.values() for number in split]
    mapping = [f"c{number} vid{number}" for number in numbers]
    (tmp_path / "youtube_mapping.txt").write_text("\n".join(mapping))
    said = " ".join(f"w{number}" for number in range(words))
    for split, text in {"train": f"vid1\t{said}", "val": "", "test": "vid1301\tw0"}.items():
        (tmp_path / f"sents_{split}_lc_nopunc.txt").write_text(text)
    note = f"the captions hold {words} distinct words; papers count 13010"
    assert read_msvd(tmp_path).notes == ((note,) if told else ())
    (tmp_path / "youtube_mapping.txt").write_text("\n".join(mapping[:-1]))
    assert read_msvd(tmp_path).notes == ()


@pytest.mark.shared_data
def test_the_distinct_words_of_the_real_annotation(shared_data: Path) -> None:
    captions = read_msvd(shared_data / "msvd").captions
    words = {word for texts in captions.values() for text in texts for word in tokenize(text)}
    assert len(words) == 12_592
    assert abs(len(words) - DISTINCT_WORDS) < 0.05 * DISTINCT_WORDS


@pytest.mark.shared_data
def test_the_real_annotation(shared_data: Path) -> None:
    data = read_msvd(shared_data / "msvd")
    assert data.notes == ()
    counts = data.counts()
    assert {split: row["videos"] for split, row in counts.items()} == {"train": 1200, "val": 100, "test": 670}
    assert {split: row["captions"] for split, row in counts.items()} == {"train": 48774, "val": 4290, "test": 27763}
    there = [path.stem for path in (shared_data / "msvd" / "clips").glob("*.mp4")]
    some = data.restrict(there)
    assert [len(some.splits[split]) for split in ("train", "val", "test")] == [279, 22, 87]
    assert len(some.captions) == 1970  # captions of absent clips are kept
    assert "a squirrel is eating a peanut in it s shell" in data.captions["-4wsuPCjDBc_5_15"]


# --- motion features

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(**arrays: np.ndarray) -> Path:
        np.savez(tmp_path / "motion.npz", **arrays)
        return tmp_path / "motion.npz"

    return make


def clip_rows(*rows: int) -> np.ndarray:
    """Motion features ``[1 L 2]`` whose rows hold the given numbers."""
    return np.repeat(np.array(rows, np.float16)[None, :, None], 2, axis=2)


def sampled(numbers: list[int], total: int) -> SampledFrames:
    return SampledFrames("v", np.zeros((len(numbers), 2, 2, 3), np.uint8), np.array(numbers), total, 25.0)


def test_padding_is_cut_and_frames_take_the_row_that_covers_them(write: Write) -> None:
    motion = MotionFeatures(write(clip=np.array(["v"]), feat=clip_rows(1, 2, 3, 3, 3)), span=16)
    rows, row = motion("v", sampled([0, 15, 16, 31, 32, 39], total=40))
    assert rows.tolist() == [[1, 1], [2, 2], [3, 3]]
    assert rows.dtype == np.float32
    assert row.tolist() == [0, 0, 1, 1, 2, 2]
    assert motion("other", sampled([0], 1)) is None
    assert "v" in motion
    assert len(motion) == 1


def test_a_frame_past_the_last_row_takes_it(write: Write) -> None:
    motion = MotionFeatures(write(clip=np.array(["v"]), feat=clip_rows(1, 2, 2)), span=16)
    assert motion("v", sampled([31, 32], total=33))[1].tolist() == [1, 1]


def test_rows_of_a_long_or_re_encoded_clip_are_spread_evenly(write: Write) -> None:
    motion = MotionFeatures(write(clip=np.array(["v"]), feat=clip_rows(1, 2, 3, 4)), span=16)
    assert motion("v", sampled([0, 99, 100, 250, 399], total=400))[1].tolist() == [0, 0, 1, 2, 3]
    assert motion("v", sampled([0, 4, 5, 19], total=20))[1].tolist() == [0, 0, 1, 3]


def test_a_single_row(write: Write) -> None:
    motion = MotionFeatures(write(clip=np.array(["v"]), feat=clip_rows(5, 5, 5)), span=16)
    rows, row = motion("v", sampled([0, 3], total=4))
    assert rows.shape == (1, 2)
    assert row.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"clip": np.array(["v"])}, r"must hold the arrays clip \[V\] and feat \[V L M\]"),
        ({"clip": np.array(["v"]), "feat": np.zeros((2, 3, 4))}, r"got <U1 \[1\] and float64 \[2, 3, 4\]"),
        ({"clip": np.array([1]), "feat": np.zeros((1, 3, 4))}, r"clip \[V\] \(text\)"),
        ({"clip": np.array(["v"]), "feat": np.array([[["x"]]])}, r"clip \[V\] \(text\) and feat"),
        ({"clip": np.array(["v"]), "feat": np.full((1, 3, 4), np.nan)}, r"features of 'v' are not finite"),
        ({"clip": np.array(["v"], dtype=object), "feat": np.zeros((1, 3, 4))}, r"not a .npz archive of plain arrays"),
    ],
)
def test_other_archives_are_refused(write: Write, arrays: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MotionFeatures(write(**arrays))


def test_files_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "motion.npz"
    with pytest.raises(UserError, match=r"could not read .*motion.npz: No such file"):
        MotionFeatures(path)
    for content in (b"", b"PK\x03\x04 cut", b"words"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not a .npz archive of plain arrays"):
            MotionFeatures(path)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(UserError, match=r"must hold the arrays|not a .npz archive"):
        MotionFeatures(path)
    with pytest.raises(UserError, match=r"span must be at least 1 frame; got 0"):
        MotionFeatures(path, span=0)


@pytest.mark.shared_data
def test_the_real_motion_features(shared_data: Path) -> None:
    motion = MotionFeatures(shared_data / "msvd" / "motion" / "r2plus1d34_ig65m_logits.npz")
    assert len(motion) == 388
    numbers = [6, 18, 30, 42, 54, 66, 78, 90, 102, 114]
    rows, row = motion("-AwoiGR6c8M_10_14", sampled(numbers, total=120))
    assert rows.shape == (4, 359)
    assert row.tolist() == [number // 32 for number in numbers]
