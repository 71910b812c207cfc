"""SPICE of the COCO evaluation code, where its files are given: nothing is downloaded."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stg.metrics.java import JavaError, JavaProcess, jar
from stg.runtime.errors import UserError

FILES = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
"""What pycocoevalcap does not ship: Stanford CoreNLP 3.6.0, from its release of 2015-12-09."""


class Spice:
    """SPICE (Anderson et al., 2016), by the Java program in pycocoevalcap.

    Args:
        files: folder that holds `FILES`.
        timeout: seconds that one call of :meth:`score` may take.
        memory: heap of the Java machine.

    Raises:
        UserError: a file is not there.
    """

    def __init__(self, files: str | Path, *, timeout: float = 3600.0, memory: str = "8G") -> None:
        self.files, self.timeout, self._memory = Path(files), timeout, memory
        if missing := [name for name in FILES if not (self.files / name).is_file()]:
            raise UserError(
                f"SPICE needs {' and '.join(missing)} in {self.files}: unpack stanford-corenlp-full-2015-12-09.zip of "
                "Stanford CoreNLP 3.6.0 there, or leave --spice out"
            )

    def score(self, captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """The F-score of each video's tokenised caption; the corpus score is their mean.

        Raises:
            JavaError: Java is missing, failed, exceeded ``timeout``, or answered with something else.
        """
        with tempfile.TemporaryDirectory(prefix="stg-spice-") as folder:
            asked, answered = Path(folder, "asked.json"), Path(folder, "answered.json")
            questions = [
                {"image_id": video, "test": text, "refs": list(references[video])} for video, text in captions.items()
            ]
            asked.write_text(json.dumps(questions), encoding="utf-8")
            program = jar("spice", "spice-1.0.jar")
            paths = [str(program), str(program.parent / "lib" / "*"), str(self.files.resolve() / "*")]
            command = [f"-Xmx{self._memory}", "-cp", os.pathsep.join(paths), "edu.anu.spice.SpiceScorer"]
            options = [str(asked), "-out", str(answered), "-subset", "-silent"]
            with JavaProcess([*command, *options], what="SPICE's Java program") as process:
                # It reads and writes files: what is awaited is its end.
                process.ask("", timeout=self.timeout)
            try:
                rows = json.loads(answered.read_text(encoding="utf-8"))
                found = {str(row["image_id"]): float(row["scores"]["All"]["f"]) for row in rows}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise JavaError(f"SPICE's Java program left no scores that can be read: {error!r}") from error
        if found.keys() != captions.keys():
            raise JavaError(f"SPICE's Java program scored {len(found)} of {len(captions)} videos, or others")
        return {video: found[video] for video in captions}
