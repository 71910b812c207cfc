"""Two processes equal one: losses, gradients and whole runs, also where one has nothing to do (faults D8, D9).

All that two processes do without a fault they do in one launch, whose results the tests then look at.
"""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch_geometric.data import Data

from stg.config.data import DataConfig
from stg.data.batches import CaptionBatch, Item, load_share
from stg.datasets.open import open_dataset
from stg.runs.tensors import load_tensors
from stg.runtime.distributed import SINGLE, Ranks
from stg.runtime.errors import ProcessLost
from tests.stg.make_processes import CASES, WORLD, run, settings, solve

LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, python: list[str]) -> Path:
    """What the launch leaves; the run ``mixed`` was begun by one process before."""
    where = tmp_path_factory.mktemp("two")
    open_dataset(DataConfig(store=str(where / "store")), WORLD).store.close()
    run(settings(where / "store", where / "mixed"), after=2)
    script = Path(__file__).parents[1] / "make_processes.py"
    command = [*python, *LAUNCH, *python, str(script), "equal", str(where)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return where


def rows(out: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in found if row["kind"] == kind]


def around(folder: Path, name: str) -> list[Any]:
    return [json.loads((folder / f"around-{rank}.json").read_text())[name] for rank in range(2)]


def printed(folder: Path, name: str) -> list[str]:
    return [json.loads((folder / f"printed-{rank}.json").read_text())[name] for rank in range(2)]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[", ".join(case) for case in CASES])
def test_losses_and_gradients_are_those_of_one_process(number: int, folder: Path) -> None:
    found, expected = load_file(folder / f"case-{number}.safetensors"), solve(CASES[number], SINGLE)
    assert found.keys() == expected.keys()
    learns = any(value.abs().max() > 1e-3 for name, value in expected.items() if name.startswith("of "))
    assert learns == (CASES[number] != ("transformer, objects", "a video without objects"))
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_what_the_processes_give_each_other(folder: Path) -> None:
    expected = {
        "in_turn": ([], ["made-by-0"]),
        "share": ([0, 2, 4], [1, 3]),
        "sum": ([3, 20], [3, 20]),
        "shares": ([1 / 3, 0.0, 0.0], [2 / 3, 0.0, 1.0]),
        "any": ([True, False], [True, False]),
        "from_first": (0.1, 0.1),
        "gather": (["größer", ""], ["größer", ""]),
        "gather_tensors": ([["of 0"], ["of 1"]], [["of 0"], ["of 1"]]),
        "merge": ({"video0": "a cat", "video1": "a cat"}, {"video0": "a cat", "video1": "a cat"}),
        "gradients": ([None, [5.0, 6.0], [3.0, 4.0]], [None, [5.0, 6.0], [3.0, 4.0]]),
        "copied": ([3.0, 3.0], [3.0, 3.0]),
        "summands": (0.0, 2.0),
        "stand_in": (2.0, 0.0),
    }
    for name, values in expected.items():
        assert around(folder, name) == list(values), name
    first, second = around(folder, "drawn")
    assert first != second


def test_a_batch_is_divided_by_videos_and_an_empty_share_is_a_stand_in() -> None:
    class Asked:
        def load(self, items: list[Item]) -> Any:
            words = torch.zeros(1, 1, dtype=torch.long)
            return CaptionBatch(Data(), words, words, words > 0, words[0], tuple(items))

    a, b, c = Item("a", (0,)), Item("b", (0,)), Item("a", (1,))
    load = Asked().load
    shares = [load_share(load, (a, b, c), Ranks(rank, 2)) for rank in range(2)]
    assert [share.items for share in shares] == [(a, c), (b,)]
    assert [share.stand_in for share in shares] == [False, False]
    shares = [load_share(load, (a, c), Ranks(rank, 2)) for rank in range(2)]
    assert [share.items for share in shares] == [(a, c), (a,)]
    assert [share.stand_in for share in shares] == [False, True]


def test_a_run_of_seven_videos_on_two_processes_equals_that_of_one(folder: Path, tmp_path: Path) -> None:
    shown = run(settings(folder / "store", tmp_path / "one"))
    one, two = rows(tmp_path / "one", "step"), rows(folder / "two", "step")
    assert len(one) == len(two) == 2 * 3
    for expected, found in zip(one, two, strict=True):
        assert found.keys() == expected.keys()
        assert list(found.values())[:3] == list(expected.values())[:3]
        assert found == {key: pytest.approx(value, rel=1e-4) for key, value in expected.items() if key != "kind"} | {
            "kind": "step"
        }
    for expected, found in zip(rows(tmp_path / "one", "validation"), rows(folder / "two", "validation"), strict=True):
        assert found.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-4)
        assert found == expected
    # One of them prints, and what one process would have.
    both = printed(folder, "two")
    assert both[1] == ""
    assert both[0].splitlines()[0].split(": ")[1] == shown.splitlines()[0].split(": ")[1]


def test_stopping_and_going_on_with_as_many_changes_no_bit(folder: Path) -> None:
    whole, parts = folder / "whole", folder / "parts"
    assert "stopped at step 5 with a checkpoint" in printed(folder, "parts")[0]
    assert "resuming at step 5" in printed(folder, "parts again")[0]
    assert "other draws" not in printed(folder, "parts again")[0]
    assert len(rows(whole, "step")) == 9
    assert any("reward_loss" in row for row in rows(whole, "step"))
    assert rows(parts, "step") == rows(whole, "step")
    assert rows(parts, "validation") == rows(whole, "validation")
    expected, found = (
        load_tensors(sorted((out / "checkpoints").glob("*.safetensors"))[-1])[0] for out in (whole, parts)
    )
    assert {"rng.cpu", "rng1.cpu"} <= expected.keys()
    assert not torch.equal(expected["rng.cpu"], expected["rng1.cpu"])
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_one_process_then_two_then_one_take_the_same_samples(folder: Path, tmp_path: Path) -> None:
    run(settings(folder / "store", tmp_path / "one"))
    assert "resuming at step 2" in printed(folder, "mixed")[0]
    assert "the last checkpoint is that of 1 processes, 2 resume: same samples" in printed(folder, "mixed")[0]
    assert "stopped at step 4" in printed(folder, "mixed")[0]
    shown = run(settings(folder / "store", folder / "mixed"))
    assert "the last checkpoint is that of 2 processes, 1 resume: same samples" in shown
    one, mixed = rows(tmp_path / "one", "step"), rows(folder / "mixed", "step")
    assert [row["step"] for row in mixed] == [row["step"] for row in one] == list(range(1, 7))
    assert [row["loss"] for row in mixed] == pytest.approx([row["loss"] for row in one], rel=1e-4)
    assert [row["cider"] for row in rows(folder / "mixed", "validation")] == pytest.approx(
        [row["cider"] for row in rows(tmp_path / "one", "validation")]
    )


def test_a_loss_that_is_not_finite_in_one_process_is_skipped_by_all(folder: Path) -> None:
    out = folder / "broken"
    (row,) = rows(out, "broken")
    assert row["step"] == 3
    # All videos of the step are named, not those of one process.
    assert len(rows(folder / "two", "step")) == len(rows(out, "step")) + 1
    assert len(row["videos"]) == 1
    assert printed(folder, "broken")[0].count("step 3: loss or gradient is not finite") == 1
    assert all(math.isfinite(row["loss"]) for row in rows(out, "step"))
    assert json.loads((out / "state.json").read_text())["status"] == "finished"


def test_processes_agree_where_steps_and_all_bits_of_the_weights_do(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []
    monkeypatch.setattr(Ranks, "gather", lambda self, value: given.append(value) or given)
    first, second = torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)
    assert Ranks(0, 2).agree(5, first)
    assert Ranks(1, 2).agree(5, second)
    assert not Ranks(1, 2).agree(4, second)
    given[1:] = []
    second.weight.data[1], second.weight.data[2] = 1 + 2**-23, 1 - 2**-23
    assert not Ranks(1, 2).agree(5, second)
    given[1:] = []
    second.load_state_dict(first.state_dict())
    second.running_mean[0] = -0.0
    assert not Ranks(1, 2).agree(5, second)
    assert SINGLE.agree(4, second)


def test_what_the_library_says_is_told_unless_another_process_has_noted_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(total: torch.Tensor) -> None:
        raise RuntimeError("no route to host\nand a page of frames")

    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    store = torch.distributed.HashStore()
    ranks = Ranks(0, 2, store=store)
    with pytest.raises(ProcessLost, match=r"from the last checkpoint \(RuntimeError: no route to host\)$"):
        ranks.barrier()
    Ranks(1, 2, store=store).note_failure(ValueError("the disk caught fire"))
    with pytest.raises(ProcessLost, match=r"^process 1 of this run ended: ValueError: the disk caught fire$"):
        ranks.barrier()
