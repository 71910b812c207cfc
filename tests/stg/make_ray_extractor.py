"""An extractor that misbehaves on some clips; Ray's workers import it from here."""

import os
from pathlib import Path
from typing import Any

from stg.runtime.errors import UserError
from stg.video.decoding import VideoError


class ActingExtractor:
    """Its records are the settings, the id and the file name."""

    def __init__(self, choice: dict[str, Any]) -> None:
        self.choice = choice

    def extract_one(self, video: str, path: Path) -> bytes:
        if video == "v7":
            raise VideoError(f"{path.name!r} is broken")
        if video == "v8":
            raise RuntimeError("bad \udcff luck")
        if video == "v9":
            os._exit(3)
        return f"{self.choice['word']} {video} ".encode() + os.fsencode(path.name)


def build(choice: dict[str, Any]) -> ActingExtractor:
    if choice["word"] == "wrong":
        raise UserError("there are no weights")
    return ActingExtractor(choice)
