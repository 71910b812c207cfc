"""The command ``python -m benchmarks``, without measuring anything."""

from importlib import util
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as command


def test_every_benchmark_has_a_module() -> None:
    for name in command.BENCHMARKS:
        assert util.find_spec(f"benchmarks.{name}"), name


def test_an_unknown_name_gives_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["scores", "speed"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "no benchmark 'speed'; there are: edges, convolution" in told


def test_tables_cannot_be_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["table", "--quick"])
    assert "--quick writes nothing" in capsys.readouterr().err


def test_help_lists_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in (*command.BENCHMARKS, command.TABLE))


def test_one_that_fails_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    failed = command.main_first(["edges", "store"], lambda name: "they differ" if name == "edges" else None)
    assert failed == ["edges"]
    told = capsys.readouterr().out
    assert "[2/2] store" in told
    assert "edges: FAILED: they differ" in told
    assert "store: done" in told


@pytest.mark.parametrize("quick", [True, False])
def test_a_failure_ends_the_command_with_one_and_writes_no_table(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    outcomes: dict[str, str | None] = {"edges": "they differ"}
    monkeypatch.setattr(command, "write_tables", lambda: written.append("README.md") or [Path("README.md")])
    for run in ("check", "measure_apart"):
        monkeypatch.setattr(command, run, lambda name, **_: outcomes.get(name))
    arguments = ["--quick"] if quick else []
    assert command.main(arguments) == 1
    assert command.main(["store", *arguments]) == 0
    assert not written  # nor where only some were measured
    outcomes.clear()
    assert command.main(arguments) == 0
    assert written == ([] if quick else ["README.md"])


def test_a_process_that_fails_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    assert command.measure_apart("no_such_benchmark") == "its process ended with code 1"
    assert "no_such_benchmark" in capfd.readouterr().err


def test_a_quick_run_that_writes_or_differs_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path)

    def writes(quick: bool) -> None:
        (tmp_path / "edges.json").write_text("{}")

    def differs(quick: bool) -> None:
        raise AssertionError("results differ")

    outcomes = []
    for main in (lambda quick: None, writes, differs):
        module = SimpleNamespace(main=main)
        monkeypatch.setattr(command, "import_module", lambda name, module=module: module)
        outcomes.append(command.check("edges"))
    assert outcomes == [
        None,
        "it wrote edges.json where only results are compared",
        "AssertionError: results differ",
    ]
