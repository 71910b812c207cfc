"""What to caption, with which model."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from stg.config.extraction import RECURSIVE_HELP
from stg.config.search import SearchConfig, with_shorthands

SUBTITLES = (".srt", ".vtt")
"""Suffixes of files that hold the captions of one clip."""

OUT = (".csv", ".json", ".jsonl", *SUBTITLES)
"""Suffixes of --out, each for a form."""

JSON_HELP = (
    "Print one JSON object a line: video, start and end (seconds within the clip), caption, confidence, log_prob, "
    "seconds (of work), truncated, error; with --n_best candidates; where the search is calibrated (stg.evaluate RUN "
    "--split val) chance, that each content word is one that a person would use, and level, the same as high, middle "
    "or low; and warning, where the clip is unlike the training data."
)


def cut_of(segments: str | None) -> float | str | None:
    """Where a clip is cut into segments, as `stg.video.clip.ClipRequest` has it: each so many seconds, or ``scenes``.

    Raises:
        ValueError: it is neither ``scenes`` nor as ``10s``, at least a second.
    """
    if segments is None or segments == "scenes":
        return segments
    seconds = float(segments[:-1]) if re.fullmatch(r"\d+(\.\d+)?s", segments) else 0.0
    if not 1 <= seconds < 1e6:
        raise ValueError(f"segments are scenes, or of a length in seconds, at least 1s, such as 10s; got {segments!r}")
    return seconds


@dataclass(frozen=True)
class CaptionConfig:
    """What to caption, with which model."""

    videos: tuple[str, ...] = field(
        metadata={"positional": True, "help": "Video files, or folders of them; put -- before names that start with -."}
    )
    model: str | None = None
    """Run folder of stg.fit, a folder of save_pretrained, or the model.safetensors in one; or owner/name of a model on
    a hub (extra `hub`) of which this machine has a copy; or the name of a captioner that comes with the installation
    (stg models lists them). By default the first of these, if there is one."""
    download: bool = field(
        default=False,
        metadata={
            "flag": True,
            "help": "Fetch models of a hub of which there is no copy here: --model, and its networks.",
        },
    )
    recursive: bool = field(default=False, metadata={"flag": True, "help": RECURSIVE_HELP})
    weights: str | None = None
    """Folder with the weights of the networks, or a file of them; several are joined by ':' (on Windows ';')."""
    beam: int = 5
    """Width of the search; 1 is greedy."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Another search than the beam, or rules for it."""
    n_best: int = 1
    """Captions a clip, best first; more than one needs --json or an --out that ends in .json or .jsonl, which have them
    as a list: candidates."""
    json: bool = field(default=False, metadata={"flag": True, "help": JSON_HELP})
    out: str | None = None
    """Also write the captions to this file, by its suffix as a table (.csv), as JSON (.json, one object a line .jsonl)
    with the fields of --json, or as subtitles (.srt, .vtt). A clip that fails has a row with its error, and no
    subtitles. Subtitles of several clips are a file each in a folder: captions/NAME.srt for captions.srt. What is done
    is in the file, however the command ends."""
    segments: str | None = None
    """Caption a long video in segments: 10s for each so many seconds, or scenes, which end where the picture changes at
    once. One line a segment; neighbours with equal captions are one; shorter ones than a second join their
    neighbour."""
    report: str | None = None
    """Also write a page to this file: frames, graph, words, and where each word looked. It shows objects where the
    detector of the training features is at hand, which captioning may do without. A page ends after 30 clips or 18 MB;
    the others go to NAME-2.html, ..."""
    overlay: str | None = None
    """Also write the clip, one alone, to this .mp4 with boxes, edges and the growing caption burnt in, and with
    its sound."""
    workers: int = 1
    """Processes that decode clips; a crash or a hang costs one clip. 0 decodes in the command's own process."""
    time_limit: float = 600.0
    """Seconds to wait for one clip, or with --segments for each segment, before it is given up; with --report as many
    again for its film on the page, without which it is shown then; with --overlay as many again for its pictures, and
    for its sound."""
    device: str = "auto"
    """auto: a GPU (CUDA) where there is one, else the CPU; or cpu, cuda, cuda:1, mps."""
    threads: int = 0
    """CPU threads; 0 for all cores."""

    def __post_init__(self) -> None:
        form = Path(self.out).suffix.lower() if self.out is not None else ""
        if self.out is not None and form not in OUT:
            raise ValueError(f"out is a file that ends in {', '.join(OUT[:-1])} or {OUT[-1]}; got {self.out!r}")
        if self.searched().n_best > 1 and not self.json and form not in (".json", ".jsonl"):
            raise ValueError(
                "several captions a clip (n_best) need --json, or an --out that ends in .json or .jsonl: add one"
            )
        cut_of(self.segments)
        if self.overlay and self.segments is not None:
            raise ValueError("overlay draws one caption into the whole clip: leave out segments")
        if self.overlay and Path(self.overlay).suffix.lower() != ".mp4":
            raise ValueError(f"overlay is a file that ends in .mp4; got {self.overlay!r}")
        if self.workers < 0 or self.threads < 0 or not self.time_limit > 0:
            raise ValueError(
                f"workers and threads must not be negative and time_limit be positive; got {self.workers}, "
                f"{self.threads}, {self.time_limit}"
            )

    def searched(self) -> SearchConfig:
        """How captions are searched for."""
        return with_shorthands(self.search, beam=self.beam, n_best=self.n_best)
