"""SPICE behind a stand-in for Java: what it is asked, what it answers, and what is missing (faults E7)."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from stg.metrics.java import JavaError
from stg.metrics.scorer import Scorer
from stg.metrics.spice import FILES, Spice
from stg.runtime.errors import UserError

CAPTIONS = {"one": "a man runs", "two": "a dog"}
REFERENCES = {"one": ["a man runs fast", "he runs"], "two": ["a dog sleeps"]}
SCORING = """
import json, sys
asked, options = sys.argv[-5], sys.argv[-4:]
assert "edu.anu.spice.SpiceScorer" in sys.argv and options[0] == "-out" and options[2:] == ["-subset", "-silent"]
rows = json.load(open(asked))
scores = [{"All": {"f": len(row["test"]) / 100 + len(row["refs"])}} for row in rows]
found = [{"image_id": row["image_id"], "scores": score} for row, score in zip(rows, scores)]
json.dump(found, open(options[1], "w"))
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "spice files"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture
def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def make(body: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "java"
        program.write_text(f"#!{sys.executable} -S\n{textwrap.dedent(body)}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return make


def test_each_video_has_its_score(files: Path, fake_java: Callable[[str], None]) -> None:
    fake_java(SCORING)
    assert Spice(files).score(CAPTIONS, REFERENCES) == {"one": 0.1 + 2, "two": 0.05 + 1}


def test_the_scorer_has_spice_only_where_its_files_are_given(files: Path, fake_java: Callable[[str], None]) -> None:
    fake_java(SCORING)
    with Scorer(REFERENCES, spice=files) as scorer:
        found = scorer.score(CAPTIONS, metrics=("bleu", "spice"))
    assert found.values["spice"] == pytest.approx((2.1 + 1.05) / 2)
    assert found.per_video["two"]["spice"] == pytest.approx(1.05)
    with Scorer(REFERENCES) as scorer:
        assert "spice" not in scorer.score(CAPTIONS, metrics=("bleu", "spice")).values


def test_missing_files_are_named(tmp_path: Path, files: Path) -> None:
    with pytest.raises(UserError, match=r"needs stanford-corenlp-3.6.0.jar and stanford-corenlp-3.6.0-models.jar in"):
        Spice(tmp_path / "nowhere")
    (files / FILES[1]).unlink()
    with pytest.raises(UserError, match=r"SPICE needs stanford-corenlp-3.6.0-models.jar in .*unpack"):
        Scorer(REFERENCES, spice=files)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("pass", "left no scores that can be read"),
        ("import sys; open(sys.argv[-3], 'w').write('[{}]')", "left no scores that can be read"),
        ("import sys; open(sys.argv[-3], 'w').write('[]')", "scored 0 of 2 videos"),
        ("import time; time.sleep(60)", "within 1 s and was stopped"),
    ],
)
def test_java_that_fails_spoils_spice_alone(
    body: str, words: str, files: Path, fake_java: Callable[[str], None]
) -> None:
    fake_java(body)
    with pytest.raises(JavaError, match=words):
        Spice(files, timeout=1.0).score(CAPTIONS, REFERENCES)
    if "sleep" not in body:
        with Scorer(REFERENCES, spice=files) as scorer:
            found = scorer.score(CAPTIONS, metrics=("rouge", "spice"))
        assert words in found.unavailable["spice"]
        assert found.values["rouge"] > 0
