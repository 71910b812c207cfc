"""The captioners that come with an installation: what lies in ``stg/pretrained``. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stg.runs.model_file import MODEL_FILE
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.runtime.reading import read_json, read_text
from stg.runtime.yaml_reading import parse_yaml

PRETRAINED = Path(__file__).resolve().parents[1] / "pretrained"
"""Where they lie: a folder each, and one with the networks of all."""

CARD, NETWORKS, ORIGINS = "card.md", "networks", "origins.json"


@dataclass(frozen=True)
class ShippedModel:
    """A captioner that comes with the installation.

    Attributes:
        folder: its own, in which ``model.safetensors`` and ``card.md`` lie.
        facts: the head of its card: ``data``, ``scores``, ``networks``, ``needs_detector``, ``sha256``, ...
    """

    folder: Path
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What ``--model`` calls it."""
        return self.folder.name

    @property
    def files(self) -> Mapping[Path, str]:
        """Each file that captioning reads -> its SHA-256, as the card has it."""
        networks = self.folder.parent / NETWORKS
        own = {self.folder / MODEL_FILE: str(self.facts["sha256"])}
        return own | {networks / name: str(digest) for name, digest in self.facts["networks"].items()}

    @property
    def megabytes(self) -> float:
        """Size of its files, in units of 2**20 bytes; a missing file has none."""
        return sum(path.stat().st_size for path in self.files if path.is_file()) / 2**20

    def damaged(self) -> list[str]:
        """The names of files that are missing, or hold something else than the card says."""
        return [path.name for path, digest in self.files.items() if not path.is_file() or sha256_file(path) != digest]


def shipped_models(folder: Path | None = None) -> list[ShippedModel]:
    """The captioners in a folder, the default one first, the others by name.

    Args:
        folder: by default that of this installation.

    Raises:
        UserError: a card cannot be read.
    """
    folder = PRETRAINED if folder is None else folder
    found = [ShippedModel(card.parent, read_card(card)) for card in sorted(folder.glob(f"*/{CARD}"))]
    return sorted(found, key=lambda model: not model.facts.get("default", False))


def read_card(path: Path) -> Mapping[str, Any]:
    """The head of a model card, YAML between two lines of dashes.

    Raises:
        UserError: there is none, or it lacks what its readers need.
    """
    first, _, rest = read_text(path).partition("---\n")
    head, end, _ = rest.partition("\n---\n")
    facts = parse_yaml(head, str(path)) if end and not first.strip() else None
    if not isinstance(facts, Mapping):
        raise UserError(f"{path} is no model card: it must begin with facts in YAML between two lines of ---")
    for name, kind in (("sha256", str), ("networks", dict), ("scores", dict)):
        if not isinstance(facts.get(name), kind):
            raise UserError(f"{path} is no model card of stg ship: its head lacks '{name}'")
    return facts


def read_origins(path: Path) -> dict[str, Mapping[str, str]]:
    """Name of a network's file -> ``what`` it is, its ``sha256``, ``source``, ``copyright`` and ``licence``, and the
    name of the file with the licence's ``text``.

    Raises:
        UserError: it holds something else.
    """
    origins = read_json(path)
    needed = {"what", "sha256", "source", "copyright", "licence", "text"}
    whole = isinstance(origins, dict) and all(isinstance(origin, dict) for origin in origins.values())
    for name, origin in origins.items() if whole else ():
        if lacking := sorted(needed - {key for key, value in origin.items() if isinstance(value, str)}):
            raise UserError(f"{path}: {name!r} does not say its {', '.join(lacking)}")
    if not whole:
        raise UserError(f"{path} must hold an object for each network: {', '.join(sorted(needed))}")
    return dict(origins)


def model_and_places(model: str | Path | None, weights: Sequence[Path] = ()) -> tuple[str | Path, list[Path]]:
    """What to open as a model, and where the weights of its networks are searched for.

    Args:
        model: a path, or whatever `stg.runs.pretrained.find_model` takes; or the name of a captioner that comes with
            the installation, where no file or folder has it; None: the default one of these.
        weights: places that the user gives; the networks of the installation are searched after them.

    Returns:
        ``model`` as it was given, but for names of captioners of the installation: their folders.

    Raises:
        UserError: None is given, and none comes with this installation; a name that is neither.
    """
    if model is None:
        models = shipped_models()
        if not models:
            raise UserError(
                "no captioner comes with this installation: give one with --model RUN (from Python: stg.load(RUN)), "
                "the run folder that stg.fit printed"
            )
        model = models[0].folder
    elif not Path(model).exists() and Path(model).name == str(model) and (models := shipped_models()):
        named = {one.name: one.folder for one in models}
        if model not in named:
            raise UserError(
                f"{model} holds no trained model ({MODEL_FILE}), and is none of the captioners that come with this "
                f"installation ({', '.join(named)}): give the run folder that stg.fit printed"
            )
        model = named[str(model)]
    path = Path(model)
    ours = (path if path.is_dir() else path.parent).resolve().parent == PRETRAINED.resolve()
    return model, [*weights, *[PRETRAINED / NETWORKS] * ours]
