"""Whether all links inside a built site lead somewhere: ``python docs/extensions/links.py docs/_build/html``.

Sphinx checks what it resolves itself; links written as HTML, files next to pages and places within a page are seen
here. Addresses of the web are not opened.
"""

import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ELSEWHERE = ("http", "https", "mailto", "data", "javascript")
LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src", "video": "src"}


class Page(HTMLParser):
    """The links of a page, and the places in it that a link can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element says of itself."""
        values = dict(attrs)
        self.places |= {value for name in ("id", "name") if (value := values.get(name))}
        if link := values.get(LINKS.get(tag, "")):
            self.links.append(link)


def broken_links(site: Path) -> Iterator[str]:
    """One line for each link that leads nowhere: the page, the link, what is missing."""
    pages = {path.resolve(): Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            if missing := what_is_missing(link, path, pages):
                yield f"{path.relative_to(site.resolve())}: {link} ({missing})"


def what_is_missing(link: str, page: Path, pages: Mapping[Path, Page]) -> str | None:
    """Why a link leads nowhere; None: it leads somewhere, or out of the site."""
    parts = urlsplit(link)
    if parts.scheme in ELSEWHERE or parts.netloc:
        return None
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "no such file"
    place = unquote(parts.fragment)
    return f"no place {place}" if target in pages and place not in pages[target].places else None


def main(site: Path) -> int:
    """Print what is broken; returns the exit code."""
    count = len(list(site.rglob("*.html")))
    broken = list(broken_links(site))
    print("\n".join([*broken, f"{len(broken)} broken links in {count} pages"]))
    return 1 if broken or not count else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
