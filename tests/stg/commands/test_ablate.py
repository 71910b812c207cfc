"""Ablations on a tiny world: cells are runs of stg.fit; going on, sharing, failing, stopping."""

import dataclasses
import io
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import stg.ablation.cells
import stg.ablation.work
import stg.commands.ablate
import stg.evaluation.scoring
import stg.metrics.java
import stg.training.loop
import stg.training.teacher_run
from graphs import GraphStore
from stg.ablation.ablate import ablate
from stg.ablation.cells import Cell
from stg.ablation.command_lines import evaluate_command
from stg.ablation.config import AblateConfig
from stg.ablation.plan import make_plan
from stg.ablation.tables import TABLES
from stg.commands.ablate import main
from stg.commands.parser import run_command
from stg.config.data import DataConfig, WorldConfig
from stg.config.model import ModelConfig
from stg.config.retrieval import EmbedConfig
from stg.config.store import EdgeConfig
from stg.config.training import OptimConfig, RunConfig
from stg.data.edges import rebuild_edges
from stg.datasets.open import open_dataset
from stg.datasets.world.dataset import World
from stg.datasets.world.scores import event_scores
from stg.metrics.java import JavaError
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import Preempted, StgError, UserError
from stg.runtime.locks import claim
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Reporter

WORLD = WorldConfig(train=6, val=2, test=16)
ROWS = ("object-none", "object-full", "scene-none")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the tiny world, made once."""
    path = tmp_path_factory.mktemp("world") / "store"
    open_dataset(DataConfig(store=str(path)), WORLD).store.close()
    return path


def config_in(folder: Path, store: Path) -> AblateConfig:
    """Two rows, one seed."""
    return AblateConfig(
        variants="none,full",
        seeds="0",
        beam=1,
        out=str(folder / "out"),
        data=DataConfig(store=str(store), min_count=1),
        world=WORLD,
        model=ModelConfig(channels=16, heads=2, hidden=16, layers=1),
        optim=OptimConfig(lr=3e-3, batch_videos=3, epochs=1, captions_per_video=2, epoch_captions=2),
        run=RunConfig(samples=0, save_minutes=1000.0),
    )


@pytest.fixture
def config(store: Path, tmp_path: Path) -> AblateConfig:
    return config_in(tmp_path, store)


def run(config: AblateConfig, *, code: int = 0, stop: Callable[[], bool] = lambda: False) -> str:
    """Work on the cells and return what was printed."""
    text = io.StringIO()
    assert ablate(config, reporter=ConsoleReporter(Console(file=text, width=200), stop)) == code
    return text.getvalue()


@pytest.fixture(scope="module")
def one_cell(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished table of one cell."""
    made = config_in(tmp_path_factory.mktemp("one"), store)
    run(dataclasses.replace(made, variants="none"))
    return Path(str(made.out))


@pytest.fixture
def finished(config: AblateConfig, one_cell: Path) -> AblateConfig:
    """One row and one seed, of which all is there."""
    shutil.copytree(one_cell, str(config.out))
    return dataclasses.replace(config, variants="none")


def record_of(config: AblateConfig) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(str(config.out)) / "table.json").read_text())
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return CaptionerBundle.load(folder / "model.safetensors").captioner.state_dict()


def forbid(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(module, name, never)


def test_cells_are_runs_and_done_ones_are_not_run_again(
    config: AblateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(config, branches="object,scene", beam=2)
    shown = run(config)
    assert "cell 3 of 3, scene-none-seed0: 2 of 3 cells done" in shown
    out = tmp_path / "out"
    plan = make_plan(config)
    names = {f"{row}-seed0" for row in ROWS}
    assert {cell.name for cell in plan.configs} == names
    assert {path.name for path in (out / "cells").iterdir() if path.is_dir()} == names

    # A cell is what the command of its own trains, whatever ran in this process before it. The scene branch reads no
    # graph, whatever its variant, and so has one row; the object branch does.
    cell = Cell("scene-none", 0)
    alone = dataclasses.replace(plan.configs[cell].run, out=str(tmp_path / "alone"))
    full_graph = dataclasses.replace(plan.configs[cell].graph, variant="full")
    asked = dataclasses.replace(plan.configs[cell], run=alone, graph=full_graph)
    stg.training.loop.fit(asked, reporter=ConsoleReporter(Console(quiet=True)))
    expected = weights(tmp_path / "alone")
    assert all(torch.equal(value, expected[name]) for name, value in weights(plan.at(cell).run.path).items())
    none, full = (weights(plan.at(Cell(row, 0)).run.path) for row in ("object-none", "object-full"))
    assert not all(torch.equal(value, none[name]) for name, value in full.items())

    record = record_of(config)
    assert record["missing"] == {}
    assert [row["name"] for row in record["rows"]] == list(ROWS)
    row = record["rows"][0]
    folder = plan.at(Cell("object-none", 0)).run.path / "evaluation"
    for search, stem in {"greedy": "test-greedy", "beam 2": "test-beam2"}.items():
        scores = json.loads((folder / f"{stem}-scores.json").read_text())["scores"]
        assert row["scores"][search]["cider"] == {
            "mean": scores["cider"],
            "deviation": None,
            "values": [scores["cider"]],
        }
        captions = json.loads((folder / f"{stem}.json").read_text())
        captions = {told["image_id"]: told["caption"] for told in captions} if isinstance(captions, list) else captions
        events = event_scores(World(seed=0, train=6, val=2, test=16), captions)
        assert row["scores"][search]["event"]["mean"] == events["event"]
        verbs = row["verbs"][search]
        assert len(verbs) == 16
        assert sum(told["mean"] for told in verbs.values()) == pytest.approx(16 * events["event"])
    bundle = CaptionerBundle.load(plan.at(cell).run.path / "model.safetensors")
    model = sum(value.numel() for value in bundle.captioner.parameters())
    assert record["rows"][2]["weights"] == {"trained": model, "captioning": model}
    assert row["minutes"]["mean"] > 0
    assert (out / "table.md").read_text().startswith("# Ablation grid")
    assert (out / "table.svg").read_text().startswith("<svg")

    forbid(monkeypatch, stg.ablation.work, "fit")
    forbid(monkeypatch, stg.ablation.work, "evaluate_as")
    again = run(config)
    assert "cells done" not in again
    (out / "table.md").unlink()
    run(dataclasses.replace(config, report=True))
    assert (out / "table.md").exists()


def test_another_split_is_scored_without_training(finished: AblateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(finished, controls=True)
    run(config)
    shuffled = json.loads(
        (make_plan(config).at(Cell("none", 0, True)).run.path / "evaluation/test-greedy-scores.json").read_text()
    )
    assert shuffled["control"] == "shuffle"
    record = record_of(config)
    assert [row["name"] for row in record["rows"]] == ["none", "none, shuffled"]
    assert record["rows"][1]["scores"]["greedy"]["cider"]["values"] == [shuffled["scores"]["cider"]]
    forbid(monkeypatch, stg.ablation.work, "fit")
    plan = make_plan(config)
    trained = {"commit": "c0ffee", "machine": {"cpu": "another"}}
    for cell in plan.configs:
        plan.at(cell).write_record(plan.at(cell).record | trained)
    run(dataclasses.replace(config, split="val"))
    assert record_of(config)["split"] == "val"
    assert record_of(config)["missing"] == {}
    # Where it was trained stays what it was.
    assert all(plan.at(cell).record.items() >= trained.items() for cell in plan.configs)


def test_cells_are_evaluated_where_they_are_asked_to_be(
    finished: AblateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = stg.evaluation.scoring.evaluate_as
    seen = []

    def watched(given: Any, **options: Any) -> Any:
        seen.append((given.device, torch.get_num_threads()))
        return evaluate(given, **options)

    monkeypatch.setattr(stg.ablation.work, "evaluate_as", watched)
    asked = dataclasses.replace(finished, split="val", run=dataclasses.replace(finished.run, device="cpu", threads=3))
    threads = torch.get_num_threads()
    try:
        run(asked)
    finally:
        torch.set_num_threads(threads)
    assert seen == [("cpu", 3)]
    assert "--device cpu" in evaluate_command(make_plan(asked).at(Cell("none", 0)).evaluation)


def test_a_stopped_grid_resumes_to_the_same_end(finished: AblateConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(finished, variants="none,full")
    run(config)
    parts = dataclasses.replace(config, out=str(tmp_path / "parts"))
    second = make_plan(parts).at(Cell("full", 0)).run.path

    def stop() -> bool:
        return (second / "metrics.jsonl").exists()  # in the midst of the second cell

    with pytest.raises(
        Preempted, match=r"stopped at step 1 with a checkpoint in .*full-seed0: the same command resumes"
    ):
        run(parts, stop=stop)
    assert json.loads((second / "state.json").read_text())["status"] == "preempted"
    run(dataclasses.replace(parts, report=True))
    assert record_of(parts)["missing"] == {"full-seed0": "not finished"}
    assert "**Not all is there: 1 of 2 cells are missing.**" in (tmp_path / "parts/table.md").read_text()
    assert "missing: full-seed0" in run(dataclasses.replace(parts, report=True))
    torch.manual_seed(999)
    run(parts)
    expected = weights(make_plan(config).at(Cell("full", 0)).run.path)
    assert all(torch.equal(value, expected[name]) for name, value in weights(second).items())
    whole, made = record_of(config), record_of(parts)
    assert [row["scores"] for row in made["rows"]] == [row["scores"] for row in whole["rows"]]


def test_a_stop_within_an_evaluation_is_made_up_for(config: AblateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(config, variants="none")
    plan = make_plan(config)
    cell = Cell("none", 0)
    evaluation = plan.at(cell).run.path / "evaluation"
    with pytest.raises(
        Preempted, match=r"stopped while .*none-seed0 was evaluated: the same command evaluates it again"
    ):
        run(config, stop=evaluation.exists)
    assert plan.at(cell).trained
    assert not list(evaluation.iterdir())
    assert plan.at(cell).record["failed"] is None
    forbid(monkeypatch, stg.ablation.work, "fit")
    run(config)
    assert record_of(config)["missing"] == {}


def test_signals_are_taken_as_one_under_a_launcher_alone(config: AblateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(given: AblateConfig, *, embedding: EmbedConfig | None, reporter: Reporter) -> int:
        assert embedding is None
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        return int(reporter.should_stop())

    monkeypatch.setattr(stg.commands.ablate, "ablate", twice)
    with pytest.raises(KeyboardInterrupt):
        main(config)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert main(config) == 1


def test_a_stop_before_the_first_cell_begins_none(config: AblateConfig) -> None:
    with pytest.raises(Preempted, match="stopped with 0 of 2 cells done: the same command resumes from there"):
        run(config, stop=lambda: True)
    assert not make_plan(config).at(Cell("none", 0)).run.path.exists()


def test_a_stop_while_the_world_is_made_is_obeyed_at_once(config: AblateConfig, tmp_path: Path) -> None:
    asked = on(config, tmp_path / "new" / "store")
    with pytest.raises(Preempted, match=r"stopped with 0 of 24 graphs made: the same command resumes from there"):
        run(asked, stop=lambda: True)
    assert not make_plan(asked).at(Cell("none", 0)).run.path.exists()


def test_a_whole_store_needs_no_lock(config: AblateConfig, store: Path) -> None:
    with pytest.raises(Preempted, match="stopped with 0 of 2 cells"):
        run(config, stop=lambda: True)
    assert not (store.parent / ".ablation.lock").exists()


def test_a_stop_while_another_process_holds_a_lock_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with claim(path) as mine:
        assert mine
        with (
            pytest.raises(Preempted, match=r"stopped while another process held .*lock"),
            claim(path, wait=True, stop=stop),
        ):
            raise AssertionError("held twice")
        with claim(path) as second:
            assert not second
    assert asked == 3
    with claim(path, wait=True, stop=lambda: True) as free:
        assert free


HOLD = "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True)"


def test_a_cell_of_another_process_is_left_to_it_until_it_dies(
    config: AblateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stg.ablation.ablate.POLL_SECONDS", 0.05)
    plan = make_plan(config)
    lock = plan.at(Cell("none", 0)).lock_file
    lock.parent.mkdir(parents=True)
    command = [sys.executable, "-c", f"{HOLD}; time.sleep(600)", str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder, ExitStack() as at_the_end:
        at_the_end.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        asked = 0
        missing = []

        def stop() -> bool:
            # Once only the held cell is left: its holder dies.
            nonlocal asked
            asked += 1
            state = plan.at(Cell("full", 0)).state
            assert state != "failed", plan.at(Cell("full", 0)).record  # or this would wait for the holder without end
            if state == "done" and holder.poll() is None:
                assert not plan.at(Cell("none", 0)).run.path.exists()
                if asked > 20:
                    missing.append(record_of(config)["missing"])
                    holder.kill()
            return False

        shown = run(config, stop=stop)
    assert "waiting for 1 cell that other processes work on: none-seed0" in shown
    assert (
        shown.index("full-seed0") < shown.index("waiting") < shown.index("cell 1 of 2, none-seed0: 1 of 2 cells done")
    )
    assert missing == [{"none-seed0": "being worked on"}]
    assert record_of(config)["missing"] == {}


def test_a_failed_cell_is_reported_and_the_others_go_on(config: AblateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = stg.training.loop.fit

    def broken(given: Any, **options: Any) -> int:
        if given.graph.variant == "none":
            raise StgError("the lights went out")
        return fit(given, **options)

    monkeypatch.setattr(stg.ablation.work, "fit", broken)
    shown = run(config, code=1)
    assert "failed: the lights went out. The other cells continue" in shown
    assert "failed: none-seed0: the lights went out" in shown
    assert record_of(config)["missing"] == {"none-seed0": "failed: the lights went out"}
    assert [row["seeds"] for row in record_of(config)["rows"]] == [[], [0]]
    monkeypatch.setattr(stg.ablation.work, "fit", fit)
    run(config)
    assert record_of(config)["missing"] == {}


def test_a_fault_of_ours_is_kept_with_its_traceback(config: AblateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise KeyError("no such thing")

    monkeypatch.setattr(stg.ablation.work, "evaluate_as", broken)
    run(dataclasses.replace(config, variants="none"), code=1)
    failed = make_plan(config).at(Cell("none", 0)).record["failed"]
    assert failed["error"] == "KeyError: 'no such thing'"
    assert "Traceback" in failed["traceback"]


def test_scores_that_do_not_come_are_a_failure_and_no_endless_loop(
    config: AblateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stg.ablation.work, "_caption", lambda *args: ({}, []))
    shown = run(dataclasses.replace(config, variants="none"), code=1)
    assert "was evaluated, and not all scores are there: none" in shown


def test_cells_without_meteor_are_evaluated_again_where_java_is(
    config: AblateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_java() -> str:
        raise JavaError("needs Java")

    evaluate = stg.evaluation.scoring.evaluate_as

    def without(given: Any, **options: Any) -> Any:
        return evaluate(dataclasses.replace(given, meteor=False), **options)

    def obtained(given: Any, **options: Any) -> Any:
        found = without(given, **options)
        for path in (Path(given.run) / "evaluation").glob("*-scores.json"):
            told = json.loads(path.read_text())
            told["scores"]["meteor"] = 0.25
            path.write_text(json.dumps(told))
        return found

    config = dataclasses.replace(config, variants="none", meteor=True)
    for module in (stg.ablation.cells, stg.metrics.java):
        monkeypatch.setattr(module, "java", no_java)
    words = "METEOR needs Java, which is missing here: cells are scored without, and once more where Java is"
    assert words in run(config)
    assert record_of(config)["missing"] == {}
    assert "METEOR: needs Java" in record_of(config)["notes"]
    forbid(monkeypatch, stg.ablation.work, "fit")
    forbid(monkeypatch, stg.ablation.work, "evaluate_as")
    assert words in run(config)

    for module in (stg.ablation.cells, stg.metrics.java):
        monkeypatch.setattr(module, "java", lambda: "java")
    monkeypatch.setattr(stg.ablation.work, "evaluate_as", without)
    assert "was evaluated, and not all scores are there: greedy" in run(config, code=1)
    monkeypatch.setattr(stg.ablation.work, "evaluate_as", obtained)
    assert words not in run(config)
    assert record_of(config)["rows"][0]["scores"]["greedy"]["meteor"]["values"] == [0.25]
    forbid(monkeypatch, stg.ablation.work, "evaluate_as")
    run(config)


def test_a_folder_with_other_settings_is_refused(finished: AblateConfig) -> None:
    longer = dataclasses.replace(finished, model=dataclasses.replace(finished.model, dropout=0.4))
    words = r"none-seed0 holds a run with other settings \(model.dropout: was 0.1, now 0.4\): choose another .* --out"
    with pytest.raises(UserError, match=words):
        run(longer)
    state = make_plan(finished).at(Cell("none", 0)).run.path / "state.json"
    before = state.read_bytes()
    run(finished)
    assert state.read_bytes() == before


@pytest.fixture(scope="module")
def sharp(store: Path) -> Path:
    """The same videos with sharper edges."""
    path = store.parent / "sharp"
    with GraphStore(store) as source, GraphStore(path, "a") as target:
        rebuild_edges(source, target, EdgeConfig(tau_time=0.1))
    return path


def on(config: AblateConfig, store: Path, **changes: Any) -> AblateConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, store=str(store)), **changes)


def test_cells_of_another_store_are_refused(finished: AblateConfig, sharp: Path) -> None:
    table = Path(str(finished.out)) / "table.json"
    before = table.read_bytes()
    words = (
        r"none-seed0 was trained on other features than those of .*/sharp \(edges: trained on None, store has "
        r"\{.*'tau_time': 0\.1.*\}\): choose another folder with --out, or give the store of then with --data.store"
    )
    for changes in ({}, {"report": True}, {"dry_run": True}):
        with pytest.raises(UserError, match=words):
            run(on(finished, sharp, **changes))
    # A new cell does not begin beside those of another store either.
    more = on(finished, sharp, seeds="0,1")
    with pytest.raises(UserError, match=words):
        run(more)
    assert not make_plan(more).at(Cell("none", 1)).run.path.exists()
    assert table.read_bytes() == before


def test_a_cell_begun_on_another_store_is_refused_before_it_has_a_model(config: AblateConfig, sharp: Path) -> None:
    config = dataclasses.replace(config, variants="none")
    plan = make_plan(config)
    cell = Cell("none", 0)
    with pytest.raises(Preempted, match="stopped at step 1"):
        run(config, stop=(plan.at(cell).run.path / "metrics.jsonl").exists)
    assert not (plan.at(cell).run.path / "model.safetensors").exists()
    with pytest.raises(UserError, match="none-seed0 was trained on other features than those of"):
        run(on(config, sharp))
    run(config)
    assert record_of(config)["missing"] == {}


def test_cells_whose_records_do_not_tell_of_features_are_gone_on_with(
    finished: AblateConfig, store: Path, sharp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(finished)
    cell = Cell("none", 0)
    plan.at(cell).write_record({key: value for key, value in plan.at(cell).record.items() if key != "features"})
    forbid(monkeypatch, stg.ablation.work, "fit")
    moved = tmp_path / "moved"
    moved.write_bytes(store.read_bytes())
    store.rename(hidden := store.with_name("hidden"))
    try:
        run(on(finished, moved, split="val"))
    finally:
        hidden.rename(store)
    with pytest.raises(UserError, match="was trained on other features"):
        run(on(finished, sharp))


def test_training_on_with_override_scores_anew(finished: AblateConfig) -> None:
    longer = dataclasses.replace(
        finished,
        optim=dataclasses.replace(finished.optim, epochs=2),
        run=dataclasses.replace(finished.run, override=True),
    )
    plan = make_plan(longer)
    scores = plan.at(Cell("none", 0)).run.path / "evaluation" / "test-greedy-scores.json"
    scores.write_text(scores.read_text().replace('"videos": 16', '"videos": 0'))
    run(longer)
    assert json.loads(scores.read_text())["videos"] == 16
    assert plan.at(Cell("none", 0)).trained
    shorter = dataclasses.replace(longer, optim=dataclasses.replace(finished.optim, epochs=1))
    assert "was trained with other settings, and stg.fit does not resume with these" in run(shorter, code=1)


def test_a_split_that_cannot_be_scored_is_refused_at_once(config: AblateConfig) -> None:
    with pytest.raises(UserError, match="has no split 'tset': score on one of train, val, test"):
        run(dataclasses.replace(config, split="tset"))
    assert not make_plan(config).at(Cell("none", 0)).run.path.exists()


def test_what_no_cell_can_be_trained_on_is_refused_at_once(config: AblateConfig) -> None:
    with pytest.raises(UserError, match=r"needs --data.root"):
        run(dataclasses.replace(config, data=DataConfig(dataset="msvd")))


def test_a_dry_run_lists_cells_and_commands_and_does_nothing(
    config: AblateConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["graph", "--dry_run", "--seeds", "0", "--out", str(tmp_path / "none"), "--data.store", str(tmp_path / "no")]
    assert run_command(AblateConfig, main, "", argv) == 0
    shown = capsys.readouterr().out
    assert shown.count("seed0: new") == 6
    assert "python -m stg.fit --data.store" in shown
    assert f"python -m stg.evaluate {tmp_path}/none/cells/scene-seed0 --split test --meteor false" in shown
    assert not list(tmp_path.iterdir())
    assert run_command(AblateConfig, main, "", [*argv, "--run.seed", "1"]) == 2
    assert "--run.seed is not for all cells: use --seeds" in capsys.readouterr().err


def test_a_student_waits_for_its_teacher_and_is_refused_a_worse_one(
    config: AblateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES["distillation"]
    # Students first: the order of work must not depend on that of the rows.
    rows = {name: table.rows[name] for name in ("constant", "joint", "none")}
    monkeypatch.setitem(TABLES, "distillation", dataclasses.replace(table, rows=rows))
    monkeypatch.setattr(
        stg.training.teacher_run, "best_validation", lambda run: ("CIDEr", 0.5 + ("joint" in str(run)) * better)
    )
    config = dataclasses.replace(config, variants=None, table="distillation")
    better = -0.25
    shown = run(config, code=1)
    assert [line.split(", ")[1].split("-")[0] for line in shown.splitlines() if line.startswith("cell ")] == [
        "joint", "none", "constant",
    ]  # fmt: skip
    worse = "joint-seed0 reaches CIDEr 0.250 on validation, and"
    assert worse in " ".join(shown.split())
    better = 0.25
    shown = run(config)
    assert "cell 1 of 3, constant-seed0: 2 of 3 cells done" in shown
    record = record_of(config)
    assert record["missing"] == {}
    assert {row["name"]: row["against"] for row in record["rows"]} == {
        "constant": "none",
        "joint": "none",
        "none": None,
    }
    # What is captioned with is the scene branch, whoever taught it.
    student, _, alone = record["rows"]
    assert student["weights"]["captioning"] == alone["weights"]["captioning"]
