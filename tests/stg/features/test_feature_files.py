"""Feature files of others: what is plain numbers is read as it is, everything else is refused in words."""

import io
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import stg.features.precomputed.files as feature_files
from stg.features.precomputed.files import FolderSource, Hdf5Source, UnusableFeatures, open_source
from stg.runtime.errors import UserError

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


class Loud:
    """Would leave a file behind if anybody unpickled it."""

    place = ""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (self.place, "w")


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "<i4", "|u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_whatever_holds_them(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.asarray(ROWS.astype(dtype), order=order)  # type: ignore[call-overload]
    (tmp_path / "npy").mkdir()
    (tmp_path / "npz").mkdir()
    np.save(tmp_path / "npy" / "v.1.npy", array)
    np.savez_compressed(tmp_path / "npz" / "v.1.npz", feat=array, other=array + 1)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["v.1"] = array
        file["deep/v.1/i3d"] = array
        file["deep/v.2/i3d"] = array
    for source in (
        open_source(tmp_path / "npy"),
        open_source(tmp_path / "npz", "feat"),
        open_source(tmp_path / "all.h5", "deep/{video}/i3d"),
    ):
        assert next(iter(source)) == "v.1"
        assert ("v.1" in source, "v.9" in source, len(source)) == (True, False, len(list(source)))
        found = source.read("v.1")
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        source.close()


def test_the_identity_is_what_is_declared_and_the_stamp_tells_files_apart(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "f.h5"
    folder.mkdir()
    np.save(folder / "a.npy", ROWS)
    np.save(folder / ".hidden.npy", ROWS)
    with h5py.File(file, "w") as made:
        made["a"] = ROWS
    source, packed = open_source(folder), open_source(file)
    assert (source.manifest(), packed.manifest()) == (
        {"name": "folder", "key": None},
        {"name": "f.h5", "key": "{video}"},
    )
    assert (list(source), source.file("a"), packed.file("a")) == (["a"], folder / "a.npy", file)
    stamps = source.stamp("a"), packed.stamp("a")
    assert [stamp[:2] for stamp in stamps] == [
        (p.stat().st_size, p.stat().st_mtime_ns) for p in (folder / "a.npy", file)
    ]
    np.save(folder / "a.npy", ROWS[:2])
    file.touch()
    assert source.stamp("a") != stamps[0]
    assert packed.stamp("a") == stamps[1]  # of the file that is open
    (folder / "a.npy").unlink()
    with pytest.raises(UnusableFeatures, match=r"could not read .*a.npy: No such file"):
        source.stamp("a")
    packed.close()


def _npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a .npy file, or a damaged one"),
        (b"<!DOCTYPE html>" * 9, "is not a .npy file, or a damaged one"),
        (_npy(ROWS)[:-1], r"was cut or overwritten: \[3, 4\] float32 are 48 bytes, not 47"),
        (_npy(ROWS) + b"x", r"was cut or overwritten: \[3, 4\] float32 are 48 bytes, not 49"),
        (_npy(np.array(["a"])), "holds <U1, expected numbers"),
        (_npy(ROWS.astype(complex)), "holds complex128, expected numbers"),
        (
            _header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 9)}"),
            "would take 359999999964 bytes",
        ),
        (_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2)}"), r"states the shape \[-1, 2\]"),
        (_header("(" * 5000), "is not a .npy file, or a damaged one"),
        (_header("__import__('os')"), "is not a .npy file, or a damaged one"),
        (b"\x93NUMPY\x09\x00" + bytes(99), "is not a .npy file, or a damaged one"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(UnusableFeatures, match=message):
        open_source(tmp_path).read("v")
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("feat.npy", content)
    with pytest.raises(UnusableFeatures, match=message):
        open_source(tmp_path, "feat").read("v")


def test_pickles_are_refused_and_never_opened(tmp_path: Path) -> None:
    loud = Loud()
    loud.place = str(tmp_path / "executed")
    objects = np.empty(1, dtype=object)
    objects[0] = loud
    (tmp_path / "array.npy").write_bytes(_npy(objects))
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(loud))
    np.savez(tmp_path / "array.npz", allow_pickle=True, feat=objects)
    for video in ("array", "bare"):
        with pytest.raises(UnusableFeatures, match=r"npy holds pickled Python objects, which can run any code"):
            open_source(tmp_path).read(video)
    with pytest.raises(UnusableFeatures, match="npz holds pickled Python objects"):
        open_source(tmp_path, "feat").read("array")
    assert not (tmp_path / "executed").exists()


def test_archives_are_measured_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B7: a zip bomb, stated honestly and with a lie; a member elsewhere, a broken archive."""
    bomb = _header("{'descr': '|u1', 'fortran_order': False, 'shape': (50000000,)}", bytes(50_000_000))
    with zipfile.ZipFile(tmp_path / "v.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("feat.npy", bomb)
    assert (tmp_path / "v.npz").stat().st_size < 100_000
    monkeypatch.setattr(feature_files, "MAX_BYTES", 10**6)
    tracemalloc.start()
    with pytest.raises(UnusableFeatures, match=r"v.npz would take 50000"):
        open_source(tmp_path, "feat").read("v")
    endless = b"\x93NUMPY\x02\x00" + struct.pack("<I", 40_000_000) + b" " * 40_000_000
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("feat.npy", endless)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    with pytest.raises(UnusableFeatures, match=r"w.npz would take 40000012 bytes, more than 1000000"):
        open_source(tmp_path, "feat").read("w")
    assert tracemalloc.get_traced_memory()[1] - before < 5 * 10**6
    del endless
    raw = (tmp_path / "v.npz").read_bytes()
    (tmp_path / "v.npz").write_bytes(raw.replace(struct.pack("<I", len(bomb)), struct.pack("<I", 600)))
    with pytest.raises(UnusableFeatures, match=r"v\.npz"):
        open_source(tmp_path, "feat").read("v")
    tracemalloc.stop()
    with pytest.raises(UnusableFeatures, match="has no array 'flow'; it has feat"):
        open_source(tmp_path, "flow").read("v")
    (tmp_path / "v.npz").write_bytes(raw[:1000])
    with pytest.raises(UnusableFeatures, match=r"is not an .npz archive, or a damaged one"):
        open_source(tmp_path, "feat").read("v")


def test_hdf5_stays_inside_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["v"] = ROWS
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["good"] = ROWS
        file["soft"] = h5py.SoftLink("/good")
        file["outside"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "v")
        file.create_dataset("raw", (12,), "f4", external=[(str(tmp_path / "secret"), 0, 48)])
        layout = h5py.VirtualLayout(shape=(3, 4), dtype="f4")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "v", shape=(3, 4))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("text", data=["a"], dtype=h5py.string_dtype())
        file.create_dataset("huge", (2**40,), "f4", chunks=(1024,))
        file.create_dataset("unwritten", (2**27,), "f4", chunks=(1024,))
        file.create_dataset("empty", data=h5py.Empty("f4"))
        file.create_group("group")
    source = open_source(tmp_path / "all.h5")
    assert np.array_equal(source.read("good"), ROWS)
    for video, message in {
        "soft": "'soft' is a link to another place, which is not followed",
        "outside": "'outside' is a link to another place, which is not followed",
        "raw": "its numbers lie in other files, which are not opened",
        "virtual": "its numbers lie in other files, which are not opened",
        "text": "holds pickled Python objects|expected numbers",
        "huge": "would take 4398046511104 bytes",
        "unwritten": "would unpack to 536870912 bytes from 0",
        "empty": "there is no data set",
        "group": "there is no data set",
    }.items():
        with pytest.raises(UnusableFeatures, match=message):
            source.read(video)
    source.close()
    deep = open_source(tmp_path / "all.h5", "{video}/i3d")
    for video, message in {
        "good": "'i3d' is searched for in what is no group",
        "group": "has no 'i3d' in '/group'",
    }.items():
        with pytest.raises(UnusableFeatures, match=message):
            deep.read(video)
    deep.close()


@pytest.mark.parametrize("key", ["", "feats", "{video}{video}", "a{video}", "{video}b", "x/{video}/{video}"])
def test_an_hdf5_key_holds_the_video_once(tmp_path: Path, key: str) -> None:
    with pytest.raises(UserError, match=r"must hold \{video\} once, as a whole name"):
        Hdf5Source(tmp_path / "x.h5", key)


def test_what_is_no_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain.txt").touch()
    (tmp_path / "bad.h5").write_bytes(b"no")
    np.save(tmp_path / "v.npy", ROWS)
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file.create_group("feats")
        file["lone"] = ROWS
    for path, key, message in [
        ("nowhere", None, "there are no features at .*nowhere"),
        ("plain.txt", None, "plain.txt is neither a folder"),
        ("empty", None, "empty holds no .npy files$"),
        ("", "feat", "holds no .npz files, but .npy files: leave key out"),
        ("bad.h5", None, "bad.h5 is not an HDF5 file, or a damaged one"),
        ("none.h5", "feats/{video}", "holds nothing at 'feats'"),
        ("none.h5", "lone/{video}", "holds nothing at 'lone'"),
        ("none.h5", "gone/{video}", "has no 'gone'"),
    ]:
        with pytest.raises(UserError, match=message):
            open_source(tmp_path / path, key)
    (tmp_path / "v.npy").rename(tmp_path / "empty" / "v.npz")
    with pytest.raises(UserError, match=r"holds no .npy files, but .npz files: name the member with key"):
        FolderSource(tmp_path / "empty")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match="needs h5py: install the extra 'hdf5'"):
        open_source(tmp_path / "none.h5")


@pytest.mark.parametrize("video", ["x" * 512, "\u00e9" * 256, " "])
def test_impossible_ids(tmp_path: Path, video: str) -> None:
    """The rule is that of annotations: stg.runtime.reading.require_id."""
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file[video] = ROWS
    with pytest.raises(UserError, match=r"all.h5: the video id .* must"):
        open_source(tmp_path / "all.h5")
    np.save(tmp_path / " .npy", ROWS)
    with pytest.raises(UserError, match=f"{tmp_path}: the video id ' ' must not be empty"):
        open_source(tmp_path)


def npy(shape: str, data: bytes = b"", dtype: str = "<f4") -> bytes:
    """A .npy whose header states a shape, as text, and that holds these bytes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.mark.parametrize(
    "shape",
    ["(True, 8)", "(0, 2**62)", f"(0, {2**62})", f"(0, {2**70})", str((1,) * 70), "(0, " * 2, "(-1, 8)", "(1.0, 8)"],
    ids=lambda shape: shape[:20],
)
def test_a_header_that_numpy_cannot_hold_costs_one_video(shape: str, tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(npy(shape, bytes(4 if shape == str((1,) * 70) else 32)))
    np.save(tmp_path / "good.npy", ROWS)
    source = open_source(tmp_path)
    with pytest.raises(UnusableFeatures, match=r"bad\.npy (states the shape|is not a \.npy file)"):
        source.read("bad")
    assert np.array_equal(source.read("good"), ROWS)


def test_an_archive_of_zeros_is_not_unpacked(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "v.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("feat.npy", "w") as file,
    ):
        file.write(npy(f"({feature_files.FREELY // 4 + 1},)"))
        for _ in range(feature_files.FREELY // 2**20 + 1):
            file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(UnusableFeatures, match=r"v\.npz would unpack to \d+ bytes from \d+: arrays of features do not"):
        open_source(tmp_path, "feat").read("v")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
