"""A stand-in for an endpoint of chat completions on the loopback address, and files of requests and replies."""

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stg.benchmark.asking import ask
from stg.benchmark.endpoint import Endpoint, collect, read_replies, write_requests
from stg.benchmark.questions import Bench, read_answers
from stg.runtime.errors import StgError, UserError
from stg.video.decoding import sample_video
from tests.stg.benchmark.make_bench import small_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return small_bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class StandIn(ThreadingHTTPServer):
    """Replies with the last letter that the question offers; keeps what it was asked."""

    status, reply = 200, None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None, dict[str, Any]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Authorization"], body))
        data = json.dumps(completion(last_letter(body)) if self.server.reply is None else self.server.reply).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def last_letter(body: dict[str, Any]) -> str:
    text = body["messages"][0]["content"][-1]["text"]
    return [line[0] for line in text.splitlines() if line[1:3] == ". "][-1]


def completion(text: str) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


@contextmanager
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def pictures(body: dict[str, Any]) -> list[np.ndarray]:
    urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
    assert all(url.startswith("data:image/jpeg;base64,") for url in urls)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))) for url in urls]


def test_an_endpoint_is_asked_each_question_with_its_frames(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with stand_in() as server:
        assert ask(bench, Endpoint(f"{server.address}/", "tiny", key="secret"), path, frames=2) == 4
    assert {(at, key) for at, key, _ in server.asked} == {("/v1/chat/completions", "Bearer secret")}
    # The last choice of each: of three, of two, of two, of two.
    assert [answer.choice for answer in read_answers(path, bench).values()] == [2, 1, 1, 1]
    assert "secret" not in path.read_text()
    for _, _, body in server.asked:
        assert (body["model"], body["temperature"]) == ("tiny", 0)
    shown = pictures(server.asked[-1][2])
    expected = sample_video(bench.clip("b"), 2).frames
    # JPEG is lossy, and another frame or clip would be far off.
    assert all(np.abs(one - other.astype(int)).mean() < 5 for one, other in zip(shown, expected, strict=True))


def test_an_endpoint_that_does_not_answer_is_named(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with stand_in() as server:
        server.status, server.reply = 404, {"error": "no model of that name"}
        with pytest.raises(StgError, match=r"/v1/chat/completions refused a question with status 404: .*no model of"):
            ask(bench, Endpoint(server.address, "tiny"), path)
        server.status, server.reply = 200, {"choices": []}
        with pytest.raises(UserError, match=r"is no chat completion with choices\[0\]\.message\.content: .*choices"):
            ask(bench, Endpoint(server.address, "tiny"), path)
        address = server.address
    with pytest.raises(StgError, match=r"could not be asked: .*; start again to go on"):
        ask(bench, Endpoint(address, "tiny"), path)
    assert not path.exists()
    with pytest.raises(UserError, match=r"an endpoint is an address such as .*, got 'localhost:8000'"):
        Endpoint("localhost:8000", "tiny")


def test_requests_are_written_and_their_replies_read_back(bench: Bench, tmp_path: Path) -> None:
    assert write_requests(tmp_path / "requests.jsonl", bench, "tiny", frames=2) == 4
    requests = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert {request["custom_id"] for request in requests} == {one.id for one in bench.questions}
    assert {(request["method"], request["url"]) for request in requests} == {("POST", "/v1/chat/completions")}
    assert [len(pictures(request["body"])) for request in requests] == [2] * 4
    replies = [
        {
            "custom_id": request["custom_id"],
            "response": {"status_code": 200, "body": completion(last_letter(request["body"]))},
            "error": None,
        }
        for request in reversed(requests)
    ]
    path = lines(tmp_path / "replies.jsonl", *replies)
    assert collect(path, bench, tmp_path / "answers.jsonl") == 4
    found = read_answers(tmp_path / "answers.jsonl", bench)
    assert [answer.choice for answer in found.values()] == [2, 1, 1, 1]
    # A failed request is left out, a reply without a choice is an answer without one.
    replies[0]["response"]["status_code"] = 500
    replies[1]["response"]["body"] = completion("I cannot say.")
    again = read_replies(lines(path, *replies), bench)
    assert replies[0]["custom_id"] not in again
    assert again[replies[1]["custom_id"]].choice is None


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_replies_that_cannot_be_used_are_named(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    good = {"custom_id": "verb-00000", "response": {"status_code": 200, "body": completion("A")}}
    for rows, match in (
        ([{**good, "custom_id": "verb-7"}], "replies.jsonl.*1.* is a reply to no question of .*verb-7"),
        ([good, good], "replies.jsonl.*2.* is a second reply to .*verb-00000"),
        ([{**good, "response": {"body": {}}}], "'response' is no chat completion"),
        ([{**good, "response": None, "error": {"code": "late"}}], "holds no reply; the first failed request: .*late"),
        ([], "replies.jsonl holds no reply"),
    ):
        with pytest.raises(UserError, match=match):
            read_replies(lines(path, *rows), bench)
