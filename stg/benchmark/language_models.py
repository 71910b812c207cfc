"""Models of transformers that answer questions on clips: chat models that see pictures, and CLIP and its like.

Nothing is fetched here: a model is a folder as the library saves it.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
)

from stg.benchmark.asking import LETTERS, Asked, Frames, Method, prompt
from stg.benchmark.questions import Answer, Question
from stg.runtime.errors import UserError, first_line
from stg.vision.transformers_networks import load_network


def open_model(folder: str | Path, *, method: Method = "likelihood", batch: int = 4, device: str = "cpu") -> Asked:
    """The model of a folder: a :class:`ChatModel` or a :class:`PictureTextModel`.

    Args:
        folder: as ``save_pretrained`` of model and processor writes it.
        method: ``likelihood`` of each choice as the reply, or the likeliest ``letter``; CLIP and its like take the
            first alone.
        batch: replies (for CLIP: frames) in one pass.
        device: where it runs; weights are as saved on a GPU, and float32 on a CPU.

    Raises:
        UserError: not a folder of a model that reads pictures and text, damaged, or a method it has not.
    """
    folder = Path(folder)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of the library, of its JSON, of the system: they share no base class
        raise UserError(f"{folder} holds no model that transformers knows: {first_line(error)}") from error
    if type(config) in AutoModelForImageTextToText._model_mapping:
        return ChatModel(folder, method=method, batch=batch, device=device)
    if not all(hasattr(config, part) for part in ("text_config", "vision_config")):
        raise UserError(
            f"{folder} holds a model of the type {config.model_type}, which does not read pictures and text: give one "
            "for image-text-to-text (SmolVLM2, Qwen2-VL) or for comparing both (CLIP, SigLIP)"
        )
    if method != "likelihood":
        raise UserError(f"{folder} compares pictures with texts and says no {method}: leave the method at likelihood")
    return PictureTextModel(folder, batch=batch, device=device)


def _open(maker: Any, folder: Path, what: str) -> Any:
    try:
        return maker.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as above
        raise UserError(f"{folder} has no {what} that transformers can use: {first_line(error)}") from error


class ChatModel:
    """A chat model that is shown the frames of a clip as pictures, in order, and then reads the question.

    With ``likelihood`` the score of a choice is the mean log-probability of its tokens as the reply; with ``letter``
    the choices have letters, and the score is that of the letter. Nothing is drawn: the same clip has the same answer.

    Args:
        folder, method, batch, device: see :func:`open_model`.

    Raises:
        UserError: damaged, or without a chat template.
    """

    def __init__(self, folder: Path, *, method: Method, batch: int, device: str) -> None:
        self.folder, self.method, self.batch, self.device = folder, method, batch, device
        self.processor: Any = _open(AutoProcessor, folder, "processor")
        if not getattr(self.processor, "chat_template", None):
            raise UserError(f"{folder} has no chat template (chat_template.jinja), so that nobody knows how to ask it")
        tokenizer = self.processor.tokenizer
        # Prompts end where replies begin.
        tokenizer.padding_side = "left"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        if hasattr(self.processor.image_processor, "do_image_splitting"):
            # SmolVLM and its like cut a single picture into tiles; frames of a video are shown to them whole.
            self.processor.image_processor.do_image_splitting = False
        dtype = torch.float32 if torch.device(device).type == "cpu" else "auto"
        self.network: Any = load_network(AutoModelForImageTextToText, folder, device, dtype=dtype)
        self._keeps = "logits_to_keep" in inspect.signature(self.network.forward).parameters

    @property
    def made(self) -> str:
        """See :class:`stg.benchmark.asking.Asked`."""
        return f"{self.folder.resolve().name}, {self.method}"

    def answer(self, frames: Frames, questions: Sequence[Question]) -> list[Answer]:
        """See :class:`stg.benchmark.asking.Asked`."""
        pictures = [Image.fromarray(frame) for frame in frames]
        rows = [
            (self._asked(question, len(pictures)), reply)
            for question in questions
            for reply in (LETTERS[: len(question.choices)] if self.method == "letter" else question.choices)
        ]
        scores: list[float] = []
        for start in range(0, len(rows), self.batch):
            scores += self._scores(pictures, rows[start : start + self.batch])
        found = []
        for question in questions:
            mine, scores = scores[: len(question.choices)], scores[len(question.choices) :]
            best = max(mine)
            found.append(Answer(question.id, mine.index(best) if mine.count(best) == 1 else None, tuple(mine)))
        return found

    def _asked(self, question: Question, pictures: int) -> str:
        content = [
            *({"type": "image"} for _ in range(pictures)),
            {"type": "text", "text": prompt(question, self.method)},
        ]
        return str(
            self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
        )

    def _scores(self, pictures: list[Image.Image], rows: Sequence[tuple[str, str]]) -> list[float]:
        """The mean log-probability of the tokens of each reply to its prompt."""
        inputs = self.processor(
            text=[text for text, _ in rows], images=[pictures] * len(rows), padding=True, return_tensors="pt"
        )
        replies = [self._tokens(text, reply) for text, reply in rows]
        longest = max(len(reply) for reply in replies)
        tokens = torch.zeros(len(rows), longest, dtype=torch.int64)
        mask = torch.zeros_like(tokens)
        for row, reply in enumerate(replies):
            tokens[row, : len(reply)], mask[row, : len(reply)] = reply, 1
        # What there is for each token of the prompt goes on over the reply, which holds no picture.
        for name, rest in {"input_ids": tokens, "attention_mask": mask}.items():
            inputs[name] = torch.cat([inputs[name], rest], 1)
        for name, value in inputs.items():
            if name.endswith("token_type_ids"):
                inputs[name] = torch.cat([value, torch.zeros_like(tokens)], 1)
        given = {
            name: value.to(self.device, self.network.dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if isinstance(value, Tensor)
        }
        # A large vocabulary over all tokens of all pictures would take more memory than the network.
        keep = {"logits_to_keep": longest + 1} if self._keeps else {}
        with torch.inference_mode():
            logits = self.network(**given, use_cache=False, **keep).logits[:, -longest - 1 : -1]
        said = logits.float().log_softmax(-1).gather(2, tokens.to(logits.device).unsqueeze(2))[..., 0].cpu()
        return ((said * mask).sum(1) / mask.sum(1)).tolist()

    def _tokens(self, text: str, reply: str) -> Int[Tensor, " L"]:
        space = "" if not text or text[-1].isspace() else " "
        found = self.processor.tokenizer(space + reply, add_special_tokens=False)["input_ids"]
        if not found:
            raise UserError(f"the tokenizer of {self.folder} makes nothing of {reply!r}: it does not fit its model")
        return torch.tensor(found)


class PictureTextModel:
    """A model that compares pictures with texts: the choice whose mean cosine with the frames is largest.

    The question itself is not read: choices are statements. The order of frames changes nothing.

    Args:
        folder, batch, device: see :func:`open_model`.

    Raises:
        UserError: damaged, or without features of both.
    """

    made_with = "mean cosine with the frames"

    def __init__(self, folder: Path, *, batch: int, device: str) -> None:
        self.folder, self.batch, self.device = folder, batch, device
        self.network: Any = load_network(AutoModel, folder, device)
        if not all(hasattr(self.network, name) for name in ("get_image_features", "get_text_features")):
            raise UserError(f"{folder} holds {type(self.network).__name__}, which does not compare pictures with texts")
        self.pictures: Any = _open(AutoImageProcessor, folder, "image processor")
        self.tokenizer: Any = _open(AutoTokenizer, folder, "tokenizer")

    @property
    def made(self) -> str:
        """See :class:`stg.benchmark.asking.Asked`."""
        return f"{self.folder.resolve().name}, {self.made_with}"

    def answer(self, frames: Frames, questions: Sequence[Question]) -> list[Answer]:
        """See :class:`stg.benchmark.asking.Asked`."""
        texts = list(dict.fromkeys(choice for question in questions for choice in question.choices))
        with torch.inference_mode():
            shown = torch.cat(
                [self._seen(frames[start : start + self.batch]) for start in range(0, len(frames), self.batch)]
            )
            mean = (shown @ self._read(texts).T).mean(0)
        score = dict(zip(texts, mean.tolist(), strict=True))
        found = []
        for question in questions:
            mine = tuple(score[choice] for choice in question.choices)
            found.append(Answer(question.id, mine.index(max(mine)) if mine.count(max(mine)) == 1 else None, mine))
        return found

    def _seen(self, frames: Frames) -> Float[Tensor, "T E"]:
        given = self.pictures(list(frames), return_tensors="pt", input_data_format="channels_last")
        return _directions(self.network.get_image_features(pixel_values=given["pixel_values"].to(self.device)))

    def _read(self, texts: list[str]) -> Float[Tensor, "Q E"]:
        # SigLIP has learned from texts of one length.
        padding = "max_length" if "siglip" in self.network.config.model_type else True
        given = self.tokenizer(texts, padding=padding, truncation=True, return_tensors="pt").to(self.device)
        return _directions(self.network.get_text_features(**given))


def _directions(found: Any) -> Float[Tensor, "rows E"]:
    # Newer versions give an output whose pooled part is the embedding.
    features = found if isinstance(found, Tensor) else found.pooler_output
    return torch.nn.functional.normalize(features.float(), dim=-1)
