"""The files of the documentation's site: pages in their layout, style sheet, script, images and search index."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from app.docs.pages import IMAGES, INDEX, Heading, Page, addresses, read_pages, up

_ASSETS: Final = Path(__file__).parent / "assets"
_ICON: Final = Path(__file__).parents[1] / "graphiql" / "favicon.svg"


@dataclass(frozen=True, slots=True)
class File:
    """A file and its media type; the entity tag has its quotes."""

    content: bytes
    media_type: str
    etag: str


def make_file(content: bytes, media_type: str) -> File:
    """Return a file with a digest of its content as its entity tag."""
    return File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class Site:
    """The site, made once from a folder of Markdown pages.

    Args:
        folder: the pages; `index.md` links them in the order of the navigation, below a heading for each group.
        has_graphiql: True if the pages link to GraphiQL.
    """

    def __init__(self, folder: Path, *, has_graphiql: bool) -> None:
        pages = {page.source: page for page in read_pages(folder)}
        linked = {
            title: [pages[source] for source in dict.fromkeys(sources) if source in pages]
            for title, sources in pages[INDEX].sections.items()
        }
        self.groups = {title: group for title, group in linked.items() if group}
        self.order = [pages[INDEX], *(page for group in self.groups.values() for page in group)]
        self._layout = Template((_ASSETS / "layout.html").read_text("utf-8"))
        self._has_graphiql = has_graphiql
        self.files = {page.address: self._page(page) for page in pages.values()} | {
            "docs/style.css": make_file((_ASSETS / "style.css").read_bytes(), "text/css"),
            "docs/docs.js": make_file((_ASSETS / "docs.js").read_bytes(), "text/javascript"),
            "docs/favicon.svg": make_file(_ICON.read_bytes(), IMAGES[".svg"]),
            "docs/search.json": make_file(self._search_index(), "application/json"),
        }
        for source, address in addresses(folder).items():
            path = folder / source
            if path.suffix in IMAGES:
                self.files[address] = make_file(path.read_bytes(), IMAGES[path.suffix])

    def not_found(self, address: str) -> File:
        """Return the page for an address without a file."""
        link = f'<a href="{up(address)}docs">Go to the start of the documentation</a>'
        return self._in_layout(
            address,
            title="Page not found",
            body=f"<h1>Page not found</h1>\n<p>The documentation has no page at this address. {link}.</p>",
        )

    def _page(self, page: Page) -> File:
        return self._in_layout(
            page.address,
            title=page.title,
            summary=page.summary,
            body=page.html(),
            group=next((title for title, pages in self.groups.items() if page in pages and len(pages) > 1), ""),
            contents="\n".join(_contents(page.headings)),
            neighbours="\n".join(self._neighbours(page)),
        )

    def _in_layout(self, address: str, *, body: str, contents: str = "", neighbours: str = "", **texts: str) -> File:
        html = self._layout.substitute(
            {"summary": "", "group": ""} | {name: escape(text) for name, text in texts.items()},
            root=up(address),
            body=body,
            contents=contents,
            neighbours=neighbours,
            navigation="\n".join(self._navigation(address)),
            graphiql=f'<a href="{up(address)}graphql">GraphiQL</a>' if self._has_graphiql else "",
        )
        return make_file(html.encode(), "text/html")

    def _navigation(self, current: str) -> Iterator[str]:
        """Yield the lines of the list of pages; a group of one page has no heading."""
        for title, pages in self.groups.items():
            if len(pages) > 1:
                yield f"<h2>{escape(title)}</h2>"
            yield "<ul>"
            for page in pages:
                mark = ' aria-current="page"' if page.address == current else ""
                yield f'<li><a href="{up(current)}{page.address}"{mark}>{escape(page.title)}</a></li>'
            yield "</ul>"

    def _neighbours(self, page: Page) -> Iterator[str]:
        if page not in self.order:
            return
        position = self.order.index(page)
        for relation, label, other in (("prev", "Previous", position - 1), ("next", "Next", position + 1)):
            if 0 <= other < len(self.order):
                href, title = f"{up(page.address)}{self.order[other].address}", escape(self.order[other].title)
                yield f'<a rel="{relation}" href="{href}"><span>{label}</span> {title}</a>'

    def _search_index(self) -> bytes:
        """Return titles with addresses relative to the site's root, and headings with anchors."""
        return json.dumps(
            [
                [page.title, page.address, [[each.text, each.anchor] for each in page.headings[1:]]]
                for page in self.order
            ],
            ensure_ascii=False,
        ).encode()


def _contents(headings: Sequence[Heading]) -> Iterator[str]:
    for heading in headings:
        if heading.level in {2, 3}:
            yield f'<li class="level-{heading.level}"><a href="#{heading.anchor}">{escape(heading.text)}</a></li>'
