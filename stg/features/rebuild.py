"""From the manifest of a model back to the networks, so that new clips get features as its training clips did.

Importing this module imports no torch: whether all files are there is known before anything slow is loaded.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg.config.extraction import NONE, STRIDE, NetworkConfig, SamplingConfig
from stg.config.schema import differences, from_dict
from stg.features.manifest import FEATURE_PARTS, Manifest, recorded_weights
from stg.runtime.errors import UserError
from stg.runtime.hub import cached_copy, fetch, is_hub_id
from stg.vision.model_folders import FETCHED
from stg.vision.published import PUBLISHED
from stg.vision.registry import REGISTRIES, ExecutionSettings, Files, names_of, network_of
from stg.vision.weights import WeightFile, cache_folder

if TYPE_CHECKING:
    from stg.features.extractor import Extractor

Builder = Callable[[Manifest, Sequence[str]], "Extractor"]
"""From a manifest and the kinds of features that are read to an extractor; raises a UserError where that cannot be."""

SUFFIXES = (".onnx", ".pth", ".pt", ".safetensors")
"""What a file of weights ends in that has another name than the recorded one."""


def features_read(header: Mapping[str, Any]) -> list[str]:
    """Which features captioning with a trained model reads: keys of :data:`stg.features.manifest.FEATURE_PARTS`.

    Args:
        header: of the model (`model_header`).

    Raises:
        UserError: it reads features that this version does not know.
    """
    # Models of old versions do not say so, and read what their branches do.
    reads: list[str] = list(header.get("reads") or ()) or _read_by_branches(
        header["model"]["branches"], header["widths"]
    )
    if unknown := sorted(set(reads) - FEATURE_PARTS.keys()):
        raise UserError(
            f"this model reads {' and '.join(unknown)} features, and this version knows {', '.join(FEATURE_PARTS)}: "
            "caption with the version that trained it"
        )
    return reads


def _read_by_branches(branches: str, widths: Mapping[str, int]) -> list[str]:
    """What a model of an old version reads. Only the object branch, alone or joined with the scene, reads objects."""
    reads = [kind for kind in ("scene", "motion") if widths[kind] and branches != "object"]
    return [*reads, "objects"] if branches in ("object", "concat") else reads


class WeightSearch:
    """Finds files of weights by their names, or by what they hold; each file is hashed once.

    Args:
        places: files, and folders with files, or with folders of models, which are not searched any deeper; torch's
            cache is searched too, and for models of a hub that of the hub.
        download: fetch models of a hub that are not there.
    """

    def __init__(self, places: Sequence[Path] = (), download: bool = False) -> None:
        self.places, self.download = tuple(places), download
        self._files: dict[Path, WeightFile] = {}

    def find(self, name: str, sha256: str, model: str = "") -> WeightFile | None:
        """The file of this name, or its copy under another one; else a file of this name that holds something else.

        Args:
            name, sha256: of the file.
            model: whose folder it lies in, next to its settings.
        """
        # What the user names comes before torch's cache, and that of the hub.
        searched = [*self.places, cache_folder()]
        if model:
            searched += [place / model.rpartition("/")[2] for place in self.places]
            searched += self._copies(model, name)
        named = [path for place in searched for path in (place, place / name) if path.name == name and path.is_file()]
        inside = [path for place in self.places for path in (_files_in(place) if place.is_dir() else [place])]
        others = [path for path in inside if path.suffix.lower() in SUFFIXES and path.is_file() and path not in named]
        # Hashing takes seconds a file: one file of the right name is taken, and checked by who asked for it.
        if len(named) == 1 and not others:
            return self._file(named[0])
        # Lazy: the first file of the right hash ends the hashing.
        readable = (self._file(path) for path in (*named, *others) if os.access(path, os.R_OK))
        same = (file for file in readable if file.sha256 == sha256)
        return next(same, self._file(named[0]) if named else None)

    def _copies(self, model: str, name: str) -> list[Path]:
        """The folder of a model in the hub's cache."""
        if not is_hub_id(model):
            return []
        if (folder := cached_copy(model, [name])) is None and self.download:
            folder = fetch(model, FETCHED, "--weights FOLDER")
        return [folder] if folder is not None else []

    def _file(self, path: Path) -> WeightFile:
        return self._files.setdefault(path, WeightFile(path))

    def __str__(self) -> str:
        return ", ".join(str(place) for place in (*self.places, cache_folder()))


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"the folder of weights {folder} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class FeaturePlan:
    """The networks, files and sampling that make features as those of a manifest; see :func:`plan_features`.

    Args:
        manifest: of the features.
        reads: the kinds of features to make.
        search: where the files were found.
        networks, sampling: as options of ``stg.extract``; None where ``builder`` makes the extractor.
        files: the file of each network by its role.
        builders: as in :func:`plan_features`.
    """

    manifest: Manifest
    reads: tuple[str, ...]
    search: WeightSearch
    networks: NetworkConfig | None = None
    sampling: SamplingConfig | None = None
    files: Files = field(default_factory=dict)
    builders: Mapping[str, Builder] = field(default_factory=dict)

    def including(self, kind: str) -> "FeaturePlan":
        """The plan that makes one more kind of features; no file is hashed again.

        Raises:
            UserError: as :func:`plan_features`.
        """
        return plan_features(self.manifest.values, sorted({*self.reads, kind}), self.search, self.builders)

    def build(self, execution: ExecutionSettings) -> "Extractor":
        """Open the networks.

        Raises:
            UserError: a file that is none of its network, or networks that would make other features than the recorded
                ones (the fields that differ are named).
        """
        if self.networks is None or self.sampling is None:
            # The built-in world draws its features: there is no file to open.
            extractor = self.builders[str(self.manifest.backbone_name)](self.manifest, self.reads)
        else:
            from stg.features.build import make_extractor

            extractor, _ = make_extractor(self.networks, self.sampling, execution, self.files)
        reads = self.manifest.with_motion(self.reads)
        # The files are the recorded ones; what may still differ is how this version uses them.
        now = Manifest(extractor.manifest()).deciding(reads)
        if differing := differences(self.manifest.deciding(reads), now):
            raise _other_features([f"{key}: trained on {old!r}, now {new!r}" for key, (old, new) in differing.items()])
        return extractor


def plan_features(
    manifest: Mapping[str, Any],
    reads: Sequence[str],
    places: Sequence[Path] | WeightSearch = (),
    builders: Mapping[str, Builder] | None = None,
) -> FeaturePlan:
    """Find the networks that made the features of a manifest, as far as a model reads these; loads none of them.

    Args:
        manifest: of the training features.
        reads: which features the model reads at test time, keys of :data:`stg.features.manifest.FEATURE_PARTS`.
        places: files, and folders with files, of weights; torch's cache is searched too.
        builders: name of an image network without a file -> what makes its extractor, such as the built-in world's.

    Raises:
        UserError: a manifest that does not say how features were made; features that no network here makes; files that
            are missing, all of them; or files that hold other weights than the recorded ones.
    """
    search = places if isinstance(places, WeightSearch) else WeightSearch(places)
    try:
        return _plan(Manifest(manifest), reads, search, builders or {})
    except (
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OSError,
    ) as error:  # a manifest is a file's, and may be damaged
        raise UserError(
            f"the manifest of this model's features is damaged ({type(error).__name__}: {error})"
        ) from error


def _plan(made: Manifest, reads: Sequence[str], search: WeightSearch, builders: Mapping[str, Builder]) -> FeaturePlan:
    plan = FeaturePlan(made, tuple(reads), search, builders=builders)
    # The world's extractor needs no weights, only its settings.
    if made.backbone_name in builders:
        _refuse_incomplete(made.missing(reads, files=False))
        _sampling(made, reads)
        return plan
    # A grid, and objects described by motion, are read off the motion network's map.
    reads = made.with_motion(reads)
    _refuse_incomplete(made.missing(reads))
    # Names before files: advice about a missing file is no use if the network is unknown.
    networks, sampling = _networks(made, reads), _sampling(made, reads)
    return FeaturePlan(made, plan.reads, search, networks, sampling, _find_all(made, reads, search), builders)


def _refuse_incomplete(missing: Sequence[str]) -> None:
    if missing:
        raise UserError(
            f"the features of this model were not made by stg.extract, or by an old version of it (their manifest "
            f"lacks {', '.join(missing)}): it can caption videos of its store (stg.evaluate), not new clips (imported "
            "scene features can, where their description names their backbone)"
        )


def _networks(made: Manifest, reads: Sequence[str]) -> NetworkConfig:
    """The options that name the recorded networks.

    Raises:
        UserError: features that were made elsewhere, or by a network that is not known here.
    """
    # What the model does not read is not run.
    names = {"detector": NONE, "motion": NONE, "sound": NONE}
    # Features imported from elsewhere can be trained on, but not made for a clip that the importer never saw.
    for kind, part in (("motion", "motion"), ("audio", "sound")):
        if kind in reads and network_of(part, made.entry(part)) is None:
            raise UserError(
                f"this model reads {part} features that were made elsewhere ({made.entry(part).get('name')}), which "
                f"cannot be made for new clips: train one on a store made without --{part}, or with --{part} "
                f"{' or '.join(names_of(REGISTRIES[part]))}"
            )
    for part, entry in made.networks(reads).items():
        if (found := network_of(part, entry)) is None:
            raise UserError(
                f"this model was trained with the network {entry.get('name')}; known are "
                f"{', '.join(names_of(REGISTRIES[part]))}"
            )
        names[part] = found[0]
    span = made.entry("motion")["span"] if "motion" in reads else None
    words = made.entry("detector").get("words") if names["detector"] != NONE else None
    return from_dict(
        NetworkConfig, {**names, "motion_span": span, "detector_words": ", ".join(words) if words else None}
    )


def _sampling(made: Manifest, reads: Sequence[str]) -> SamplingConfig:
    """The options that sampled the frames, and chose the objects where these are read."""
    values, objects = made.values, "objects" in reads
    # The motion network takes the whole frame where it describes objects, also if only its motion is read.
    mapped = "motion" in reads and made.describes_objects_by_motion
    # Where no objects are read the detector does not run: its thresholds may stay at their defaults.
    chosen = {
        "num_frames": values["num_frames"],
        "sampling": values["sampling"],
        "stride": made.stride or STRIDE,
        "threshold": values["threshold"] if objects else 0.5,
        "max_objects": values["max_objects"] if objects else 5,
        "objects": values["objects"] if objects or mapped else "image",
        "grid": "grid" in reads,
    }
    return from_dict(SamplingConfig, chosen)


def _find_all(made: Manifest, reads: Sequence[str], search: WeightSearch) -> Files:
    """The file of each recorded network by its role; what is missing, or holds something else, is reported at once."""
    files: dict[str, WeightFile] = {}
    missing, others = [], []
    for part, entry in made.networks(reads).items():
        found = network_of(part, entry)
        for role, (name, sha256) in recorded_weights(found[1], entry).items() if found is not None else ():
            model = str(entry.get("model") or "")
            if (file := search.find(name, sha256, model)) is None:
                what = f"{model}: {_described(name, sha256)}" if model else _described(name, sha256)
                missing.append(f"the {role} of this model needs {what}")
                continue
            # The search continues after a mismatch, so that one run lists every file to replace.
            files[role] = file
            if file.sha256 != sha256:
                others.append(f"{role}.sha256: trained on {sha256!r}, now {file.sha256!r} ({file})")
    if missing:
        several = len(missing) > 1
        raise UserError(
            f"{', '.join(missing)}, which {'are' if several else 'is'} not in {search}: give the "
            f"{'files' if several else 'file'}, or a folder that holds {'them' if several else 'it'}, with --weights"
        )
    if others:
        raise _other_features(others)
    return files


def _other_features(differing: Sequence[str]) -> UserError:
    return UserError(
        f"the networks at hand make other features than this model was trained on: {'; '.join(differing)}. Give the "
        "files it was trained with, with --weights"
    )


def _described(name: str, sha256: str) -> str:
    """What is known of a file that is missing."""
    published = next((item for items in PUBLISHED.values() for item in items if item.file == name), None)
    if published is None:
        return f"{name} (sha256 {sha256[:16]}...)"
    return f"{name} ({published.megabytes:.1f} MB, sha256 {sha256[:16]}..., published at {published.address})"
