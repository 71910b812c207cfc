"""Templates, content policy, and one self-contained file."""

import base64
import hashlib
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """A page from one of ``stg/pages/templates``; every value is escaped, and a missing one is an error.

    A template that extends ``base.html`` fills the blocks ``title``, ``lead``, ``main`` and ``footer``. It names its
    style sheets and scripts in that folder after ``base.css``, which each page has:
    ``{% set styles = ["run.css"] %}`` and ``{% set scripts = ["run.js"] %}``. They become part of the page, and its
    content-security policy allows them by their hash and nothing else: no other script, no ``style=`` or ``on...=``
    attribute, no file, no address; pictures and films as ``data:`` only.
    """
    page = templates().get_template(template).render(**values)
    return page.encode("utf-8", "backslashreplace").decode("utf-8")  # half a character has no place in a file


@cache
def templates() -> jinja2.Environment:
    """The templates of this package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("stg.pages"),
        # Captions, file names and classes are text of others: nothing of it may become markup.
        autoescape=True,
        # A misspelt name in a template is an error, not an empty place on the page.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(embedded=embedded, policy=policy)
    return environment


@cache
def source(name: str) -> str:
    """The text of one file among the templates."""
    environment = templates()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def embedded(names: list[str]) -> Markup:
    """The text of style sheets or scripts, one after another."""
    return Markup("\n".join(map(source, names)))


def policy(styles: list[str], scripts: list[str]) -> str:
    """The content-security policy of a page with these style sheets and scripts inside and nothing outside."""
    script = f"'sha256-{hash_of(scripts)}'" if scripts else "'none'"
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'sha256-{hash_of(styles)}'; "
        f"script-src {script}; base-uri 'none'; form-action 'none'"
    )


def hash_of(names: list[str]) -> str:
    """SHA-256 of the embedded text, as a policy wants it."""
    return base64.b64encode(hashlib.sha256(embedded(names).encode()).digest()).decode()
