"""Reading annotations of others: sizes, nesting, NaN, ids, captions (faults B1, B5, B6, A15), and fuzzed loaders."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stg.datasets.annotation import Language, clean_caption
from stg.datasets.base import CaptionDataset
from stg.datasets.folder import read_folder
from stg.datasets.msrvtt import read_msrvtt
from stg.datasets.vatex import read_vatex
from stg.runtime import reading
from stg.runtime.errors import UserError
from stg.runtime.reading import read_csv, read_json, read_json_lines, read_text, require_id
from stg.text.tokenizer import tokenize
from stg.text.vocabulary import SPECIAL, Vocabulary
from tests.stg.make_annotations import write_msrvtt, write_vatex

# --- files


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": [1, "\\u00e9"]}')
    assert read_json(path) == {"a": [1, "é"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1,\n "b": NaN}', r"a\.json holds NaN at line 2, which is no JSON"),
        (b'["NaN",\n\n-Infinity]', r"a\.json holds -Infinity at line 3"),
        (b'{"a": 1,\n "b"', r"a\.json is not valid JSON: .* at line 2 column 5; is the file whole\?"),
        (b"", r"a\.json is not valid JSON: Expecting value at line 1 column 1"),
        (b'[{"a": 1, "a": 2}]', r"a\.json has the key 'a' twice in one object"),
        (b'{"k": ' + b"[" * 200 + b"]" * 200 + b"}", r"nested more than 32 levels deep \(key 'k'\)"),
        (b'[0, {"k": ' + b"[" * 200 + b"]" * 200 + b"}]", r"nested more than 32 levels deep \(row 1\)"),
        (b"[" * 100_000 + b"]" * 100_000, r"a\.json is nested more than 32 levels deep"),
        (b"[" + b"1" * 5000 + b"]", r"a\.json is not valid JSON: Exceeds the limit"),
        (b'["\xff"]', r"a\.json is not UTF-8 text \(byte 2\): save it as UTF-8"),
    ],
)
def test_broken_json_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_nesting_is_allowed_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[1, [2, {"k": []}]]')
    assert read_json(path, max_depth=4)
    with pytest.raises(UserError, match="more than 3 levels deep"):
        read_json(path, max_depth=3)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with open(path, "wb") as file:
        file.truncate(reading.MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(UserError, match=r"a\.json has 2147483649 bytes, more than the 2147483648"):
        read_json(path)
    path.write_text("[1]")
    assert read_json(path, max_bytes=3) == [1]
    with pytest.raises(UserError, match="has 3 bytes, more than the 2"):
        read_json(path, max_bytes=2)


def test_other_things_than_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match="is not a regular file"):
            read_text(path)
    with pytest.raises(UserError, match=r"could not read .*none: No such file"):
        read_text(tmp_path / "none")
    with pytest.raises(UserError, match=r"could not read .*null"):
        read_text(tmp_path / "a\0b")


def test_lines_of_json_name_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"a": "x\u2028y"}\r\n\n[1]\n', encoding="utf-8")
    assert list(read_json_lines(path)) == [(f"{path} line 1", {"a": "x\u2028y"}), (f"{path} line 3", [1])]
    path.write_text("1\n{")
    with pytest.raises(UserError, match=r"a\.jsonl line 2 is not valid JSON: .* at column 2"):
        list(read_json_lines(path))
    path.write_text("1\n[NaN]")
    with pytest.raises(UserError, match=r"a\.jsonl line 2 holds NaN, which"):
        list(read_json_lines(path))


def test_csv_with_quotes_commas_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffvideo,caption\r\na,"one, ""two""\nthree"\r\n\r\n"b\nc",four\r\n'.encode())
    rows = list(read_csv(path, ("video", "caption"), ("split",)))
    assert [row for _, row in rows] == [
        {"video": "a", "caption": 'one, "two"\nthree'},
        {"video": "b\nc", "caption": "four"},
    ]
    assert rows[0][0] == f"{path} line 3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"a\.csv is empty: expected the columns video,caption\[,split\]"),
        ("video;caption\na;b\n", r"line 1: expected the columns .* separated by something else: save the file with c"),
        ("video\tcaption\n", r"separated by something else"),
        ("video,text\n", r"line 1: expected the columns video,caption\[,split\]; got 'video', 'text'"),
        ("video,caption,spilt\n", r"got 'video', 'caption', 'spilt'"),
        ("video,caption,video\n", r"got 'video', 'caption', 'video'"),
        ("video,caption\na,one, two\n", r"line 2 has 3 cells instead of 2: put captions that hold commas in quotes"),
        ("video,caption\na\n", r"line 2 has 1 cells instead of 2"),
        ('video,caption\na,"one\n', r"line 2 is not CSV: unexpected end of data"),
        ('video,caption\na,"one" two\n', r"line 2 is not CSV: .*; write a quote inside a cell twice"),
        ("video,caption\na," + "x" * 200_000, r"line 2 is not CSV: field larger than field limit"),
    ],
)
def test_a_broken_csv_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        list(read_csv(path, ("video", "caption"), ("split",)))


# --- ids


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", "must not be empty"),
        (" \n", "must not be empty"),
        ("../../x", "must not hold '/'"),
        ("/etc/x", "must not hold '/'"),
        ("a/b", "must not hold '/'"),
        ("..", "must not be the name of a folder"),
        (".", "must not be the name of a folder"),
        ("a\0b", "must not hold a NUL"),
        ("é" * 256, "must have at most 511 bytes of UTF-8, not 512"),
        ("a\udc80", "must be valid Unicode"),
        (7, "must be text, got a whole number"),
        (None, "must be text, got null"),
    ],
)
def test_hostile_ids_are_refused(value: object, rule: str) -> None:
    with pytest.raises(UserError, match=f"^file row 3: (the|a) video id .*{rule}"):
        require_id(value, "file row 3")


@pytest.mark.parametrize("value", ["-4wsuPCjDBc_5_15", "a b", "a\nb", "🎬", "..a", "a\\b", "\\xff", "é" * 255 + "x"])
def test_odd_ids_are_kept(value: str) -> None:
    assert require_id(value, "here") == value


@given(st.text(max_size=12))
@example("a/../b")
def test_an_accepted_id_is_a_key_and_one_part_of_a_path(value: str) -> None:
    try:
        require_id(value, "here")
    except UserError:
        return
    assert 1 <= len(value.encode()) <= 511
    assert Path("/out", value).parent == Path("/out")
    assert Path("/out", value) != Path("/out")


# --- captions


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a\tdog\r\nruns\x00\x1b[31m ", "a dog runs [31m"),
        ("a\u2028dog\u200bruns\ufeff", "a dog runs"),
        ("don\x92t \x93stop\x94", "don\u2019t \u201cstop\u201d"),
        ("a \ud800dog", "a dog"),
        ("собака бежит", "собака бежит"),
        ("كلب يجري", "كلب يجري"),
        ("", ""),
        (" .,!? -- ", ""),
        ("\u3002\uff01", ""),
        ("🎬🎬", ""),
        ("()", ""),
        ("&NBSP;", ""),
        ("a&nbsp;dog", "a dog"),
    ],
)
def test_captions_are_cleaned(text: str, cleaned: str) -> None:
    assert clean_caption(text) == cleaned


def test_chinese_is_one_word_a_character() -> None:
    cleaned = clean_caption("一个男人在“DJ台”前，跑了10米。", "zh")  # noqa: RUF001
    assert tokenize(cleaned) == ["一", "个", "男", "人", "在", "dj", "台", "前", "跑", "了", "10", "米"]
    assert clean_caption("，。！", "zh") == ""  # noqa: RUF001
    assert tokenize(clean_caption("一个男人")) == ["一个男人"]


@settings(max_examples=150)
@given(st.text(st.characters(codec=None), max_size=40), st.sampled_from(["en", "zh"]))
def test_any_caption_goes_through_words_and_back(text: str, language: Language) -> None:
    cleaned = clean_caption(text, language)
    assert clean_caption(cleaned, language) == cleaned
    assert len(cleaned.splitlines()) <= 1
    cleaned.encode()
    if cleaned and not set(SPECIAL) & set(tokenize(cleaned)):
        vocabulary = Vocabulary.build([cleaned], min_count=1, max_words=5)
        numbers = vocabulary.encode(cleaned)
        assert 3 <= len(numbers) <= 7
        assert vocabulary.decode(numbers[1:]).split(" ") == tokenize(cleaned)[:5]


# --- the loaders on damaged files


def folder_csv(root: Path) -> Path:
    (root / "captions.csv").write_text('video,caption,split\na.mp4,one,train\nb,"two, 2",val\nc,three,test\n')
    return root


def folder_jsonl(root: Path) -> Path:
    rows = [{"video": name, "captions": ["one", "two"]} for name in ("a.mp4", "b", "c")]
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


LOADERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], CaptionDataset]]] = {
    "msrvtt": (write_msrvtt, read_msrvtt),
    "vatex": (write_vatex, read_vatex),
    "vatex zh": (write_vatex, lambda root: read_vatex(root, "zh")),
    "csv": (folder_csv, read_folder),
    "jsonl": (folder_jsonl, read_folder),
}
PIECES = [b"", b"\0", b"\xff", b'"', b"[", b"]", b"{", b"}", b",", b"null", b"NaN", b"1e999", b"-1", b'"../x"', b"\n",
          b'""', b"true", b"\\ud800", b"\xef\xbb\xbf", b"9" * 30]  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", LOADERS)
def test_only_user_errors_come_out_of_damaged_files(name: str, tmp_path: Path, data: st.DataObject) -> None:
    write, read = LOADERS[name]
    whole = write(tmp_path)
    files = sorted(path for path in whole.iterdir() if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content = content[:at] + data.draw(st.sampled_from(PIECES)) + content[at + data.draw(st.integers(0, 9)) :]
    path.write_bytes(content)
    _read_or_refuse(read, whole)


@pytest.mark.parametrize("name", LOADERS)
def test_only_user_errors_come_out_of_other_values(name: str, tmp_path: Path) -> None:
    """Each value of the JSON files in turn is replaced by one of another kind."""
    write, read = LOADERS[name]
    root = write(tmp_path)
    assert read(root).splits["train"]
    rng = random.Random(0)
    for path in sorted(root.glob("*.json")):
        value = json.loads(path.read_text())
        places = list(_places(value))
        for holder, key in rng.sample(places, min(25, len(places))):
            kept = holder[key]
            for other in (None, 3, -1.5, True, "", "x/y", [], {}, [[]], {"a": 1}, ["x"]):
                holder[key] = other
                path.write_text(json.dumps(value))
                _read_or_refuse(read, root)
            holder[key] = kept
        path.write_text(json.dumps(value))


def _places(value: object) -> "list[tuple[object, object]]":
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *_places(value[key])]]  # type: ignore[index]


def _read_or_refuse(read: Callable[[Path], CaptionDataset], root: Path) -> None:
    try:
        made = read(root)
    except UserError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
    else:
        for videos in made.splits.values():
            for video in videos:
                assert require_id(video, "here") == video
