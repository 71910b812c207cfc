"""What autodoc cannot know of this project: packages here export names of their inner modules, many of them lazily.

- The text of an attribute is a text: napoleon would take "edges: softer weights" for a type and what it means.
- A constant has the text that stands under it where it is defined, not that of its type.
- A reference to where a thing is defined (``graphs.encoder.STGEncoder``) leads to its public name.
"""

import sys
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

PACKAGES = ("stg", "graphs", "decoders")


def homes(package: str, name: str, value: Any) -> Iterator[str]:
    """The modules inside a package that hold this very object under this name."""
    for module, found in sorted(sys.modules.items()):
        if module.startswith(f"{package}.") and vars(found).get(name) is value:
            yield module


def describe_constant(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Put the text under a constant's definition in place of that of its type."""
    if what != "data":
        return
    package, _, plain = name.rpartition(".")
    for module in homes(package, plain, value):
        try:
            texts = ModuleAnalyzer.for_module(module).find_attr_docs()
        except PycodeError:
            continue
        if text := texts.get(("", plain)):
            lines[:] = text
            return
    lines[:] = []


def keep_text(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Begin the text of an attribute by an empty line: napoleon searches the first one for a type."""
    if what in ("attribute", "property", "data") and lines:
        lines.insert(0, "")


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


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect them; those of docstrings before napoleon's (priority 500)."""
    app.connect("autodoc-process-docstring", describe_constant, priority=100)
    app.connect("autodoc-process-docstring", keep_text, priority=101)
    app.connect("missing-reference", find_public)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
