"""What happens to a store whose file is broken, forged, foreign, or in the wrong place: words, never a signal."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

import graphs.storage.file_systems
from graphs.storage.file_systems import NetworkFileSystem, file_system
from graphs.storage.records import StoreError
from graphs.storage.store import GraphStore
from tests.graphs.made_graphs import WIDE, as_stored, filled, in_child, made_graph, read_all, same

# Newer Pythons warn of any fork in a process with threads; the children here only read, write and leave.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "graphs.store"


@pytest.mark.parametrize("part", [0.999, 0.7, 0.3, 0.05])
def test_a_truncated_file_is_refused_not_fatal(path: Path, part: float) -> None:
    os.truncate(filled(path), int(path.stat().st_size * part))
    for mode in ("r", "a"):
        answer = in_child(lambda mode=mode: repr(GraphStore(path, mode)))
        assert "StoreError" in answer
        assert "is truncated: " in answer
        assert str(path) in answer


def test_what_is_no_store_is_refused_by_name(path: Path) -> None:
    whole = filled(path).read_bytes()
    swapped = bytearray(whole)
    swapped[16:20] = whole[19:15:-1]
    narrow = bytearray(whole)
    narrow[12:20] = whole[16:20] + bytes(4)
    odd = bytearray(whole)
    odd[40:44] = (4097).to_bytes(4, "little")
    for content, message in [
        (b"", "is empty, not a store"),
        (b"<!DOCTYPE html><html>" * 1000, "is not an LMDB file: it begins with"),
        (random.Random(0).randbytes(50_000), "is not an LMDB file"),
        (whole[:100], "is truncated within its first two pages"),
        (whole[:4200], "is truncated within its first two pages"),
        (bytes(swapped), "with the other byte order"),
        (bytes(narrow), "on a 32-bit machine"),
        (bytes(odd), "states a page size of 4097"),
    ]:
        bad = path.with_name("bad")
        bad.write_bytes(content)
        with pytest.raises(StoreError, match=message):
            GraphStore(bad)
    folder = path.with_name("folder")
    folder.mkdir()
    with pytest.raises(StoreError, match="is a folder; a store is one file"):
        GraphStore(folder)
    os.mkfifo(path.with_name("fifo"))
    with pytest.raises(StoreError, match="is not a regular file"):
        GraphStore(path.with_name("fifo"))


def test_another_lmdb_file_is_neither_read_nor_emptied(path: Path) -> None:
    from graphs.storage.database import LMDBDatabase

    with LMDBDatabase(path, schema=int) as database:
        database[0] = 5
    for mode in ("r", "a", "w"):
        with pytest.raises(StoreError, match="is an LMDB file, but not a store of video graphs: it has no header"):
            GraphStore(path, mode)
    with LMDBDatabase(path, schema=int) as database:
        assert database[0] == 5
    other = filled(path.with_name("graphs"))
    with pytest.raises(StoreError, match="is a store of video graphs: open it with GraphStore"):
        LMDBDatabase(other, schema=int)


def test_flipped_bytes_in_a_record_name_its_video(path: Path) -> None:
    """C6: LMDB itself hands back the wrong numbers without a word."""
    with GraphStore(filled(path)) as store:
        needle = store.get("v5").x.half().numpy().tobytes()
    raw = bytearray(path.read_bytes())
    start = raw.index(needle) + 1000
    raw[start : start + 64] = bytes(byte ^ 0x41 for byte in raw[start : start + 64])
    path.write_bytes(raw)
    with GraphStore(path) as store:
        ((video, reason),) = store.verify()
        assert video == "v5"
        assert "damaged: the checksum is" in reason
        with pytest.raises(StoreError, match=r"graphs.store, video 'v5': damaged"):
            store.batch(["v4", "v5"])
        with pytest.raises(StoreError, match="video 'v5': damaged"):
            store.get("v5")
        store.batch(["v4", "v6"])
    with GraphStore(path, "a") as store:
        store.put("v5", made_graph([2, 1], seed=5, **WIDE))
        assert store.verify() == []


def test_a_broken_file_gives_words_or_the_right_numbers(path: Path) -> None:
    """Bytes flipped in the pages of the index and anywhere: an error or the numbers written, never a signal."""
    whole = filled(path).read_bytes()
    pages = index_pages(whole)
    refused = 0
    for seed in range(40):
        chance = random.Random(seed)
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            place = chance.choice(pages) + chance.randrange(200) if seed % 2 else chance.randrange(len(raw))
            raw[place] ^= 1 << chance.randrange(8)
        path.write_bytes(raw)
        Path(f"{path}-lock").unlink(missing_ok=True)
        answer = in_child(lambda: " ".join(read_each(path)))
        assert answer.startswith("StoreError") or set(answer.split()) <= {"right", "refused"}, f"seed {seed}: {answer}"
        refused += "right" not in answer or "refused" in answer
    assert refused > 20


def index_pages(raw: bytes | bytearray) -> list[int]:
    """Where the meta, branch and leaf pages begin: each starts with its own number, and its type follows."""
    numbered = (at for at in range(0, len(raw), 4096) if raw[at : at + 8] == (at // 4096).to_bytes(8, "little"))
    return [at for at in numbered if raw[at + 10] in (1, 2, 8)]


def read_each(path: Path) -> Iterator[str]:
    with GraphStore(path) as store:
        for i in range(12):
            try:
                data = store.get(f"v{i}")
            except StoreError:
                yield "refused"
            else:
                yield "right" if same(data, as_stored(made_graph([2, 1], seed=i, **WIDE))) else "wrong"


def test_an_index_page_that_contradicts_itself_is_refused(path: Path) -> None:
    """LMDB reads on; only the walk over the pages finds it."""
    raw = bytearray(filled(path, 300).read_bytes())
    for at in index_pages(raw)[2:]:
        raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"graphs.store is damaged: .* problems in its pages\); restore or remake it"):
        GraphStore(path)


def test_a_read_only_folder_can_be_read_and_not_written(path: Path) -> None:
    filled(path)
    for file in path.parent.iterdir():
        if file != path:
            file.unlink()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    for folder in path.parents[1:]:
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)

    def visit() -> str:
        if os.getuid() == 0:
            os.setuid(65534)
        answer = read_all(path)
        try:
            GraphStore(path, "a")
        except StoreError as error:
            return f"{answer}; {error}"
        return answer

    try:
        answer = in_child(visit)
    finally:
        path.parent.chmod(0o755)
    assert answer.startswith("whole; cannot write")
    assert "read-only for this user" in answer
    assert [file.name for file in path.parent.iterdir()] == ["graphs.store"]


def test_a_replaced_file_is_opened_anew(path: Path) -> None:
    with GraphStore(filled(path)) as old:
        shutil.move(path, path.with_name("moved"))
        Path(f"{path}-lock").unlink()
        with GraphStore(path, "w") as new:
            assert len(new) == 0
        assert len(old) == 12


MOUNTS = r"""22 1 0:21 / /proc rw - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / {place} rw,relatime master:1 - {kind} server:/export rw
not a line of this file
"""


@pytest.mark.parametrize(
    ("kind", "network"),
    [*((kind, True) for kind in ("nfs4", "cifs", "fuse.sshfs", "9p", "lustre")), ("ext4", False), ("tmpfs", False)],
)
def test_a_network_file_system_is_warned_of_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, network: bool
) -> None:
    """C10: by a made table of mounts, with a space in the name of the folder."""
    folder = tmp_path / "far away"
    folder.mkdir()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(place=str(folder).replace(" ", r"\040"), kind=kind))
    monkeypatch.setattr(graphs.storage.file_systems, "MOUNTS", mounts)
    assert file_system(folder / "x") == kind
    assert file_system(tmp_path / "far") == file_system(tmp_path / "far away too") == "ext4"
    GraphStore(tmp_path / "near", "w", strict=True).close()
    if not network:
        GraphStore(folder / "x", "w", strict=True).close()
        return
    with pytest.raises(StoreError, match=rf"a network file system \({kind}\).*: write it on a local disk"):
        GraphStore(folder / "x", "w", strict=True)
    assert list(folder.iterdir()) == []
    with pytest.warns(
        NetworkFileSystem, match=rf"on a network file system \({kind}\).*: write it on a local"
    ) as caught:
        GraphStore(folder / "x", "w").close()
    assert len(caught) == 1
    GraphStore(folder / "x", strict=True).close()


def test_the_last_of_two_mounts_on_one_point_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 0 0:1 / /a rw - nfs x rw\n2 1 0:2 / /a rw - ext4 y rw\n3 1 0:3 / /a/b rw - cifs z rw\n")
    monkeypatch.setattr(graphs.storage.file_systems, "MOUNTS", mounts)
    assert [file_system(path) for path in ("/a", "/a/c", "/a/b/c", "/ab", "/")] == ["ext4", "ext4", "cifs", None, None]
    monkeypatch.setattr(graphs.storage.file_systems, "MOUNTS", tmp_path / "none")
    assert file_system("/a") is None


def test_writing_to_a_read_only_place_fails_before_anything_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C13, for a root user too, whom modes do not stop: a read-only medium, and a path below a file."""
    path.touch()
    with pytest.raises(StoreError, match=r"cannot write .*: there is no folder"):
        GraphStore(path / "below", "a")
    path.unlink()
    monkeypatch.setattr(graphs.storage.file_systems.os, "access", lambda where, mode: mode != os.W_OK)
    for mode in ("a", "w"):
        with pytest.raises(StoreError, match=r"cannot write .*: the folder or the file is read-only for this user"):
            GraphStore(path, mode)
    assert list(path.parent.iterdir()) == []


def test_a_store_that_grows_while_it_is_opened_is_opened_at_its_new_size(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(path)
    usual, sizes = lmdb.open, list[int]()

    def grown_meanwhile(name: bytes, **options: Any) -> Any:
        sizes.append(options["map_size"])
        if len(sizes) == 1:
            with path.open("ab") as file:
                file.write(bytes(4096))
            raise lmdb.MapResizedError("contents grew beyond the map")
        return usual(name, **options)

    monkeypatch.setattr(lmdb, "open", grown_meanwhile)
    assert read_all(path) == "whole"
    assert sizes[1] == sizes[0] + 4096


def test_a_store_that_did_not_grow_is_not_opened_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)

    def too_small(name: bytes, **options: Any) -> Any:
        raise lmdb.MapResizedError("contents grew beyond the map")

    monkeypatch.setattr(lmdb, "open", too_small)
    with pytest.raises(lmdb.MapResizedError):
        GraphStore(path)
