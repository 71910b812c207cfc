"""Which captioners come with the installation, and how one is made ready to come with it."""

import re
from dataclasses import dataclass, field

from stg.config.search import SearchConfig

RESERVED = ("networks",)


@dataclass(frozen=True)
class ModelsConfig:
    """How to list the captioners that come with the installation."""

    json: bool = field(default=False, metadata={"flag": True, "help": "Print one JSON object a line, all facts in it."})


@dataclass(frozen=True)
class ShipConfig:
    """Which run to make ready to ship, and what its card says."""

    runs: tuple[str, ...] = field(
        metadata={
            "positional": True,
            "help": "Run folder to ship, evaluated; others that differ in the seed alone count in its scores.",
        }
    )
    name: str
    """What --model will call it: lower-case letters, digits, - and _."""
    weights: str
    """Folder with the ONNX networks that made the features of its training videos, as of stg.caption."""
    out: str | None = None
    """Folder for captioners, each in a folder of its name; by default that of this installation (stg/pretrained)."""
    default: bool = field(
        default=False, metadata={"flag": True, "help": "stg.caption takes it where no --model is given."}
    )
    search: SearchConfig = field(default_factory=SearchConfig)
    """How stg.caption searches with it, if nothing else is asked for."""
    float16: bool = True
    """Half precision, where it changes at most one validation caption in a hundred; else, or with false, weights stay
    as they were trained."""
    control: str | None = None
    """Run on shuffled features (run.control shuffle), evaluated too: what a captioner that sees nothing scores."""
    notes: str | None = None
    """Markdown file that is put at the end of the card: what the captioner gets wrong, what its training cost."""
    origins: str | None = None
    """JSON file that says where networks come from which stg/pretrained/networks/origins.json does not name yet, in the
    same form; a licence's text lies next to it."""
    store: str | None = None
    """Graph store of the validation videos in place of the one that the run was trained with."""
    root: str | None = None
    """Folder of the annotation files, if they have moved since the training; of one of several data sets (data.more)
    NAME:FOLDER, with commas, such as msvd:/data/msvd."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name) or self.name in RESERVED:
            raise ValueError(
                f"name must be lower-case letters, digits, - and _, and not {' or '.join(RESERVED)}; got {self.name!r}"
            )
