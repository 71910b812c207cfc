"""Names that options may take: the built-in ones, and those that plugins add to the library's dicts.

A plugin is a Python file or module that adds to these dicts when it is imported. It is code: it runs only where a user
names it, with ``--plugin`` or by an import, never because a file of a run asks for it.
"""

import importlib
import importlib.util
import sys
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
    "variant": Names(("full", "spatial", "temporal", "dense", "none"), "graphs.variants", "VARIANTS"),
    "decoder": Names(("transformer", "stats", "attention_lstm"), "stg.models.decoders", "DECODERS"),
    "search": Names(("greedy", "beam", "diverse", "sample"), "decoders", "SEARCHES"),
    "optimiser": Names(("adam", "rmsprop"), "stg.training.schedules", "OPTIMISERS"),
    "reward": Names(("cider", "bleu4", "meteor"), "stg.training.rewards", "REWARDS"),
    "sound": Names(("none", "vggish"), "stg.vision.registry", "SOUND"),
}
"""Written out, as the dicts lie in modules that import torch; a test compares the two."""

REGISTRIES = (
    *((names.module, names.registry) for names in KINDS.values()),
    ("graphs.edges", "EDGE_TYPES"),
    *(("stg.vision.registry", registry) for registry in ("DETECTORS", "BACKBONES", "MOTION")),
    ("stg.metrics.measures", "METRICS"),
    ("stg.explain.explainers", "EXPLAINERS"),
)
"""Module and name of the dicts of which a plugin may replace no entry."""

_loaded: dict[str, str] = {}
_added_by: dict[tuple[int, str], str] = {}
"""Which plugin added an entry, by the dict and its key."""


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
    _loaded[name] = plugin


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
    return tuple(_loaded.values())


def require_plugins(plugins: object, what: str) -> None:
    """Refuse to open what was made with plugins that are not imported.

    Args:
        plugins: as the file of a run, or a model, lists them.
        what: of whom, for errors.

    Raises:
        ValueError: naming them; or it is no list of names.
    """
    if not isinstance(plugins, list | tuple) or not all(isinstance(plugin, str) for plugin in plugins):
        raise ValueError(f"{what} lists plugins that are no names: it is damaged")
    if missing := [plugin for plugin in plugins if _module_name(plugin) not in sys.modules]:
        options = " ".join(f"--plugin {plugin}" for plugin in missing)
        raise ValueError(f"{what} needs {options} (or, in Python, an import of it): its code is not part of the run")


def _module_name(plugin: str) -> str:
    """A file may have moved since: its name without folder and suffix says which it is."""
    return Path(plugin).stem if plugin.endswith(".py") else plugin
