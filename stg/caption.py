"""Caption video files with a trained model.

The model says how its training videos were looked at; the clips are looked at in the same way. Pan's model runs no
detector. Weights of the networks are looked for in --weights and in torch's cache; nothing is downloaded.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stg.cli import command
from stg.errors import TooManySkipped, UserError
from stg.files import printable
from stg.search import SearchConfig, with_shorthands

if TYPE_CHECKING:
    from stg.captioning import Captioned


JSON_HELP = (
    "print one JSON object a line: video, caption, confidence, log_prob, seconds, truncated, error, and with --n_best "
    "candidates"
)


@dataclass(frozen=True)
class CaptionConfig:
    """What to caption, with which model."""

    videos: tuple[str, ...] = field(
        metadata={"positional": True, "help": "video files, or folders of them; put -- before names that start with -"}
    )
    model: str
    """Run folder of stg.fit, or the model.safetensors in one."""
    weights: str | None = None
    """Folder with the weights of the networks, or a file of them; several are joined by ':' (on Windows ';')."""
    beam: int = 5
    """Width of the search; 1 is greedy."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Another search than the beam, or rules for it."""
    n_best: int = 1
    """Captions a clip, best first; more than one needs --json, which prints them as a list: candidates."""
    json: bool = field(default=False, metadata={"flag": True, "help": JSON_HELP})
    workers: int = 1
    """Processes that decode clips; a crash or a hang costs one clip. 0 decodes in the command's own process."""
    time_limit: float = 600.0
    """Seconds to wait for one clip before it is given up."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    threads: int = 0
    """CPU threads; 0 for all cores."""

    def __post_init__(self) -> None:
        if self.searched().n_best > 1 and not self.json:
            raise ValueError("several captions a clip (n_best) are printed with --json alone: add it")
        if self.workers < 0 or self.threads < 0 or not self.time_limit > 0:
            raise ValueError(
                f"workers and threads must not be negative and time_limit be positive; got {self.workers}, "
                f"{self.threads}, {self.time_limit}"
            )

    def searched(self) -> SearchConfig:
        """How captions are searched for."""
        return with_shorthands(self.search, beam=self.beam, n_best=self.n_best)


def main(config: CaptionConfig) -> int:
    """Caption the clips; returns 0, or raises what the command turns into an exit code."""
    from rich.console import Console

    from stg.extract import list_clips
    from stg.runs import features_read, model_file, model_header
    from stg.vision.recorded import recorded_files

    # Whatever is missing is said before torch is loaded, which takes many seconds.
    clips = {str(path): path for path in list_clips(config.videos)}
    header = model_header(model_file(config.model))
    places = [Path(place) for place in (config.weights.split(os.pathsep) if config.weights else [])]
    files = recorded_files(header["features"], features_read(header), places)

    import torch

    from stg.captioning import load
    from stg.progress import making
    from stg.vision.readers import Readers

    if config.threads:
        torch.set_num_threads(config.threads)
    console = Console(stderr=True, soft_wrap=True)
    weights = list(files.values())
    search = config.searched()
    captioner = load(config.model, weights=weights, device=config.device, threads=config.threads, search=search)
    failed: list[Captioned] = []
    with (
        Readers(captioner.request(), config.workers, config.time_limit) as readers,
        making(console, "captioning") as bar,
    ):
        for found in captioner.describe_many(clips, readers, bar):
            if found.error is not None:
                failed.append(found)
            _show(found, config.json, search.n_best)
    if failed and len(clips) == 1:
        raise UserError(str(failed[0].error))
    if failed:
        raise TooManySkipped(f"{len(failed)} of {len(clips)} clips could not be captioned; the others are done")
    return 0


def _show(found: "Captioned", as_json: bool, n_best: int) -> None:
    if as_json:
        record = asdict(found)
        # Who asks for one caption gets no list of one.
        del record["candidates"]
        if n_best > 1:
            record["candidates"] = [
                {"caption": one.text, "log_prob": one.log_prob, "score": one.score, "confidence": one.confidence}
                for one in found.candidates
            ]
        print(json.dumps(record), flush=True)
    elif found.error is None:
        name = printable(found.video)
        note = ", the file is cut short" if found.truncated else ""
        print(f"{name}: {found.caption}   (confidence {found.confidence:.2f}, {found.seconds:.1f} s{note})", flush=True)
    else:
        print(f"skipped: {printable(found.error)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    command(CaptionConfig, main, __doc__ or "")
