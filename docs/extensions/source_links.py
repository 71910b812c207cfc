"""Links from the pages to the lines of code, and the code itself, without a line number that anybody has to keep up.

- Role ``{source}`graphs.edges.spatial_edges` `` (or with a title, ``{source}`edges <graphs.edges>` ``) links to the
  line of the object on a page with the source of its module, which the build writes, so that no network is needed.
- Directive ``{source} graphs.conv.symmetric_norm`` shows the object, without its docstring.

An object that is not there is a warning, hence an error of ``./run docs``; ``tests/test_docs.py`` finds it sooner.
"""

from collections.abc import Iterator
from typing import Any

import source_objects
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import ReferenceRole, SphinxDirective

LOGGER = logging.getLogger(__name__)


def _page(found: source_objects.SourceObject) -> str:
    """The page with the source of a module, by its name in the site."""
    return f"_source/{found.path.relative_to(source_objects.ROOT).with_suffix('').as_posix()}"


def _found(env: BuildEnvironment, name: str, location: Any) -> source_objects.SourceObject | None:
    try:
        found = source_objects.find_object(name)
    except LookupError as error:
        LOGGER.warning("%s", error, location=location, type="source")
        return None
    # The page is made anew when the code changes, as its line numbers are of the code.
    env.note_dependency(str(found.path))
    env.metadata[env.docname].setdefault("source_pages", set()).add(_page(found))  # type: ignore[arg-type]
    return found


def _link(env: BuildEnvironment, found: source_objects.SourceObject, text: str) -> nodes.reference:
    address = f"{env.app.builder.get_relative_uri(env.docname, _page(found))}#line-{found.line}"
    return nodes.reference("", "", nodes.literal(text, text), refuri=address, internal=True, reftitle=found.place)


class SourceRole(ReferenceRole):
    """``{source}`NAME` ``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        found = _found(self.env, self.target, self.get_location())
        text = self.title
        return [nodes.literal(text, text) if found is None else _link(self.env, found, text)], []


class SourceDirective(SphinxDirective):
    """``{source} NAME``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        found = _found(self.env, self.arguments[0], self.get_location())
        if found is None:
            return []
        code = nodes.literal_block(found.code, found.code, language="python")
        caption = nodes.caption("", "", _link(self.env, found, found.name), nodes.Text(f" ({found.place})"))
        return [nodes.container("", caption, code, literal_block=True, classes=["literal-block-wrapper"])]


def _pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each module that a page names: its source, with an anchor a line."""
    assert app.env is not None
    pages = set().union(*(of.get("source_pages", set()) for of in app.env.metadata.values()))
    for page in sorted(pages):
        path = source_objects.ROOT / f"{page.removeprefix('_source/')}.py"
        text = path.read_text(encoding="utf-8")
        code = app.builder.highlighter.highlight_block(  # type: ignore[attr-defined]
            text, "python", linenos="inline", lineanchors="line"
        )
        name = path.relative_to(source_objects.ROOT).as_posix()
        body = f'<h1><code class="docutils literal">{name}</code></h1>\n{code}'
        yield page, {"title": name, "body": body, "parents": [], "meta": {}}, "page.html"


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the role, the directive and the pages."""
    app.add_role("source", SourceRole())
    app.add_directive("source", SourceDirective)
    app.connect("html-collect-pages", _pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
