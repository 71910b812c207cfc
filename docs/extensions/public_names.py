"""What autodoc cannot know of this project: packages here export names of their inner modules, many of them lazily.

- The text of an attribute is a text: napoleon would take "edges: softer weights" for a type and what it means.
- A constant has the text that stands under it where it is defined, not that of its type.
- The first sentence of a text does not end at "Eq.".
- What a parameter means stands behind a dash, though two dashes elsewhere stay two dashes.
- A reference to where a thing is defined (``graphs.encoder.STGEncoder``) leads to its public name.
"""

import sys
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.ext import autosummary
from sphinx.pycode import ModuleAnalyzer

PACKAGES = ("stg", "graphs", "decoders")
ATTRIBUTES = ("attribute", "property", "data")
ABBREVIATIONS = ("Eq.", "Eqs.", "Sec.", "Fig.", "Tab.", "cf.", "vs.")
kept: dict[str, list[str]] = {}
"""Texts of attributes on their way around napoleon, by name."""


def home(package: str, name: str) -> tuple[str, list[str]] | None:
    """The module inside a package that defines a constant, and the text under it there; None: no module has a text."""
    value = getattr(sys.modules.get(package), name, None)
    for module, found in sorted(sys.modules.items()):
        if module.startswith(f"{package}.") and vars(found).get(name) is value:
            try:
                texts = ModuleAnalyzer.for_module(module).find_attr_docs()
            except PycodeError:
                continue
            if text := texts.get(("", name)):
                return module, text
    return None


def describe_constant(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Put the text under a constant's definition in place of that of its type."""
    if what == "data":
        package, _, plain = name.rpartition(".")
        found = home(package, plain)
        lines[:] = found[1] if found else []


def defining_module(app: Sphinx, module: str, name: str | None) -> str | None:
    """Where the source of a constant is; of all else Sphinx finds it."""
    value = getattr(sys.modules.get(module), (name or "").partition(".")[0], None)
    if not name or getattr(value, "__module__", "builtins") != "builtins":
        return None
    found = home(module, name)
    return found[0] if found else module


def skip_fields(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple: the text of its class has them."""
    return True if (getattr(value, "__doc__", None) or "").startswith("Alias for field number") else None


def keep_text(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Remember the text of an attribute, before napoleon reads it."""
    if what in ATTRIBUTES:
        kept[name] = list(lines)


def restore_text(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Put the text of an attribute back, after napoleon."""
    if what in ATTRIBUTES and name in kept:
        lines[:] = kept.pop(name)


def find_public(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement) -> Any:
    """The link of a reference to an inner module, by the public name of what it names."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or target.partition(".")[0] not in PACKAGES:
        return None
    plain = target.rpartition(".")[2]
    documented = env.domains.python_domain.objects
    parts = target.split(".")[:-1]
    for count in range(len(parts), 0, -1):
        public = ".".join([*parts[:count], plain])
        if public != target and public in documented:
            node["reftarget"] = public
            return env.domains.python_domain.resolve_xref(
                env, node["refdoc"], app.builder, node["reftype"], public, node, text
            )
    return None


def set_dashes(app: Sphinx, document: nodes.document) -> None:
    """The two dashes that Sphinx puts between a parameter and its text, as a dash."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" \N{EN DASH} "))


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect them; napoleon has the priority 500."""
    autosummary.WELL_KNOWN_ABBREVIATIONS += ABBREVIATIONS
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("viewcode-follow-imported", defining_module)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", describe_constant, priority=100)
    app.connect("autodoc-process-docstring", keep_text, priority=101)
    app.connect("autodoc-process-docstring", restore_text, priority=900)
    app.connect("missing-reference", find_public)
    app.connect("doctree-read", set_dashes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
