"""Whether features were made as those that a model knows: other settings are refused, other versions are a warning."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from graphs import GraphStore
from stg.config.schema import describe, differences
from stg.runtime.errors import UserError
from stg.runtime.reporter import Reporter
from stg.video.packets import decoder_versions

Versions = Mapping[str, str]
"""Package or library -> version."""


def check_features(trained_on: Mapping[str, Any], store: GraphStore, what: str) -> None:
    """Refuse a store whose features were made otherwise than those that ``what`` (a model, ...) was trained on.

    Tracks that the training had none of are no difference: nothing that was trained without reads them.

    Raises:
        UserError: names the fields that differ, with both values.
    """
    there = {name: value for name, value in store.manifest.items() if name != "tracks" or name in trained_on}
    if differing := differences(trained_on, there):
        listed = describe(differing, "trained on {old!r}, store has {new!r}")
        raise UserError(f"the features in {store.path} do not fit this {what}: {listed}. Extract them again as trained")


def versions_now(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The versions in this environment of what makes the features of a manifest; imports no torch."""
    networks = [entry for entry in manifest.values() if isinstance(entry, Mapping)]
    onnx = any(str(entry.get("weights")).endswith(".onnx") for entry in networks)
    libraries = {str(entry.get("kind")) for entry in networks} & {"timm", "transformers"}
    packages = ["torch", "torchvision", *["onnxruntime"] * onnx, *sorted(libraries)]
    return {**decoder_versions(), **{package: _version(package) for package in packages}}


def versions_note(made_with: Sequence[Versions], now: Sequence[Versions], what: str) -> str | None:
    """A warning with the versions that differ, or None.

    Args:
        made_with: of the features that were there before, as :attr:`graphs.GraphStore.versions` has them; where nobody
            stated any, or one combination is the same, there is no warning.
        now: of the others. Packages that only one side used are not compared.
        what: the sentence that says so.
    """
    for new in now:
        found = [differences(_common(old, new), _common(new, old)) for old in made_with]
        # The latest of several is what a reader will know best.
        if found and all(found):
            return f"warning: {what}; numbers may differ a little: {describe(found[-1], '{old}, here {new}')}"
    return None


def compare_versions(made_with: Sequence[Versions], store: GraphStore, model: str, reporter: Reporter) -> None:
    """Say :func:`versions_note` of a model, by its file or folder, that reads a store."""
    what = f"the features in {store.path} were made with other versions than those that {model} was trained on"
    if note := versions_note(made_with, store.versions, what):
        reporter.say(note)


def versions_record(made_with: Sequence[Versions]) -> dict[str, list[dict[str, str]]]:
    """What the header of a model keeps of these versions; empty without any."""
    return {"made_with": [dict(versions) for versions in made_with]} if made_with else {}


def _common(versions: Versions, others: Versions) -> Versions:
    return {name: value for name, value in versions.items() if name in others}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # published under several names, as ONNX Runtime is
        return str(getattr(import_module(package), "__version__", "unknown"))
