"""Which caption files and runs to compare."""

from dataclasses import dataclass, field
from typing import Literal

from stg.config.schema import seeds


@dataclass(frozen=True)
class CompareConfig:
    """What to compare."""

    runs: tuple[str, ...] = field(metadata={"positional": True, "help": "Run folders that stg.evaluate has scored."})
    split: str = "val"
    """The split whose captions are compared."""
    search: str = "greedy"
    """How they were found, as stg.evaluate names its files: greedy, beam5, greedy-noclass, ..."""
    dataset: str | None = None
    """The data set, as of stg.evaluate; runs that have learned from this one alone are welcome."""
    names: str | None = None
    """Names of the rows, with commas, in the order in which they come up. By default what their settings differ in."""
    baseline: str | None = None
    """The row, by name or by one of its runs, that the others are set against. By default the first."""
    samples: int = 1000
    """How many times the videos are resampled, for the intervals."""
    seed: int = 0
    """Seed of the resampling."""
    show: int = 5
    """Videos to print of those that gain most, and of those that lose most."""
    report: str | None = None
    """A page (.html) to write: the --show videos that gain most and that lose most, with frames and all captions."""
    clips: str | None = None
    """For --report: the video files, or folders of them, joined by ':' (on Windows ';'), named as the videos are; the
    built-in world needs none."""
    time_limit: float = 600.0
    """For --report: seconds to wait for one clip before it is shown without pictures."""
    root: str | None = None
    """Folder of the annotation files, if they have moved since the training; of one of several data sets (data.more)
    NAME:FOLDER, with commas, such as msvd:/data/msvd."""
    meteor: bool = True
    """Compare by METEOR, too, next to BLEU-4, ROUGE-L and CIDEr; it needs Java and about 20 seconds to start."""
    json: bool = field(default=False, metadata={"flag": True, "help": "Print one JSON object instead of tables."})

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("show", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}")
        seeds(self, "seed")
        if not self.time_limit > 0:
            raise ValueError(f"time_limit must be greater than 0; got {self.time_limit}")
        if self.clips and not self.report:
            raise ValueError("clips are for the pictures of a page: add --report FILE.html")
        if self.report and not self.show:
            raise ValueError("report shows the --show videos that gain and lose most; got --show 0")


ACTIONS = {
    "merge": ("out", "videos", "form", "force"),
    "compare": ("references", "run", "show", "different", "json"),
}
"""What can be done -> the options that belong to it."""


@dataclass(frozen=True)
class PredictionsConfig:
    """What to do with which caption files."""

    action: str = field(metadata={"positional": True, "help": "merge or compare."})
    files: tuple[str, ...] = field(
        metadata={"positional": True, "help": "Caption files, first come first; put -- before names that start with -."}
    )
    out: str | None = None
    """merge: the file to write."""
    videos: str | None = None
    """merge: a file with the ids that must all be there: one a line, a JSON list, or an annotation file of VATEX."""
    form: Literal["coco", "vatex"] = "coco"
    """merge: coco is a list of image_id and caption; vatex an object {video: caption}, as its challenge server takes
    it."""
    force: bool = field(default=False, metadata={"flag": True, "help": "merge: replace the file --out."})
    references: str | None = None
    """compare: a caption file whose first caption of each video is shown next to the predictions."""
    run: str | None = None
    """compare: a run folder; the references are those of its data set."""
    show: int | None = None
    """compare: how many videos to print, 0 for all. By default 20 in a table, all with --json."""
    different: bool = False
    """compare: only videos of which not all the files say the same."""
    json: bool = field(default=False, metadata={"flag": True, "help": "compare: print one JSON object a line."})

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"the action must be one of {', '.join(ACTIONS)}, got '{self.action}'")
        for action, options in ACTIONS.items():
            given = [name for name in options if getattr(self, name) != type(self).__dataclass_fields__[name].default]
            if action != self.action and given:
                raise ValueError(f"--{given[0]} is an option of {action}, not of {self.action}")
        if len(self.files) < 2:
            raise ValueError(f"{self.action} needs at least two caption files, got {len(self.files)}")
        if self.action == "merge" and self.out is None:
            raise ValueError("merge needs --out FILE")
        if self.references is not None and self.run is not None:
            raise ValueError("references come from --references or from --run, not from both: give one")
        if self.show is not None and self.show < 0:
            raise ValueError(f"show must not be negative; got {self.show}")


FILES_HELP = "Caption files; differences are to the first. Put -- before names that start with -."


@dataclass(frozen=True)
class WordsConfig:
    """Which captions to compare, and how."""

    files: tuple[str, ...] = field(metadata={"positional": True, "help": FILES_HELP})
    drop: int = 5
    """The most frequent words of a file, of any kind, that are left out of its list."""
    top: int = 20
    """Length of the list of verbs and nouns."""
    tagger: Literal["auto", "spacy", "lexicon"] = "auto"
    """spacy decides best; lexicon needs nothing installed; auto is spacy where it is installed, and says which it was.
    For spacy: pip install 'stg-video[words]', then python -m spacy download en_core_web_sm."""
    model: str | None = None
    """Another spaCy pipeline, by name or as a folder; nothing is downloaded."""
    json: bool = field(default=False, metadata={"flag": True, "help": "Print one JSON object instead of tables."})

    def __post_init__(self) -> None:
        if self.drop < 0 or self.top < 1:
            raise ValueError(f"drop must not be negative and top at least 1; got {self.drop} and {self.top}")
