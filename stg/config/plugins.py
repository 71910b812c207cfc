"""Names that options may take: the built-in ones, and those that plugins add to the library's dicts.

A plugin is a Python file or module that adds to these dicts when it is imported. It is code: it runs only where a user
names it, with ``--plugin`` or by an import, never because a file of a run asks for it.
"""

import hashlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple


class Names(NamedTuple):
    """The built-in names of one kind, and the dict that holds these and those of plugins."""

    built_in: tuple[str, ...]
    module: str
    registry: str


KINDS = {
    "dataset": Names(("world", "msvd", "msrvtt", "vatex", "folder"), "stg.datasets.open", "DATASETS"),
    "variant": Names(
        ("full", "spatial", "temporal", "dense", "none", "tracks", "spatial+tracks", "full+tracks"),
        "graphs.variants",
        "VARIANTS",
    ),
    "decoder": Names(("transformer", "stats", "attention_lstm"), "stg.models.decoders", "DECODERS"),
    "search": Names(("greedy", "beam", "diverse", "sample", "mbr"), "decoders", "SEARCHES"),
    "optimiser": Names(("adam", "rmsprop"), "stg.training.schedules", "OPTIMISERS"),
    "reward": Names(("cider", "bleu4", "meteor"), "stg.training.rewards", "REWARDS"),
    "tracker": Names(("tensorboard", "wandb"), "stg.training.trackers", "TRACKERS"),
    "metric": Names(("bleu", "rouge", "cider", "meteor", "spice"), "stg.metrics.measures", "METRICS"),
    "sound": Names(("none", "vggish"), "stg.vision.registry", "SOUND"),
}
"""Written out, as the dicts lie in modules that import torch; a test compares the two."""

REGISTRIES = (
    *((names.module, names.registry) for names in KINDS.values()),
    ("graphs.edges", "EDGE_TYPES"),
    *(("stg.vision.registry", registry) for registry in ("DETECTORS", "BACKBONES", "MOTION")),
    ("stg.explain.explainers", "EXPLAINERS"),
)
"""Module and name of the dicts of which a plugin may replace no entry."""

_loaded: dict[str, "Plugin"] = {}
_added_by: dict[tuple[int, str], str] = {}
"""Which plugin added an entry, by the dict and its key."""
_warned: set[tuple[str, str]] = set()
"""Plugins, each with the hash of another text, of which a warning was given: one process gives it once."""


class Plugin(NamedTuple):
    """A plugin as it was given, and the hash of its text as it was imported; empty where no file holds it."""

    given: str
    sha256: str


class PluginChanged(UserWarning):
    """A plugin has another text than the one that a run was trained with."""


def known(kind: str) -> tuple[str, ...]:
    """The names that an option of this kind may take.

    Whoever has added a name has imported the module with the dict, so that nothing need be imported here.
    """
    names = KINDS[kind]
    added = getattr(sys.modules.get(names.module), names.registry, ())
    return tuple(dict.fromkeys([*names.built_in, *added]))


def check_name(kind: str, option: str, value: str) -> None:
    """Refuse a name that is not known.

    Raises:
        ValueError: listing the known ones.
    """
    if value not in known(kind):
        raise ValueError(
            f"{option} must be one of {', '.join(known(kind))}; got {value!r}{near(value, known(kind))} (--plugin adds "
            "others)"
        )


def entry(kind: str, name: str) -> Any:
    """What a name stands for; None where nothing has imported the dict, which then has built-in names alone."""
    return getattr(sys.modules.get(KINDS[kind].module), KINDS[kind].registry, {}).get(name)


def near(name: str, names: Iterable[str]) -> str:
    """The end of an error of an unknown name: which of the known ones it may have been."""
    return "".join(f"; did you mean {found!r}?" for found in get_close_matches(name, list(names), 1))


def load_plugin(plugin: str) -> None:
    """Import a plugin, given as a file or as the name of a module.

    Raises:
        ValueError: it is not there, fails, has the name of another module, or replaces what another has added. What it
            had added until then is taken back.
    """
    name, path = _module_name(plugin), Path(plugin)
    is_file, before = path.suffix == ".py", sys.modules.get(name)
    if is_file and not path.is_file():
        raise ValueError(f"the plugin {plugin} is not there: give a Python file, or the name of a module")
    if not is_file and not all(part.isidentifier() for part in plugin.split(".")):
        raise ValueError(f"the plugin {plugin!r} is neither a Python file (NAME.py) nor the name of a module")
    # Its name would stand for the library's in every later import.
    other = before is not None and Path(getattr(before, "__file__", None) or "").resolve() != path.resolve()
    if is_file and (other or name in sys.stdlib_module_names):
        raise ValueError(f"the plugin {plugin} has the name of another module, {name}: rename the file")
    kept = [(registry, dict(registry)) for registry in _registries()]
    # Of the text that is imported: it may be edited while the process runs.
    sha256 = _loaded[name].sha256 if name in _loaded else _sha256_of(path) if is_file else None
    try:
        if not is_file:
            importlib.import_module(name)
        elif before is None:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            # There before it runs, as for any import: dataclasses look their module up.
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        _check_added(plugin, kept)
    except (Exception, SystemExit) as error:
        # A plugin that fails can be mended and given again.
        if before is None:
            sys.modules.pop(name, None)
        for registry, entries in kept:
            registry.clear()
            registry.update(entries)
        if isinstance(error, _Clash):
            raise ValueError(str(error)) from None
        said = " ".join(str(error).split())
        raise ValueError(f"the plugin {plugin} cannot be imported: {type(error).__name__}: {said}") from error
    for registry, entries in kept:
        _added_by.update({(id(registry), key): plugin for key in registry.keys() - entries.keys()})
    _loaded[name] = Plugin(plugin, _module_sha256(name) if sha256 is None else sha256)


class _Clash(ValueError):
    """A plugin takes a name or a number that is taken."""


def _registries() -> list[dict[str, Any]]:
    """All dicts that plugins add to; a plugin imports torch in any case, so that these modules may be."""
    return [getattr(importlib.import_module(module), registry) for module, registry in REGISTRIES]


def _check_added(plugin: str, kept: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Refuse an entry in the place of another: a run would say one name and mean what came last.

    Raises:
        _Clash: naming the entry, and whose it was; or two kinds of edges with one number.
    """
    for (registry, entries), (_, kind) in zip(kept, REGISTRIES, strict=True):
        for name, value in entries.items():
            if registry.get(name) is not value:
                owner = _added_by.get((id(registry), name))
                whose = f"the plugin {owner}" if owner else "the library"
                raise _Clash(
                    f"the plugin {plugin} replaces or removes {kind}[{name!r}] of {whose}: give it a name of its own"
                )
        if kind == "EDGE_TYPES":
            named: dict[Any, str] = {}
            for name, number in registry.items():
                if (first := named.setdefault(number, name)) != name:
                    raise _Clash(
                        f"the plugin {plugin} gives edges {name!r} the number {number!r}, which {first!r} has: choose "
                        "another, as stores keep numbers"
                    )


def loaded_plugins() -> tuple[str, ...]:
    """The plugins of this process, as they were given; runs and models keep them."""
    return tuple(plugin.given for plugin in _loaded.values())


def plugin_hashes() -> tuple[str, ...]:
    """The SHA-256 of each of `loaded_plugins`: of its file, or of all Python files of its package."""
    return tuple(plugin.sha256 for plugin in _loaded.values())


def plugin_record() -> dict[str, list[str]]:
    """What the header of a model keeps of the plugins of this process; empty without any."""
    return {"plugin": list(loaded_plugins()), "plugin_sha256": list(plugin_hashes())} if _loaded else {}


def require_plugins(plugins: object, what: str, hashes: object = ()) -> None:
    """Refuse to open what was made with plugins that are not imported; warn of those that have changed since.

    Args:
        plugins: as the file of a run, or a model, lists them.
        what: of whom, for errors.
        hashes: of their texts then; empty in files of before these were kept.

    Raises:
        ValueError: naming them; or it is no list of names.

    Warns:
        PluginChanged: a plugin had another text, once in a process for each.
    """
    for names in plugins, hashes:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{what} lists plugins that are no names: it is damaged")
    assert isinstance(plugins, list | tuple)
    assert isinstance(hashes, list | tuple)
    if missing := [plugin for plugin in plugins if _module_name(plugin) not in sys.modules]:
        options = " ".join(f"--plugin {plugin}" for plugin in missing)
        raise ValueError(f"{what} needs {options} (or, in Python, an import of it): its code is not part of the run")
    for plugin, then in zip(plugins, hashes, strict=False):
        name = _module_name(plugin)
        now = _loaded[name].sha256 if name in _loaded else _module_sha256(name)
        if then and now and then != now and (name, then) not in _warned:
            _warned.add((name, then))
            warnings.warn(
                f"the plugin {plugin} is not the one that {what} was made with (sha256 {then[:12]}... then, "
                f"{now[:12]}... now): results may differ from those of then",
                PluginChanged,
                stacklevel=2,
            )


def _module_name(plugin: str) -> str:
    """A file may have moved since: its name without folder and suffix says which it is."""
    return Path(plugin).stem if plugin.endswith(".py") else plugin


def _module_sha256(name: str) -> str:
    """The hash of a module that is imported; of a package, of all its Python files."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return _sha256_of(Path(file)) if file else ""


def _sha256_of(path: Path) -> str:
    try:
        if path.name != "__init__.py":
            return hashlib.sha256(path.read_bytes()).hexdigest()
        digest = hashlib.sha256()
        for file in sorted(path.parent.rglob("*.py")):
            text = file.read_bytes()
            digest.update(f"{file.relative_to(path.parent).as_posix()} {len(text)}\n".encode() + text)
        return digest.hexdigest()
    except OSError:  # inside an archive
        return ""
