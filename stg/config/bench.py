"""What to do with which bench."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from stg.config.schema import positive, seeds

ACTIONS = {
    "export": ("clips", "size", "seed", "level"),
    "score": ("name", "samples", "report", "json"),
    "ask": (
        "model", "out", "method", "frames", "batch", "device", "download", "endpoint", "requests", "replies",
        "key_variable",
    ),
    "prompt": ("out", "frames", "store"),
    "balance": ("json",),
    "run": ("out", "captions", "control", "weights", "beam", "device", "download"),
}  # fmt: skip
"""What can be done -> the options that belong to it."""

LEAST_CLIPS = 24
"""Fewest clips of a bench: a group of each kind of question."""

TAKES = {"score": "a file of answers or captions", "run": "a run of stg.fit, or a model as stg.caption takes it"}
"""Actions that need a third word -> what it is."""


@dataclass(frozen=True)
class BenchConfig:
    """What to do with which bench."""

    action: str = field(metadata={"positional": True, "help": f"One of {', '.join(ACTIONS)}."})
    folder: str = field(metadata={"positional": True, "help": "Folder of the bench; export makes it."})
    source: str | None = field(
        default=None,
        metadata={
            "positional": True,
            "optional": True,
            "help": "score: file of answers, captions; run: run or model.",
        },
    )
    clips: int = 500
    """export: how many clips, an even number, 24 at least; each has one question or more."""
    size: int = 288
    """export: width and height of the clips in pixels, 96 to 448."""
    seed: int = 0
    """export: another seed makes other clips of the same kinds; none is a video that stg.fit trains on."""
    level: str = "plain"
    """export: how hard the clips are to see: plain, crowded, busy, hidden, drifting, textured (extra `textures`),
    noisy, sequence, hard; or settings, as objects=6,distractors=2,occluders=1,drift=8,texture=1,noise=8,events=3."""
    name: str | None = None
    """score: name of the row (default: that of the file)."""
    samples: int = 1000
    """score: how many times the clips are resampled, for the intervals."""
    report: str | None = None
    """score: a page (.html) to write, with answers that are right and wrong."""
    json: bool = field(default=False, metadata={"flag": True, "help": "score, balance: print one JSON object."})
    model: str | None = None
    """ask: a folder as transformers saves models, or owner/name of one on a hub, that sees pictures and reads text: a
    chat model (SmolVLM2, Qwen2-VL), or CLIP and its like; with --endpoint and --requests what that calls its model."""
    out: str | None = None
    """ask: file of answers, which is continued; default: answers.jsonl in the folder. run: the same, named by the run,
    answers-RUN.jsonl. prompt: graphs.jsonl there."""
    captions: str | None = None
    """run: file of captions, which is continued; default: captions-RUN.jsonl in the folder."""
    control: Literal["none", "shuffled", "reversed", "single", "mean"] = "none"
    """run: show the sampled frames shuffled, reversed, the middle one in place of all (single), or each alone, with the
    mean of the scores (mean)."""
    weights: str | None = None
    """run: folder with the weights of the networks, or a file of them; several are joined by ':' (on Windows ';')."""
    beam: int = 5
    """run: width of the search for captions; 1 is greedy."""
    method: Literal["likelihood", "letter"] = "likelihood"
    """ask: what a chat model chooses by, the likelihood of each choice as its reply, or of its letter."""
    frames: int = 8
    """ask: frames of a clip that are shown; prompt: times that are described."""
    batch: int = 4
    """ask: replies that a chat model reads in one pass; for CLIP and its like, frames."""
    device: str = "auto"
    """ask, run: where the model runs: auto, cpu, cuda, cuda:1, ..."""
    download: bool = field(
        default=False, metadata={"flag": True, "help": "ask, run: fetch the model and its networks, if not here."}
    )
    endpoint: str | None = None
    """ask: address of an endpoint of chat completions, such as http://127.0.0.1:8000/v1; frames are sent to it."""
    requests: str | None = None
    """ask: write a file of requests for such an endpoint, and ask nothing."""
    replies: str | None = None
    """ask: read the file of replies to such requests into answers, and ask nothing."""
    key_variable: str | None = None
    """ask: variable of the environment that holds the key of the endpoint."""
    store: str | None = None
    """prompt: graphs that stg.extract made of the clips; default: the true boxes of all objects, with their names."""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"the action must be one of {', '.join(ACTIONS)}, got '{self.action}'")
        defaults: dict[str, Any] = {item.name: item.default for item in fields(self)}
        allowed = ACTIONS[self.action]
        for action, options in ACTIONS.items():
            given = [name for name in options if name not in allowed and getattr(self, name) != defaults[name]]
            if given:
                raise ValueError(f"--{given[0]} is an option of {action}, not of {self.action}")
        takes = TAKES.get(self.action)
        if takes and self.source is None:
            raise ValueError(f"{self.action} {self.folder} needs {takes} as well")
        if not takes and self.source is not None:
            raise ValueError(f"{self.action} takes one folder alone; got {self.source!r} as well")
        if self.action == "ask":
            self._check_asking()
        check_clips(self.clips)
        positive(self, "samples", "frames", "batch", "beam")
        seeds(self, "seed")
        if not 96 <= self.size <= 448 or self.size % 2:
            raise ValueError(f"size must be an even number in 96..448; got {self.size}")

    def _check_asking(self) -> None:
        modes = [name for name in ("endpoint", "requests", "replies") if getattr(self, name)]
        if len(modes) > 1:
            raise ValueError(f"--{modes[0]} and --{modes[1]} exclude each other")
        if self.model is None and modes != ["replies"]:
            raise ValueError("ask needs --model, or --replies FILE of a model that was asked elsewhere")
        if modes and (self.download or self.method != "likelihood"):
            raise ValueError(f"--{'download' if self.download else 'method'} is for models here, not for --{modes[0]}")
        if self.key_variable and modes != ["endpoint"]:
            raise ValueError("--key_variable belongs to --endpoint")


def check_clips(clips: int) -> None:
    """Refuse a number of clips that no bench has.

    Raises:
        ValueError: too few clips, or an odd number.
    """
    if clips < LEAST_CLIPS or clips % 2:
        raise ValueError(f"clips must be an even number, {LEAST_CLIPS} at least, as each has its twin; got {clips}")
