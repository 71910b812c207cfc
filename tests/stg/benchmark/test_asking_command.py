"""``stg.bench ask`` and ``stg.bench prompt``: from the command line to the file of answers."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphs import GraphStore, VideoFeatures, build_graph
from stg.benchmark.making import make_bench
from stg.benchmark.prompts import write_prompts
from stg.benchmark.questions import Bench, read_answers, write_bench
from stg.commands.bench import main
from stg.config.bench import LEAST_CLIPS, BenchConfig
from stg.runtime.errors import UserError
from stg.vision.model_folders import find_saved_model
from tests.stg import make_chat_models
from tests.stg.benchmark.make_bench import small_bench
from tests.stg.benchmark.test_endpoint import completion, stand_in


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return small_bench(tmp_path / "bench")


def run(action: str, folder: Path, **options: object) -> None:
    here = {"device": "cpu"} if action == "ask" else {}
    assert main(BenchConfig(action, str(folder), **here, **options)) == 0  # type: ignore[arg-type]


def test_a_model_of_a_folder_is_asked(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_chat_models.write_qwen2vl(tmp_path / "tiny")
    run("ask", bench.folder, model=str(folder), frames=2, method="letter")
    assert "answers.jsonl: 4 new answers, of 4 questions" in capsys.readouterr().out.replace("\n", "")
    assert all(answer.scores for answer in read_answers(bench.folder / "answers.jsonl", bench).values())
    run("ask", bench.folder, model=str(folder), frames=2, method="letter")
    assert "0 new answers" in capsys.readouterr().out


def test_an_endpoint_is_asked_with_a_key_of_the_environment(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("TINY_KEY", "secret")
    out = tmp_path / "answers.jsonl"
    with stand_in() as server:
        run("ask", bench.folder, model="m", endpoint=server.address, key_variable="TINY_KEY", frames=1, out=str(out))
    assert {key for _, key, _ in server.asked} == {"Bearer secret"}
    assert len(read_answers(out, bench)) == 4
    with pytest.raises(UserError, match="the environment has no variable NO_SUCH_KEY, which --key_variable names"):
        run("ask", bench.folder, model="m", endpoint=server.address, key_variable="NO_SUCH_KEY")


def test_requests_go_out_and_replies_come_in(bench: Bench, tmp_path: Path) -> None:
    run("ask", bench.folder, model="m", requests=str(tmp_path / "requests.jsonl"), frames=1)
    requests = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    replies = [{"custom_id": row["custom_id"], "response": {"body": completion("A")}} for row in requests]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in replies))
    run("ask", bench.folder, replies=str(tmp_path / "replies.jsonl"))
    assert {one.choice for one in read_answers(bench.folder / "answers.jsonl", bench).values()} == {0}


def test_options_that_do_not_go_together_are_refused() -> None:
    for options, match in (
        ({}, "ask needs --model, or --replies FILE"),
        ({"model": "m", "endpoint": "e", "requests": "r"}, "--endpoint and --requests exclude each other"),
        ({"model": "m", "endpoint": "e", "method": "letter"}, "--method is for models here, not for --endpoint"),
        ({"model": "m", "key_variable": "K"}, "--key_variable belongs to --endpoint"),
        ({"model": "m", "clips": 3}, "--clips is an option of export, not of ask"),
        ({"model": "m", "frames": 0}, "frames must be"),
    ):
        with pytest.raises(ValueError, match=match):
            BenchConfig("ask", "bench", **options)  # type: ignore[arg-type]


def test_a_model_that_is_not_here_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="nowhere is neither a folder nor the name of a model on a hub"):
        find_saved_model(str(tmp_path / "nowhere"), "model")
    with pytest.raises(UserError, match=r"--model some/model: neither a folder .* nor a copy .*: add --download"):
        find_saved_model("some/model", "model")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"lacks \*\.safetensors: give a folder as transformers saves models"):
        find_saved_model(str(tmp_path), "model")
    # Large models have their weights in several files.
    (tmp_path / "model-00001-of-00002.safetensors").touch()
    assert find_saved_model(str(tmp_path), "model") == tmp_path


def test_prompts_hold_the_true_objects_of_each_clip(tmp_path: Path) -> None:
    made = make_bench(0, LEAST_CLIPS)
    captions = {name: clip.captions for name, clip in made.clips.items()}
    bench = write_bench(tmp_path / "bench", {"world": {"seed": 0}}, captions, made.questions, made.key)
    run("prompt", bench.folder, frames=4)
    rows = [json.loads(line) for line in (bench.folder / "graphs.jsonl").read_text().splitlines()]
    assert [row["video"] for row in rows] == list(bench.videos)
    for row in rows:
        scene = made.clips[row["video"]].scene
        for thing in scene.things:
            assert f": {thing.colour} {thing.shape}, seen in 4 of 4 frames" in row["graph"]
        # Nothing of what happens: no words of the captions.
        assert not any(caption in row["graph"] for caption in captions[row["video"]])


def test_prompts_of_a_store(bench: Bench, tmp_path: Path) -> None:
    features = VideoFeatures(torch.tensor([[0.0, 0, 8, 8]]), torch.ones(1, 2), torch.tensor([0]), 1, video="a")
    with GraphStore(tmp_path / "store.lmdb", "a") as store:
        store.put("a", build_graph(features))
    with pytest.raises(UserError, match=r"store.lmdb lacks 1 clip of .*: 'b'; make it with python -m stg"):
        write_prompts(bench, tmp_path / "graphs.jsonl", store=tmp_path / "store.lmdb")
    with GraphStore(tmp_path / "store.lmdb", "a") as store:
        store.put("b", build_graph(replace(features, video="b")))
    assert write_prompts(bench, tmp_path / "graphs.jsonl", store=tmp_path / "store.lmdb") == 2
    assert (
        "1 frame from frame 0 to frame 0, picture"
        in json.loads((tmp_path / "graphs.jsonl").read_text().splitlines()[0])["graph"]
    )
