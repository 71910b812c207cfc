"""A model behind an endpoint that speaks the protocol of OpenAI's chat completions: asked now, or by a request file.

The request file has the form of that protocol's batches, so that whoever may run the model can do so elsewhere; a file
of its replies is read back into answers. Nothing is sent but to the address that is given.
"""

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from stg.benchmark.asking import Frames, letter_answer, prompt, write
from stg.benchmark.questions import Answer, Bench, Question, by_clip
from stg.runtime.errors import StgError, UserError, first_line
from stg.runtime.files import replacing
from stg.runtime.reading import read_json_lines, require, shown
from stg.runtime.reporter import SILENT, Reporter
from stg.video.decoding import sample_video

URL = "/v1/chat/completions"
TOKENS = 16
"""Most tokens of a reply: a letter is wanted."""
SECONDS = 300.0
"""Longest wait for a reply: a model may have to be loaded first."""
QUALITY = 92
"""Of the JPEG pictures."""


def request_body(model: str, frames: Frames, question: Question) -> dict[str, Any]:
    """What is sent for one question: the frames as JPEG in data URLs, in order, then the question and its choices.

    Args:
        model: what the endpoint calls the model.
        frames: ``[T H W 3]``.
        question: of the clip.
    """
    pictures = [{"type": "image_url", "image_url": {"url": _data_url(frame)}} for frame in frames]
    text = {"type": "text", "text": prompt(question, "letter")}
    messages = [{"role": "user", "content": [*pictures, text]}]
    return {"model": model, "messages": messages, "max_tokens": TOKENS, "temperature": 0}


def _data_url(frame: Any) -> str:
    held = io.BytesIO()
    Image.fromarray(frame).save(held, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"


def write_requests(path: str | Path, bench: Bench, model: str, *, frames: int = 8, reporter: Reporter = SILENT) -> int:
    """Write a request for each question, a JSON object a line: ``custom_id`` (its id), ``method``, ``url``, ``body``.

    Args:
        path: of the file, which is whole or not there.
        bench: whose questions.
        model: what the endpoint calls the model.
        frames: frames of each clip.
        reporter: hears the progress.

    Returns:
        The number of requests.

    Raises:
        StgError: a clip cannot be read, or the file not be written.
    """
    with (
        replacing(path) as part,
        open(part, "w", encoding="utf-8") as file,
        reporter.bar("writing requests") as advance,
    ):
        for done, request in enumerate(_requests(bench, model, frames), 1):
            file.write(json.dumps(request, ensure_ascii=False) + "\n")
            advance(done, len(bench.questions))
    return len(bench.questions)


def _requests(bench: Bench, model: str, frames: int) -> Iterator[dict[str, Any]]:
    for video, questions in by_clip(bench.questions):
        shown_frames = sample_video(bench.clip(video), frames).frames
        for question in questions:
            body = request_body(model, shown_frames, question)
            yield {"custom_id": question.id, "method": "POST", "url": URL, "body": body}


def read_replies(path: str | Path, bench: Bench) -> dict[str, Answer]:
    """The answers in a file of replies, as batches of that protocol give it, in any order.

    A line holds ``custom_id`` and ``response`` with ``status_code`` and ``body``. Where a reply names no choice the
    answer has none, which counts as wrong. A request that failed is left out, so that it can be asked again.

    Raises:
        UserError: not of this form, a reply to no question or a second one, or all requests failed.
    """
    asked, found, failed = {one.id: one for one in bench.questions}, dict[str, Answer](), list[str]()
    for where, row in read_json_lines(path):
        name = require(row, "custom_id", str, where)
        if name not in asked or name in found:
            what = "a second reply to" if name in found else f"a reply to no question of {bench.folder}:"
            raise UserError(f"{where} is {what} {shown(name)}")
        response = row.get("response")
        if row.get("error") or not isinstance(response, dict) or response.get("status_code", 200) != 200:
            failed.append(f"{where}: {json.dumps(row.get('error') or response)[:200]}")
            continue
        found[name] = letter_answer(asked[name], reply_text(response.get("body"), f"{where} 'response'"))
    if not found:
        raise UserError(f"{path} holds no reply{f'; the first failed request: {failed[0]}' if failed else ''}")
    return found


def collect(replies: str | Path, bench: Bench, path: str | Path) -> int:
    """Write the answers of a file of replies; returns how many there are.

    Raises:
        UserError: see :func:`read_replies`.
    """
    answers = read_replies(replies, bench)
    write(Path(path), bench, answers, f"replies in {Path(replies).name}")
    return len(answers)


def reply_text(body: Any, where: str) -> str:
    """The text of a reply.

    Raises:
        UserError: the body has none.
    """
    try:
        text = body["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = body
    if not isinstance(text, str):
        raise UserError(
            f"{where} is no chat completion with choices[0].message.content: {json.dumps(body, default=str)[:200]}"
        )
    return text


class Endpoint:
    """A model that is asked over HTTP, one question after the other.

    Args:
        address: up to and with ``/v1``, such as ``http://127.0.0.1:8000/v1`` of vLLM, llama.cpp, Ollama.
        model: what the endpoint calls the model.
        key: sent as a bearer token, where it is given.
        seconds: longest wait for a reply.

    Raises:
        UserError: not an address of HTTP.
    """

    def __init__(self, address: str, model: str, *, key: str | None = None, seconds: float = SECONDS) -> None:
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
            raise UserError(f"an endpoint is an address such as http://127.0.0.1:8000/v1, got {address!r}")
        self.address, self.model, self.key, self.seconds = address.rstrip("/"), model, key, seconds

    @property
    def made(self) -> str:
        """See :class:`stg.benchmark.asking.Asked`."""
        return f"{self.model} at {self.address}"

    def answer(self, frames: Frames, questions: Sequence[Question]) -> list[Answer]:
        """See :class:`stg.benchmark.asking.Asked`.

        Raises:
            StgError: the endpoint cannot be reached, refuses, or replies in another form; answers so far are kept.
        """
        return [letter_answer(one, self._post(request_body(self.model, frames, one))) for one in questions]

    def _post(self, body: dict[str, Any]) -> str:
        url = self.address + URL.removeprefix("/v1")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.seconds) as response:
                found = json.loads(response.read())
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace").strip()
            raise StgError(f"{url} refused a question with status {error.code}: {said or error.reason}") from error
        except (OSError, ValueError) as error:
            raise StgError(f"{url} could not be asked: {first_line(error, most=200)}; start again to go on") from error
        return reply_text(found, f"the reply of {url}")
