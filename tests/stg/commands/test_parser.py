"""Options, YAML files, one-line errors and exit codes (faults D15)."""

import dataclasses
import re
import runpy
import sys
from argparse import SUPPRESS
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

from graphs import StoreError, StoreFullError
from stg.__main__ import COMMANDS, MODULES
from stg.commands.option_files import presets
from stg.commands.parser import build_parser, parse, run_command
from stg.config.schema import differences, from_dict, to_dict
from stg.config.training import FitConfig
from stg.runtime.errors import Preempted, StgError, TooManySkipped, UserError


@dataclasses.dataclass(frozen=True)
class Demo:
    """A command with a positional argument."""

    clips: tuple[str, ...] = dataclasses.field(metadata={"positional": True, "help": "clips"})
    size: int = 3
    """How many."""


def read(*argv: str) -> FitConfig:
    return parse(FitConfig, argv, prog="stg.fit", description="")[0]


def test_dotted_options_and_scientific_numbers() -> None:
    config = read("--optim.lr", "1e-4", "--model.branches=scene", "--optim.epoch_captions", "null")
    assert config.optim.lr == 1e-4
    assert config.model.branches == "scene"
    assert config.optim.epoch_captions is None


def test_yaml_gives_numbers_and_words_as_meant(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("optim:\n  lr: 1e-4\nloss:\n  detach_teacher: true\n")
    config = read("--config", str(path), "--optim.epochs", "2")
    assert (config.optim.lr, config.loss.detach_teacher, config.optim.epochs) == (1e-4, True, 2)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--optim.lrr", "1"], r"--optim.lrr 1; did you mean .*--optim\.lr"),
        (["--lr", "1"], r"unrecognized arguments: --lr 1; did you mean --optim\.lr or --reward\.lr\?$"),
        (["--learning_rate", "1"], r"--learning_rate 1; did you mean --optim\.lr or --reward\.lr\?$"),
        (["--optim.learning-rate=1"], r"--optim\.learning-rate=1; did you mean --optim\.lr\?$"),
        (["--batch-size", "1"], r"--batch-size 1; did you mean --optim\.batch_videos\?$"),
        (["-o", "x"], r"-o x; did you mean --run\.out\?$"),
        (["--debugg"], r"--debugg; did you mean --debug\?$"),
        (["--optim.lr", "fast"], r'"optim.lr": Expected a .*float.*fast'),
        (
            ["--reward.weights", "mine=1"],
            r"""^.*--reward.weights must be names with values, .*'{"mine": 1.0}'; got mine=1""",
        ),
        (["--optim.lr", "-1"], r"lr must be greater than 0; got -1"),
        (["--model.branches", "three"], r"model.branches must be one of full, scene.*got three"),
        (["--model.heads", "7"], r"model.channels must be divisible by model.heads; got 128 and 7"),
        (["--config", "nowhere.yaml"], r"File does not exist: .*nowhere.yaml'; --config help lists the presets"),
        (["--config", "pan_msvd", "--config=pan_msvd_l2"], r"presets pan_msvd and pan_msvd_l2 would mix into a row"),
        (
            ["--model.decoder", "stats", "--model.views", "add"],
            r"model.views add is for model.decoder transformer; got",
        ),
        (["--config", "pan_msdv"], r"File does not exist.*did you mean the preset pan_msvd or "),
        (["--run.save_minutes", "no"], r"save_minutes"),
        (["--data.min_coverage", "1.5"], r"min_coverage must lie in 0..1; got 1.5"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=words):
        read(*argv)
    assert run_command(FitConfig, lambda config: 0, "", argv) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optim:\n  lrr: 1\n", r"bad.yaml.*lrr.*did you mean optim\.lr\?$"),
        ("optim:\n  learning_rate: 1\n", r"bad.yaml.*'learning_rate'; did you mean optim\.lr\?$"),
        ("batch_size: 1\n", r"bad.yaml.*'batch_size' is not accepted; did you mean optim\.batch_videos\?$"),
        ("optimm:\n  lr: 1\n", r"bad.yaml.*optimm"),
        ("optim: [1\n", r"bad.yaml"),
        ("optim:\n  lr: !!python/object/apply:os.system ['touch hacked']\n", r"bad.yaml is not valid YAML at line 2"),
    ],
)
def test_a_bad_config_file_is_named(text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        read("--config", "bad.yaml")
    assert not Path("hacked").exists()


@pytest.mark.parametrize("argv", [["--config", "help"], ["--config=help", "--optim.lr", "fast"]])
def test_config_help_lists_the_presets_with_their_first_lines(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read(*argv)
    lines = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert [line.split()[0] for line in lines] == presets(FitConfig)
    width = max(map(len, presets(FitConfig)))
    assert f"{'pan_msvd_dense':{width}}  Pan et al. (CVPR 2020), Table 3: Dense Graph, on MSVD." in lines


def test_presets_are_told_of_by_commands_that_take_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert (set(presets(FitConfig)) < set(presets()), presets(Demo)) == (True, [])
    told = {
        kind: " ".join(build_parser(kind, prog="x", description="").format_help().split()) for kind in (FitConfig, Demo)
    }
    assert f"or the name of one of {len(presets(FitConfig))} presets (--config help lists them)" in told[FitConfig]
    assert "preset" not in told[Demo]
    with pytest.raises(SystemExit):
        parse(Demo, ["--config", "help"], prog="x", description="")
    assert capsys.readouterr().out == "this command has no presets: --config takes a YAML file\n"
    with pytest.raises(UserError, match=r"File does not exist: [^;]*$"):
        parse(Demo, ["--config", "nowhere.yaml", "clip"], prog="x", description="")


def test_positional_arguments_and_names_that_start_with_a_dash() -> None:
    config, debug = parse(Demo, ["--debug", "--size", "4", "--", "-a.mp4", "b c.mp4"], prog="x", description="")
    assert (config, debug) == (Demo(clips=("-a.mp4", "b c.mp4"), size=4), True)
    with pytest.raises(UserError, match=r"unrecognized arguments: --clip; did you mean clips \(without --\)\?$"):
        parse(Demo, ["a.mp4", "--clip"], prog="x", description="")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreFullError("the disk is full"), 1),
        (StoreError("no store"), 2),
        (UserError("a"), 2),
        (ValueError("a"), 2),
        (StgError("a"), 1),
        (TooManySkipped("a"), 3),
        (OSError(28, "No space left", "f"), 1),
        (KeyError("a"), 1),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Demo) -> int:
        raise error

    assert run_command(Demo, main, "", ["x"]) == code
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert "Traceback" not in shown
    run_command(Demo, main, "", ["x", "--debug"])
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "resumes", "code", "words"),
    [
        (Preempted("stopped at step 3"), True, 75, "stopped at step 3"),
        (KeyboardInterrupt(), True, 130, "stopped: what is saved so far holds, and the same command resumes from it"),
        (KeyboardInterrupt(), False, 130, "stopped: no file is left half written; the same command begins again"),
    ],
)
def test_a_stop_on_request_is_no_error(
    error: BaseException, resumes: bool, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(config: Demo) -> int:
        raise error

    assert run_command(Demo, main, "", ["x"], resumes=resumes) == code
    assert capsys.readouterr().err == f"{words}\n"
    run_command(Demo, main, "", ["x", "--debug"], resumes=resumes)
    assert "Traceback" in capsys.readouterr().err


def test_no_word_of_an_error_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    def main(config: Demo) -> int:
        raise UserError("a\x1b[2J\x9b1A\nerror: b is wrong")

    assert run_command(Demo, main, "", ["x"]) == 2
    assert capsys.readouterr().err == "error: a\\x1b[2J\\x9b1A\\nerror: b is wrong\n"


@pytest.mark.parametrize(
    ("name", "argv", "resumes"),
    [
        ("store", ["info", "S"], False),
        ("store", ["verify", "S"], False),
        ("store", ["merge", "S", "--out", "T"], True),
        ("store", ["edges", "S", "--out", "T", "--top_k", "2"], True),
        ("embed", ["--out", "E", "--evaluate", "test"], False),
        ("embed", ["--out", "E"], True),
        ("evaluate", ["R"], False),
        ("fit", [], True),
    ],
)
def test_only_work_that_resumes_says_so(
    name: str, argv: list[str], resumes: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module(f"stg.commands.{name}"), "main", interrupted)
    monkeypatch.setattr("stg.commands.checks.check", lambda config: None)
    monkeypatch.setattr(sys, "argv", [f"stg {name}", *argv])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"stg.{name}", run_name="__main__")
    assert ended.value.code == 130
    assert ("resumes from it" in capsys.readouterr().err) == resumes


@pytest.mark.parametrize(("count", "told"), [(None, True), ("1", True), ("2", False)])
def test_only_the_first_of_several_processes_tells_of_a_wrong_option(
    count: str | None, told: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other programs set RANK too: alone it says nothing.
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if count is not None:
        monkeypatch.setenv("WORLD_SIZE", count)
    assert run_command(Demo, lambda config: 0, "", ["x", "--sise", "4"]) == 2
    assert ("did you mean --size" in capsys.readouterr().err) == told


def test_settings_survive_a_round_trip() -> None:
    streams = ("--model.stats.scene_streams", "[frames, grid]", "--optim.betas", "[0.8, 0.9]")
    config = read("--optim.lr", "0.01", "--optim.epoch_captions", "3", *streams)
    assert from_dict(FitConfig, to_dict(config)) == config
    with pytest.raises(ValueError, match=r"unknown key 'lrr' of OptimConfig; did you mean lr\?; known: algorithm, lr,"):
        from_dict(FitConfig, {"optim": {"lrr": 1}})


def test_differences_are_dotted_and_show_both_values() -> None:
    assert differences({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}}) == {"a.c": (2, 4), "d": (3, None)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_has_a_sentence(name: str) -> None:
    config = get_type_hints(import_module(f"stg.commands.{MODULES.get(name, name)}").main)["config"]
    options = {action.dest: action.help or "" for action in build_parser(config, prog="x", description="")._actions}
    # Those of the parser's library: one that it words last, and one that no help shows.
    shown = {dest: said for dest, said in options.items() if dest != "help" and said != SUPPRESS}
    assert len(shown) > (4 if name == "models" else 8)
    assert {dest: said for dest, said in shown.items() if not re.fullmatch(r"\w.*\w.*\.", said, re.DOTALL)} == {}
