"""What to do with which bench."""

from dataclasses import dataclass, field, fields
from typing import Any

from stg.config.schema import positive, seeds

ACTIONS = {
    "export": ("clips", "size", "seed"),
    "score": ("name", "samples", "report", "json"),
}
"""What can be done -> the options that belong to it."""

TAKES = {"score": "a file of answers or captions"}
"""Actions that need a third word -> what it is."""


@dataclass(frozen=True)
class BenchConfig:
    """What to do with which bench."""

    action: str = field(metadata={"positional": True, "help": f"One of {', '.join(ACTIONS)}."})
    folder: str = field(metadata={"positional": True, "help": "Folder of the bench; export makes it."})
    source: str | None = field(
        default=None,
        metadata={"positional": True, "optional": True, "help": "score: file of answers or captions."},
    )
    clips: int = 500
    """export: how many clips, each with one question or more."""
    size: int = 288
    """export: width and height of the clips in pixels, 96 to 448."""
    seed: int = 0
    """export: another seed makes other clips of the same kinds; none is a video that stg.fit trains on."""
    name: str | None = None
    """score: name of the row (default: that of the file)."""
    samples: int = 1000
    """score: how many times the clips are resampled, for the intervals."""
    report: str | None = None
    """score: a page (.html) to write, with answers that are right and wrong."""
    json: bool = field(default=False, metadata={"flag": True, "help": "score: print one JSON object."})

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
        positive(self, "clips", "samples")
        seeds(self, "seed")
        if not 96 <= self.size <= 448 or self.size % 2:
            raise ValueError(f"size must be an even number in 96..448; got {self.size}")
