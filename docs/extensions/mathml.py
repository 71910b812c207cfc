"""Formulas as MathML, written when the site is built: a reader needs neither a network nor a script."""

import html
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx


def to_mathml(latex: str, display: str) -> str:
    """One formula; ``display``: inline or block.

    Raises:
        ValueError: what is no LaTeX, with the formula.
    """
    try:
        return convert(latex, display=display)
    except Exception as error:
        raise ValueError(f"no formula that could be set: {latex!r} ({type(error).__name__}: {error})") from error


def visit_inline(writer: Any, node: nodes.math) -> None:
    """Write a formula inside a sentence."""
    writer.body.append(to_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(writer: Any, node: nodes.math_block) -> None:
    """Write a formula that stands alone, each part between empty lines as a row of its own."""
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({html.escape(str(node["number"]))})</span>')
    for part in node.astext().split("\n\n"):
        if part.strip():
            writer.body.append(to_mathml(part, "block"))
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
