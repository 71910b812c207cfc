"""METEOR's process: whatever Java does, the caller gets an answer or an error, in time."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from stg.metrics.java import JavaError
from stg.metrics.meteor import Meteor
from stg.metrics.scorer import score

# Answers like METEOR: the statistics of a caption are its words and those of its references.
ANSWERING = """
import sys
sys.stderr.write("chatter " * 40000)
sys.stderr.flush()
for line in sys.stdin:
    parts = line.rstrip("\\n").split(" ||| ")
    if parts[0] == "SCORE":
        print(len(parts[-1].split()), len(parts) - 2, flush=True)
    else:
        words = [float(part.split()[0]) for part in parts[1:]]
        print("\\n".join(str(number / 10) for number in [*words, sum(words)]), flush=True)
"""


@pytest.fixture
def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def make(body: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "java"
        program.write_text(f"#!{sys.executable} -S\n{textwrap.dedent(body)}")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return program

    return make


def test_answers_come_back_in_order_beside_much_chatter(fake_java) -> None:
    fake_java(ANSWERING)
    with Meteor(timeout=60.0) as meteor:
        captions = ["a", "a b", "", "a b c"] * 500
        total, scores = meteor.score(captions, [["x", "y"]] * 2000)
    assert scores == [0.1, 0.2, 0.0, 0.3] * 500
    assert total == pytest.approx(300)


def test_signs_of_the_protocol_in_a_caption_shift_nothing(fake_java) -> None:
    fake_java(ANSWERING)
    with Meteor(timeout=60.0) as meteor:
        _, scores = meteor.score(["a ||| b", "a\nb\rc", "a"], [["x ||| y"], ["x\ny"], ["z"]])
    assert scores == [0.2, 0.3, 0.1]


def test_one_process_serves_many_calls_and_a_killed_one_is_replaced(fake_java) -> None:
    fake_java(ANSWERING)
    with Meteor(timeout=60.0) as meteor:
        pids = []
        for turn in range(3):
            assert meteor.score(["a b"], [["x"]])[1] == [0.2]
            assert meteor._process is not None
            pids.append(meteor._process.pid)
            if turn == 1:
                os.kill(pids[-1], signal.SIGKILL)
                time.sleep(0.2)
    assert pids[0] == pids[1] != pids[2]
    assert not _exists(pids[2])


def test_threads_and_two_processes_at_once(fake_java) -> None:
    # All questions wait while Java starts, so that threads without a lock would take each other's answers.
    fake_java(f"import time; time.sleep(0.5)\n{ANSWERING}")
    found: list[list[float]] = []
    with Meteor(timeout=60.0) as one, Meteor(timeout=60.0) as other:
        jobs = [
            threading.Thread(target=lambda m=meteor, n=n: found.append(m.score(["a " * n] * 50, [["x"]] * 50)[1]))
            for n, meteor in enumerate((one, one, other, other), start=1)
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(60)
    assert sorted(found) == [[n / 10] * 50 for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import sys; sys.exit('Unsupported major.minor version 52.0')", "exit code 1.*Unsupported major.*Java 8"),
        ("import time; time.sleep(60)", r"gave 0 of 5000 answers within 0.3 s and was stopped"),
        ("import sys\nfor line in sys.stdin: print('Picked up _JAVA_OPTIONS')", "answered 'Picked up.*numbers"),
        ("import sys\nfor line in sys.stdin: print()", "answered '' where numbers"),
        ("import os\ninput()\nprint('1 2', flush=True)\nos.kill(os.getpid(), 9)", "killed by signal 9"),
        (
            "import time, sys\nsys.stdin.readline()\nprint('1 2', flush=True)\ntime.sleep(60)",
            "gave 1 of 5000 answers within 3 s",
        ),
        ("import sys\nfor line in sys.stdin: print('1 2\\n3 4')", "more than it was asked: "),
        (
            "for _ in range(5000):\n  input()\n  print('1 2')\ninput()\nprint('1 2\\n' * 5001, end='')",
            "answered '1 2' where numbers were expected",
        ),
        ("import os, time\nos.close(1)\ntime.sleep(60)", "closed its output but did not end within 3 s"),
    ],
    ids=[
        "exits",
        "hangs",
        "rubbish",
        "blank",
        "dies midway",
        "hangs midway",
        "says too much",
        "numbers in pairs",
        "hangs silent",
    ],
)
def test_java_that_fails_is_an_error_in_time(fake_java, body: str, words: str) -> None:
    fake_java(body)
    start = time.monotonic()
    # Time enough for a busy machine where an answer is due, little where none will come.
    named = re.search(r"within ([\d.]+) s", words)
    timeout = float(named[1]) if named else 60.0
    with Meteor(timeout=timeout) as meteor, pytest.raises(JavaError, match=words):
        meteor.score(["a man"] * 5000, [["a man runs"]] * 5000)
    assert meteor._process is None
    assert time.monotonic() - start < timeout + 30


def test_what_java_says_last_is_in_the_error_though_its_answers_ended_before(fake_java) -> None:
    fake_java("import os, sys, time\nos.close(1)\ntime.sleep(0.3)\nsys.exit('no room for the heap')")
    with Meteor(timeout=60.0) as meteor, pytest.raises(JavaError, match=r"exit code 1 .it said: no room for the heap"):
        meteor.score(["a man"], [["a man runs"]])


def test_children_of_a_hung_java_are_stopped_too(fake_java, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    fake_java(f"""
        import subprocess, time
        child = subprocess.Popen(["/bin/sleep", "60"])
        open({str(note)!r}, "w").write(str(child.pid))
        time.sleep(60)
        """)
    with Meteor(timeout=3.0) as meteor, pytest.raises(JavaError, match="0 of 1 answers"):
        meteor.score(["a"], [["b"]])
    assert not _exists(int(note.read_text()))


def test_without_java_the_other_scores_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = score({"a": "a man runs", "b": "a dog"}, {"a": ["a man runs fast"], "b": ["the dog"]})
    assert set(found.values) == {"bleu1", "bleu2", "bleu3", "bleu4", "rouge", "cider"}
    assert found.unavailable.keys() == {"meteor"}
    assert "needs Java 8 or newer" in found.unavailable["meteor"]
    assert "no `java` on the PATH" in found.unavailable["meteor"]


def test_a_java_that_fails_spoils_only_meteor(fake_java) -> None:
    fake_java("raise SystemExit(1)")
    found = score({"a": "a man", "b": "a dog"}, {"a": ["a man"], "b": ["the dog"]}, timeout=60.0)
    assert "cider" in found.values
    assert "exit code 1" in found.unavailable["meteor"]


def test_what_is_not_a_program_is_named(fake_java) -> None:
    fake_java("").write_bytes(b"\0nothing")
    with Meteor() as meteor, pytest.raises(JavaError, match=r"Java 8 or newer.*Exec format error"):
        meteor.score(["a"], [["b"]])


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 captions and 2 lists of references"):
        Meteor().score(["a"], [["b"], ["c"]])
    with pytest.raises(ValueError, match="got 0 captions"):
        Meteor().score([], [])


@pytest.mark.parametrize("kill", [False, True])
def test_the_interpreter_ends_with_an_open_or_dead_java(fake_java, tmp_path: Path, kill: bool) -> None:
    fake_java("import time; time.sleep(60)")
    program = f"""
        import os, signal
        from stg.metrics.meteor import Meteor
        meteor = Meteor()
        meteor.start()
        print(meteor._process.pid, flush=True)
        if {kill}:
            os.kill(meteor._process.pid, signal.SIGKILL)
        """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert ended.stderr == ""
    assert not _exists(int(ended.stdout))


def _exists(pid: int) -> bool:
    """Whether a process runs, a moment from now (the dead wait for their parent in a list that init clears)."""
    for _ in range(20):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        time.sleep(0.1)
    return True


def test_java_that_the_environment_misleads_is_not_called_missing(fake_java, monkeypatch) -> None:
    fake_java(
        "import sys; sys.exit('Picked up _JAVA_OPTIONS: -Xmx9g Error: Could not create the Java Virtual Machine.')"
    )
    monkeypatch.setenv("_JAVA_OPTIONS", "-Xmx9g")
    with Meteor(timeout=60.0) as meteor, pytest.raises(JavaError) as error:
        meteor.score(["a b"], [["x"]])
    assert "Could not create the Java Virtual Machine.); Java is there, and takes options from _JAVA_OPTIONS" in str(
        error.value
    )
    assert "install" not in str(error.value)
