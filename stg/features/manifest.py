"""What the manifest of a store says of how its features were made. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stg.vision.registry import NetworkSpec, network_of

FEATURE_PARTS = {
    "scene": ("backbone",),
    "motion": ("motion",),
    "objects": ("detector", "backbone", "threshold", "max_objects", "objects"),
    "grid": ("motion", "grid"),
    "audio": ("sound",),
}
"""Kinds of features -> the parts of a manifest that decide each."""

COMMON_PARTS = ("num_frames", "sampling", "dtype")
"""The parts that decide all features: how frames are chosen, and how numbers are kept."""

FILE_KEYS = ("weights", "sha256")
"""What the entry of a network says of its files: their names and hashes."""

IMAGE_AND_MOTION = "image+motion"
"""Objects that are described by the motion network too, which then takes the whole frame."""


@dataclass(frozen=True)
class Manifest:
    """The manifest of features, with a name for each part.

    Args:
        values: as a store, a model or an extractor has it.
    """

    values: Mapping[str, Any]

    def entry(self, part: str) -> Mapping[str, Any]:
        """What it says of a network: ``detector``, ``backbone``, ``motion`` or ``sound``; empty if there was none."""
        found = self.values.get(part)
        return found if isinstance(found, Mapping) else {}

    @property
    def backbone_name(self) -> str | None:
        """The name of an image network that has no file, all of whose numbers stand in the manifest; else None."""
        backbone = self.entry("backbone")
        name = backbone.get("name") if "weights" not in backbone else None
        return name if isinstance(name, str) else None

    @property
    def stride(self) -> Any:
        """Frames for which one was sampled; None where frames were chosen otherwise. Not checked."""
        return self.values.get("stride")

    @property
    def describes_objects_by_motion(self) -> bool:
        """Whether objects were described by the motion network too."""
        return self.values.get("objects") == IMAGE_AND_MOTION

    def networks(self, reads: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """The entry of each network that makes what a model reads, by its part; networks that were not used have none.

        Args:
            reads: kinds of features, keys of :data:`FEATURE_PARTS`.
        """
        parts = {"backbone": "scene", "detector": "objects", "motion": "motion", "sound": "audio"}
        wanted = {"scene", *reads}  # the image network is needed whatever is read
        return {part: entry for part, kind in parts.items() if kind in wanted and (entry := self.entry(part))}

    def with_motion(self, reads: Sequence[str]) -> Sequence[str]:
        """What is read, with ``motion`` where only its maps are: as a grid, or to describe the objects."""
        maps = "grid" in reads or ("objects" in reads and self.describes_objects_by_motion)
        return [*reads, "motion"] if maps and "motion" not in reads else reads

    def missing(self, reads: Sequence[str], *, files: bool = True) -> list[str]:
        """What it does not say although it decides what a model reads, such as a manifest older than a setting.

        Args:
            reads: kinds of features.
            files: whether the networks have files, whose names and hashes must be there.
        """
        needed = ["backbone", *COMMON_PARTS]
        if files and "objects" in reads:
            needed += FEATURE_PARTS["objects"]
        if files and "grid" in reads:
            needed.append("grid")
        missing = [part for part in dict.fromkeys(needed) if part not in self.values]
        # Only networks with files of weights are recorded with names and hashes; others follow from their settings.
        for part, entry in self.networks(reads).items() if files else ():
            found = network_of(part, entry)
            if found is not None and found[1].weight_files:
                keys = [*FILE_KEYS, "span"] if part == "motion" else FILE_KEYS
                missing += [f"{part}.{key}" for key in keys if key not in entry]
        return missing

    def deciding(self, reads: Sequence[str]) -> dict[str, Any]:
        """The part of it that decides what a model reads, without names of files whose hashes are there."""
        parts = {*COMMON_PARTS, "stride", *(part for kind in reads for part in FEATURE_PARTS[kind])}
        kept = {part: self.values.get(part) for part in parts}
        # Whether the image network described boxes decides nothing for a model that reads no objects.
        if "objects" not in reads and isinstance(backbone := kept.get("backbone"), Mapping):
            kept["backbone"] = {name: value for name, value in backbone.items() if name != "objects"}
        return _without_file_names(kept)


def recorded_weights(spec: NetworkSpec[Any], entry: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Name and hash of each file of a network, by its role, as the entry of a manifest has them."""
    own = [slot.role for slot in spec.weight_files if not slot.part]
    if not spec.weight_files:
        return {}
    # One file is recorded by itself, several as lists.
    names, hashes = ([entry[key]] if isinstance(entry[key], str) else list(entry[key]) for key in FILE_KEYS)
    found = {role: (str(name), str(sha256)) for role, name, sha256 in zip(own, names, hashes, strict=True)}
    for slot in spec.weight_files:
        if slot.part and (part := entry.get(slot.part)):
            found[slot.role] = str(part["weights"]), str(part["sha256"])
    return found


def _without_file_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a file or of its folder may have another name; what it holds is recorded by its hash."""
    return {
        name: _without_file_names(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name not in ("weights", "model") or "sha256" not in values
    }
