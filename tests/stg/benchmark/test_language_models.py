"""Models of transformers answer questions: tiny random ones through the real classes, against the library itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from stg.benchmark.asking import ask, prompt
from stg.benchmark.language_models import open_model
from stg.benchmark.questions import Question
from stg.runtime.errors import UserError
from tests.stg import make_chat_models, make_models
from tests.stg.benchmark.make_bench import small_bench

CHAT: dict[str, Callable[[Path], Path]] = {
    "smolvlm": make_chat_models.write_smolvlm,
    "qwen2vl": make_chat_models.write_qwen2vl,
}
QUESTIONS = [
    Question("verb-0", "verb", "a", "What happens?", ("a ball rolls left", "a ball falls", "a red ball rises")),
    Question("role-0", "role", "a", "Who does it to whom?", ("x pushes y", "y pushes x")),
]
FRAMES = np.random.default_rng(0).integers(0, 255, (3, 40, 48, 3), np.uint8)


@pytest.fixture(scope="module", params=CHAT)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CHAT[request.param](tmp_path_factory.mktemp("models") / request.param)


def reference(folder: Path, text: str, reply: str) -> float:
    """The mean log-probability of a reply, from the library without any padding."""
    processor: Any = transformers.AutoProcessor.from_pretrained(folder)
    model: Any = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    content = [*[{"type": "image"}] * len(FRAMES), {"type": "text", "text": text}]
    asked = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    given = processor(
        text=[f"{asked} {reply}"], images=[[Image.fromarray(frame) for frame in FRAMES]], return_tensors="pt",
        **({"do_image_splitting": False} if "smolvlm" in folder.name else {}),
    )  # fmt: skip
    with torch.inference_mode():
        logits = model(**given).logits[0].log_softmax(-1)
    # A token a character; the reply and the space before it come last.
    count = len(reply) + 1
    said = given["input_ids"][0, -count:]
    return float(logits[-count - 1 : -1].gather(1, said[:, None]).mean())


def test_the_score_of_a_choice_is_its_likelihood_as_the_reply(folder: Path) -> None:
    found = open_model(folder, batch=3).answer(FRAMES, QUESTIONS)
    for answer, question in zip(found, QUESTIONS, strict=True):
        text = prompt(question, "likelihood")
        expected = [reference(folder, text, choice) for choice in question.choices]
        assert answer.scores == pytest.approx(expected, abs=1e-4)
        assert answer.choice == int(np.argmax(expected))
        assert np.ptp(expected) > 0.01


def test_the_score_of_a_letter_is_its_likelihood(folder: Path) -> None:
    (answer,) = open_model(folder, method="letter").answer(FRAMES, QUESTIONS[1:])
    text = prompt(QUESTIONS[1], "letter")
    assert answer.scores == pytest.approx([reference(folder, text, letter) for letter in "AB"], abs=1e-4)


def test_batches_change_nothing_and_the_order_of_frames_does(folder: Path) -> None:
    alone, together = (open_model(folder, batch=batch).answer(FRAMES, QUESTIONS) for batch in (1, 5))
    for one, other in zip(alone, together, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
    turned = open_model(folder).answer(FRAMES[::-1].copy(), QUESTIONS)
    assert turned[0].scores != pytest.approx(alone[0].scores, abs=1e-6)


def test_a_bench_is_answered(folder: Path, tmp_path: Path) -> None:
    bench, path = small_bench(tmp_path / "bench"), tmp_path / "answers.jsonl"
    assert ask(bench, open_model(folder), path, frames=2) == 4
    assert json.loads(path.read_text().splitlines()[0])["made"] == f"{folder.name}, likelihood, 2 frames"


def test_a_clip_ranks_choices_by_the_mean_over_frames(tmp_path: Path) -> None:
    folder = make_chat_models.write_clip(tmp_path / "clip")
    found = open_model(folder, batch=2).answer(FRAMES, QUESTIONS)
    model: Any = transformers.CLIPModel.from_pretrained(folder).eval()
    pictures = transformers.CLIPImageProcessor.from_pretrained(folder)(list(FRAMES), return_tensors="pt")
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    for answer, question in zip(found, QUESTIONS, strict=True):
        words = tokenizer(list(question.choices), padding=True, return_tensors="pt")
        with torch.inference_mode():
            logits = model(**pictures, **words).logits_per_image / model.logit_scale.exp()
        assert answer.scores == pytest.approx(logits.mean(0).tolist(), abs=1e-5)
        assert answer.choice == int(logits.mean(0).argmax())
    turned = open_model(folder).answer(FRAMES[::-1].copy(), QUESTIONS)
    assert turned[0].scores == pytest.approx(found[0].scores, abs=1e-5)
    with pytest.raises(UserError, match="clip compares pictures with texts and says no letter"):
        open_model(folder, method="letter")


def test_what_cannot_be_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no model that transformers knows"):
        open_model(tmp_path)
    dino = make_models.write_dino(tmp_path / "dino", 2)
    with pytest.raises(UserError, match="model of the type dinov2, which does not read pictures and text"):
        open_model(dino)
    mute = shutil.copytree(folder, tmp_path / "mute")
    (mute / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"mute has no chat template"):
        open_model(mute)
    (mute / "model.safetensors").write_bytes(b"damaged")
    shutil.copy(folder / "chat_template.jinja", mute)
    with pytest.raises(UserError, match="mute holds no network that transformers can open here"):
        open_model(mute)
