"""Files are written whole or not at all, and read with words."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stg.runtime.errors import StgError, UserError
from stg.runtime.files import append_jsonl, open_log, remove_leftovers, replacing, sha256_file, write_atomic
from stg.runtime.reading import read_json


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_atomic(target, "old")
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.json"
    write_atomic(target, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StgError, match=r"could not write .*a.json \(3 bytes\): No space left on device"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_killed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    write_atomic(target, "old")
    code = (
        "import os, sys; from stg.runtime.files import write_atomic; os.replace = lambda *_: os._exit(9); "
        "write_atomic(sys.argv[1], b'x' * 99)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False, timeout=60)
    assert done.returncode == 9
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    write_atomic(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_only_the_temporary_files_of_dead_writers_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    dead, of_another = tmp_path / ".a.json.0123abcd.tmp", tmp_path / ".b.json.0123abcd.tmp"
    foreign, linked = tmp_path / ".a.json.tmp", tmp_path / ".a.json.89abcdef.tmp"
    for path in (dead, of_another, foreign):
        path.touch()
    linked.symlink_to(foreign)
    with replacing(target) as living:
        write_atomic(target, "x")
        assert living.exists()
        assert not dead.exists()
        assert of_another.exists()
        remove_leftovers(tmp_path)
        living.write_text("y")
    assert target.read_text() == "y"
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", foreign.name, linked.name}


def test_json_faults_are_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(UserError, match=r"could not read .*x.json: No such file"):
        read_json(path)
    path.write_text('{"a": 1,\n"b": }')
    with pytest.raises(UserError, match=r"x.json is not valid JSON: .* at line 2 column 6"):
        read_json(path)
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}
    path.write_bytes(b'"\xff"')
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(UserError, match="nested more than 32 levels deep"):
        read_json(path)


def test_rows_append_as_lines(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "r.jsonl", {"a": "ü\n"})
    append_jsonl(tmp_path / "r.jsonl", {"a": 2})
    assert (tmp_path / "r.jsonl").read_text(encoding="utf-8").splitlines() == ['{"a": "ü\\n"}', '{"a": 2}']
    with pytest.raises(ValueError, match="Out of range float"):
        append_jsonl(tmp_path / "r.jsonl", {"a": float("nan")})


@pytest.mark.parametrize(
    ("end", "kept"),
    [
        ('{"a": 1}\n{"b": [1, "half', '{"a": 1}\n'),
        ('{"a": 1}', '{"a": 1}\n'),
        ('{"b": "', ""),
        ('{"a": 1}\n12', '{"a": 1}\n'),
        ('{"a": 1}\n"' + 200_000 * "x", '{"a": 1}\n'),
    ],
)
def test_half_a_line_is_not_glued_to_the_next_row(tmp_path: Path, end: str, kept: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(end)
    append_jsonl(path, {"c": 3})
    assert path.read_text() == kept + '{"c": 3}\n'


def test_a_row_that_has_no_room_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.jsonl"
    append_jsonl(path, {"a": 1})
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    with pytest.raises(StgError, match=r"could not write .*r.jsonl: No space left on device"):
        append_jsonl(path, {"b": 2})
    assert path.read_text() == '{"a": 1}\n'


def test_a_log_is_not_written_through_a_link_or_into_a_pipe(tmp_path: Path) -> None:
    victim, log = tmp_path / "thesis.txt", tmp_path / "r.jsonl"
    victim.write_text("three years")
    log.symlink_to(victim)
    with pytest.raises(StgError, match=r"r.jsonl is a link, and what it leads to would be overwritten: remove it"):
        append_jsonl(log, {"a": 1})
    with pytest.raises(OSError, match="is a link"):
        open_log(log)
    assert victim.read_text() == "three years"
    write_atomic(log, "in its place")
    assert (victim.read_text(), log.read_text(), log.is_symlink()) == ("three years", "in its place", False)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StgError, match="pipe is not a regular file"):
        append_jsonl(tmp_path / "pipe", {"a": 1})


def test_a_text_log_ends_the_half_line_of_a_killed_writer(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    for text in ("one\nhal", "two\n"):
        with open_log(log) as file:
            file.write(text)
    assert log.read_text() == "one\nhal\ntwo\n"


def test_checksum_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(UserError, match="could not read"):
        sha256_file(tmp_path / "b")


@pytest.mark.skipif(os.name != "posix", reason="modes of files are a matter of POSIX systems")
def test_a_written_file_may_be_read_by_those_who_may_read_others(tmp_path: Path) -> None:
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.write_text("x")
    write_atomic(ours, "x")
    assert ours.stat().st_mode == plain.stat().st_mode


def test_names_that_are_no_utf_8_are_written_as_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    write_atomic(tmp_path / "a.json", json.dumps({"video": name}, ensure_ascii=False))
    assert (tmp_path / "a.json").read_bytes() == b'{"video": "caf\\udce9.mp4"}'
    assert json.loads((tmp_path / "a.json").read_text()) == {"video": name}
