"""From the manifest of a model back to the networks, so that new clips are seen as its training clips were.

Importing this module imports no torch: whether all files are there is known before anything slow is loaded.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg.config.extraction import NONE, NetworkConfig, SamplingConfig
from stg.config.schema import differences
from stg.datasets.world.extractor import _world_extractor
from stg.features.build import make_extractor
from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.video.sampling import STRIDE
from stg.vision.registry import MOTION, RAFT, STREAMS, ExecutionSettings, Files
from stg.vision.weights import DETECTORS, IMAGES, PUBLISHED, cache_folder

if TYPE_CHECKING:
    from stg.features.extractor import Extractor


def features_read(header: Mapping[str, Any]) -> list[str]:
    """Which features captioning with a trained model reads: some of those in `stg.features.rebuild.READS`.

    Args:
        header: of the model (`model_header`).

    Raises:
        UserError: it reads features that this version does not know.
    """

    # Models of old versions do not say so, and read what their branches do.
    reads: list[str] = header.get("reads") or reads_of(header["model"]["branches"], header["widths"])
    if unknown := sorted(set(reads) - READS.keys()):
        raise UserError(
            f"this model reads {' and '.join(unknown)} features, and this version knows {', '.join(READS)}: caption "
            "with the version that trained it"
        )
    return reads


READS = {
    "scene": ("backbone",),
    "motion": ("motion",),
    "objects": ("detector", "backbone", "threshold", "max_objects", "objects"),
    "grid": ("motion", "grid"),
    "audio": ("sound",),
}
"""The parts of a manifest that decide each kind of feature; how frames are chosen decides all."""


MAPS = "image+motion"
"""Objects that are described by the motion network too, which then looks at the whole frame."""


ALWAYS = ("num_frames", "sampling", "dtype")

WORLD = "world-backbone"

FILE = ("weights", "sha256")


MADE_HERE = {"motion": ("motion", ("s3d", "i3d")), "audio": ("sound", ("vggish",))}
"""For features that may also come from elsewhere: the part of a manifest that tells, and the kinds of networks here."""


SUFFIXES = (".onnx", ".pth", ".pt", ".safetensors")
"""What a file of weights that has another name than the recorded one ends in."""


def reads_of(branches: str, widths: Mapping[str, int]) -> list[str]:
    """Which features a model of an old version, which does not say so, reads: ``scene``, ``motion``, ``objects``.

    Args:
        branches: of its settings. Only the object branch alone, and joined with the scene, reads objects.
        widths: of its features; 0 where there are none.
    """
    reads = [kind for kind in ("scene", "motion") if widths[kind] and branches != "object"]
    return [*reads, "objects"] if branches in ("object", "concat") else reads


def recorded_extractor(
    manifest: Mapping[str, Any], reads: Sequence[str], running: ExecutionSettings, places: Sequence[Path] = ()
) -> "Extractor":
    """The networks that made the features of a manifest, as far as a model reads these.

    Args:
        manifest: of the training features.
        reads: which features the model reads at test time, of :data:`READS`.
        running: how the networks run.
        places: files, and folders with files, of weights; torch's cache is looked at too.

    Raises:
        UserError: features that no network here makes, a file that is not there, or networks that would make other
            features than the recorded ones (the fields that differ are named).
    """
    files = recorded_files(manifest, reads, places)
    reads = _with_motion(manifest, reads)
    if is_world(manifest):
        extractor = _world_extractor(manifest, reads)
    else:
        networks, sampling = recorded_choice(manifest, reads)
        extractor, _ = make_extractor(networks, sampling, running, files)
    trained, now = (_without_names(_relevant(made, reads)) for made in (manifest, extractor.manifest()))
    differing = differences(trained, now)
    if differing:
        raise _other_features([f"{key}: trained on {old!r}, now {new!r}" for key, (old, new) in differing.items()])
    return extractor


def recorded_files(manifest: Mapping[str, Any], reads: Sequence[str], places: Sequence[Path] = ()) -> Files:
    """The file of each recorded network by its role: found by name, or, in the given places, by what it holds.

    Args:
        manifest, reads, places: as in :func:`recorded_extractor`; folders are not searched any deeper.

    Raises:
        UserError: features that no network here makes; or files that are not there, all of them; or others than the
            recorded ones.
    """
    if is_world(manifest):
        _refuse_incomplete(manifest, ())
        return {}
    reads = _with_motion(manifest, reads)
    recorded_choice(manifest, reads)  # refuses what cannot be made here
    digest = cache(sha256_file)
    files: dict[str, Path] = {}
    missing: list[str] = []
    others: list[str] = []
    for role, (name, sha256) in _wanted(manifest, reads).items():
        if (found := _find(name, sha256, places, digest)) is not None:
            files[role] = found
            if (now := digest(found)) != sha256:
                others.append(f"{role}.sha256: trained on {sha256!r}, now {now!r} ({found})")
        else:
            missing.append(f"the {role} of this model needs {_described(name, sha256)}")
    if missing:
        told = ", ".join(str(place) for place in (*places, cache_folder()))
        are, file, it = ("are", "files", "them") if len(missing) > 1 else ("is", "file", "it")
        raise UserError(
            f"{', '.join(missing)}, which {are} not in {told}: give the {file}, or a folder that holds {it}, with "
            "--weights"
        )
    if others:
        raise _other_features(others)
    return files


def _other_features(differing: Sequence[str]) -> UserError:
    return UserError(
        f"the networks at hand make other features than this model was trained on: {'; '.join(differing)}. Give the "
        "files it was trained with, with --weights"
    )


def recorded_choice(manifest: Mapping[str, Any], reads: Sequence[str]) -> tuple[NetworkConfig, SamplingConfig]:
    """The options that name the recorded networks.

    Raises:
        UserError: the manifest lacks what says so (all of it is named), or names what no network here makes.
    """
    _refuse_incomplete(manifest, reads)
    for kind, (part, made_here) in MADE_HERE.items():
        entry = manifest.get(part) or {}
        if kind in reads and entry.get("kind") not in made_here:
            raise UserError(
                f"this model reads {part} features that were made elsewhere ({entry.get('name')}), which cannot be "
                f"made for new clips: train one on a store made without --{part}, or with --{part} "
                f"{' or '.join(made_here)}"
            )
    motion = manifest.get("motion") or {}
    objects = "objects" in reads
    networks = NetworkConfig(
        detector=_named(manifest["detector"], DETECTORS) if objects and manifest["detector"] else NONE,
        backbone=_named(manifest["backbone"], IMAGES),
        motion=_motion_name(motion) if "motion" in reads else NONE,
        motion_span=motion["span"] if "motion" in reads else None,
        sound="vggish" if "audio" in reads else "none",
    )
    sampling = SamplingConfig(
        num_frames=manifest["num_frames"],
        sampling=manifest["sampling"],
        stride=manifest.get("stride") or STRIDE,
        threshold=manifest["threshold"] if objects else 0.5,
        max_objects=manifest["max_objects"] if objects else 5,
        objects=manifest["objects"] if objects or ("motion" in reads and manifest.get("objects") == MAPS) else "image",
        grid="grid" in reads,
    )
    return networks, sampling


def _with_motion(manifest: Mapping[str, Any], reads: Sequence[str]) -> Sequence[str]:
    """What is read, the motion network included where only its maps are: as a grid, or to describe the objects."""
    maps = "grid" in reads or ("objects" in reads and manifest.get("objects") == MAPS)
    return [*reads, "motion"] if maps and "motion" not in reads else reads


def _relevant(manifest: Mapping[str, Any], reads: Sequence[str]) -> dict[str, Any]:
    """The part of a manifest that decides what a model reads."""
    kept = {name: manifest.get(name) for name in {*ALWAYS, "stride", *(name for kind in reads for name in READS[kind])}}
    backbone = kept.get("backbone")
    if "objects" not in reads and isinstance(backbone, Mapping):
        kept["backbone"] = {name: value for name, value in backbone.items() if name != "objects"}
    return kept


def _without_names(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without names of files whose content is recorded: a copy may be called otherwise."""
    return {
        name: _without_names(value) if isinstance(value, Mapping) else value
        for name, value in manifest.items()
        if name != "weights" or "sha256" not in manifest
    }


def is_world(manifest: Mapping[str, Any]) -> bool:
    """Whether features are those of the built-in world."""
    backbone = manifest.get("backbone")
    return isinstance(backbone, Mapping) and backbone.get("name") == WORLD and "weights" not in backbone


def _refuse_incomplete(manifest: Mapping[str, Any], reads: Sequence[str]) -> None:
    """Refuse a manifest that does not say how features were made, such as one older than a setting."""
    objects = READS["objects"] if "objects" in reads else ()
    grid = ("grid",) if "grid" in reads else ()
    missing = [name for name in dict.fromkeys(["backbone", *ALWAYS, *objects, *grid]) if name not in manifest]
    networks: dict[str, tuple[str, ...]] = {
        "backbone": () if is_world(manifest) else FILE,
        "detector": FILE if objects else (),
    }
    for kind, (part, made_here) in MADE_HERE.items():
        if kind in reads and (manifest.get(part) or {}).get("kind") in made_here:
            networks[part] = (*FILE, "span") if part == "motion" else FILE
    for network, keys in networks.items():
        missing += [f"{network}.{key}" for key in keys if manifest.get(network) and key not in manifest[network]]
    if missing:
        raise UserError(
            f"the features of this model were not made by stg.extract, or by an old version of it (their manifest "
            f"lacks {', '.join(missing)}): it can caption videos of its store (stg.evaluate), not new clips"
        )


def _wanted(manifest: Mapping[str, Any], reads: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Name and hash of the file of each recorded network, by its role."""
    entries = {"backbone": manifest["backbone"]}
    if "objects" in reads and manifest["detector"]:
        entries["detector"] = manifest["detector"]
    if "motion" in reads:
        entry = manifest["motion"]
        if entry["kind"] == "s3d":
            entries["s3d"] = entry
        else:
            roles = [name for name in MOTION[_motion_name(entry)] if name != RAFT]
            for role, name, sha256 in zip(roles, entry["weights"], entry["sha256"], strict=True):
                entries[role] = {"weights": name, "sha256": sha256}
        if entry.get("flow"):
            entries[RAFT] = entry["flow"]
    if "audio" in reads:
        entries["vggish"] = manifest["sound"]
    return {role: (str(entry["weights"]), str(entry["sha256"])) for role, entry in entries.items()}


def _find(name: str, sha256: str, places: Sequence[Path], digest: Callable[[Path], str]) -> Path | None:
    """The file of this name, or its copy under another one; else a file of this name that holds something else."""
    searched = [*places, cache_folder()]
    named = [path for place in searched for path in (place, place / name) if path.name == name and path.is_file()]
    inside = [path for place in places for path in (_files_in(place) if place.is_dir() else [place])]
    others = [path for path in inside if path.suffix.lower() in SUFFIXES and path.is_file() and path not in named]
    if len(named) == 1 and not others:
        return named[0]
    same = (path for path in (*named, *others) if os.access(path, os.R_OK) and digest(path) == sha256)
    return next(same, named[0] if named else None)


def _files_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"the folder of weights {folder} cannot be read: {error.strerror or error}") from error


def _described(name: str, sha256: str) -> str:
    """What is known of a file that is not there."""
    published = next((item for items in PUBLISHED.values() for item in items if item.file == name), None)
    if published is None:
        return f"{name} (sha256 {sha256[:16]}...)"
    return f"{name} ({published.megabytes:.1f} MB, sha256 {sha256[:16]}..., published at {published.address})"


def _named(entry: Mapping[str, Any], known: Sequence[str]) -> str:
    """A network of torchvision by its name, an ONNX network by its file's: what it calls itself says nothing."""
    if entry.get("kind") != "torchvision":
        return str(entry["weights"])
    if entry.get("name") not in known:
        raise UserError(f"this model was trained with the network {entry.get('name')}; known are {', '.join(known)}")
    return str(entry["name"])


def _motion_name(entry: Mapping[str, Any]) -> str:
    return (
        "s3d" if entry["kind"] == "s3d" else next(name for name, stream in STREAMS.items() if stream == entry["stream"])
    )
