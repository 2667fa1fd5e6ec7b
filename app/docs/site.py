"""The documentation's site: Markdown pages, rendered to HTML in a layout, with style sheet, images and search index.

A link between pages is a relative `.md` link, which also works on a repository host. A link to another file of the
repository becomes plain text, since the server does not have that file. Addresses are relative to the page that names
them, so the site works behind a path prefix.
"""

import hashlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Final
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound

_ASSETS: Final = Path(__file__).parent / "assets"
INDEX: Final = "index.md"
IMAGES: Final = {".png": "image/png", ".svg": "image/svg+xml"}
"""Media type by suffix of the files in `images/`."""

_SHORT: Final = 32
_COLOURED: Final = HtmlFormatter(nowrap=True)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: its level (1 to 6), its text, and its anchor without `#`."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Page:
    """A parsed page.

    Args:
        source: path below the folder of the pages, such as `how-to/query.md`.
        address: path on the server without its first slash, such as `docs/how-to/query`.
        summary: text of the first paragraph.
        links: pages and files that it links, as source paths with their `#anchor`.
        sections: source paths linked below each heading of level 2.
        tokens: the Markdown, with links resolved.
    """

    source: str
    address: str
    summary: str
    headings: tuple[Heading, ...]
    links: tuple[str, ...]
    sections: Mapping[str, Sequence[str]]
    tokens: Sequence[Token]

    @property
    def title(self) -> str:
        """The first heading."""
        return self.headings[0].text if self.headings else self.source

    def html(self) -> str:
        """Render the body, with its code highlighted."""
        return str(_MARKDOWN.renderer.render(self.tokens, _MARKDOWN.options, {}))


def read_pages(folder: Path) -> tuple[Page, ...]:
    """Parse every Markdown file below `folder`."""
    sources = addresses(folder)
    return tuple(
        parse_page(source, (folder / source).read_text("utf-8"), sources)
        for source in sources
        if source.endswith(".md")
    )


def addresses(folder: Path) -> dict[str, str]:
    """Address of each page and image below `folder`, by source path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        source = path.relative_to(folder).as_posix()
        if path.suffix == ".md":
            found[source] = "docs" if source == INDEX else f"docs/{source.removesuffix('.md')}"
        elif path.suffix in IMAGES and source.startswith("images/"):
            found[source] = f"docs/{source}"
    return found


def up(address: str) -> str:
    """Return the relative path from an address to the folder that has `docs`."""
    return "../" * address.count("/")


def parse_page(source: str, text: str, sources: Mapping[str, str]) -> Page:
    """Parse Markdown and resolve its links.

    Args:
        source: path of the page.
        text: its Markdown.
        sources: address of each page and image, by source path.
    """
    tokens = _MARKDOWN.parse(text)
    for token in tokens:
        # The page's policy forbids inline styles; only aligned cells have one.
        if style := str(token.attrs.pop("style", "")):
            token.attrSet("class", style.removeprefix("text-align:"))
    headings = tuple(_headings(tokens))
    links, sections, section = list[str](), dict[str, list[str]](), list[str]()
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open" and opening.tag == "h2":
            section = sections.setdefault(_text(inline), [])
        found = _resolve(inline, source, sources)
        links += found
        section += [link.partition("#")[0] for link in found]
    paragraphs = (_text(inline) for opening, inline in pairwise(tokens) if opening.type == "paragraph_open")
    return Page(source, sources[source], next(paragraphs, ""), headings, tuple(links), sections, tokens)


def _headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Yield each heading, and give it the anchor that GitHub gives it.

    Anchors have no capital letters; the ids of the layout have some, so the two never clash.
    """
    counts = dict[str, int]()
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = _text(inline)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = counts[slug] = counts.get(slug, -1) + 1
        heading = Heading(int(opening.tag[1:]), text, f"{slug}-{count}" if count else slug)
        opening.attrSet("id", heading.anchor)
        if heading.level > 1 and inline.children is not None:
            link = f' <a class="anchor" href="#{heading.anchor}" aria-label="Link to {escape(text)}">#</a>'
            inline.children.append(Token("html_inline", "", 0, content=link))
        yield heading


def _resolve(inline: Token, source: str, sources: Mapping[str, str]) -> list[str]:
    """Replace source paths in links and images by addresses; return the source paths with their anchors.

    A link that cannot be followed keeps its text, and an image that cannot be shown its description.
    """
    found, kept, is_dropped = list[str](), list[Token](), False
    for token in inline.children or ():
        attribute = {"link_open": "href", "image": "src"}.get(token.type)
        if attribute:
            url = urlsplit(str(token.attrs[attribute]))
            anchor = f"#{url.fragment}" if url.fragment else ""
            target = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(url.path)))
            is_elsewhere = bool(url.scheme or url.netloc)
            if not is_elsewhere:
                found.append(f"{target if url.path else source}{anchor}")
            if target in sources and not is_elsewhere and url.path:
                token.attrSet(attribute, f"{up(sources[source])}{sources[target]}{anchor}")
            elif token.type == "image":
                kept.append(Token("text", "", 0, content=token.content))
                continue
            elif url.path and not is_elsewhere:
                is_dropped = True
                continue
        elif token.type == "link_close" and is_dropped:
            is_dropped = False
            continue
        kept.append(token)
    if inline.children is not None:
        inline.children = kept
    return found


def _text(inline: Token) -> str:
    """Return the text of a paragraph or heading on one line, without its markup."""
    texts = {"softbreak": " ", "hardbreak": " "}
    kept = (token for token in inline.children or () if token.type in {"text", "code_inline", *texts})
    return "".join(texts.get(token.type, token.content) for token in kept)


def _render_code(_renderer: object, tokens: Sequence[Token], index: int, _options: object, _env: object) -> str:
    language = (tokens[index].info.split() or ["text"])[0]
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer = TextLexer()
    return f'<div class="code"><pre tabindex="0">{highlight(tokens[index].content, lexer, _COLOURED)}</pre></div>\n'


def _render_inline_code(_renderer: object, tokens: Sequence[Token], index: int, _options: object, _env: object) -> str:
    # A browser would break the line after a hyphen, as in `--port`.
    attribute = ' class="short"' if len(tokens[index].content) < _SHORT else ""
    return f"<code{attribute}>{escape(tokens[index].content)}</code>"


_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")
_MARKDOWN.add_render_rule("fence", _render_code)
_MARKDOWN.add_render_rule("code_inline", _render_inline_code)
# A box of its own lets a wide table scroll without the page.
_MARKDOWN.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0"><table>\n')
_MARKDOWN.add_render_rule("table_close", lambda *_: "</table></div>\n")


class File:
    """A file and its media type; `etag` is a digest of its content, with the quotes of an entity tag."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content = content
        self.media_type = media_type
        self.etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'


class Site:
    """The site, made once from a folder of Markdown pages.

    Args:
        folder: the pages; `index.md` links them in the order of the navigation, below a heading for each group.
        others: addresses of the server's other pages, relative to the site's root, by title; the pages link to them.
    """

    def __init__(self, folder: Path, others: Mapping[str, str]) -> None:
        pages = {page.source: page for page in read_pages(folder)}
        linked = {
            title: [pages[source] for source in dict.fromkeys(sources) if source in pages]
            for title, sources in pages[INDEX].sections.items()
        }
        self.groups = {title: group for title, group in linked.items() if group}
        self.order = [pages[INDEX], *(page for group in self.groups.values() for page in group)]
        self._layout = Template((_ASSETS / "layout.html").read_text("utf-8"))
        self._others = others
        self.files = {page.address: self._page(page) for page in pages.values()} | {
            "docs/style.css": File((_ASSETS / "style.css").read_bytes(), "text/css"),
            "docs/docs.js": File((_ASSETS / "docs.js").read_bytes(), "text/javascript"),
            "docs/favicon.svg": File((_ASSETS.parents[1] / "graphiql" / "favicon.svg").read_bytes(), IMAGES[".svg"]),
            "docs/search.json": File(self._search_index(), "application/json"),
        }
        for source, address in addresses(folder).items():
            path = folder / source
            if path.suffix in IMAGES:
                self.files[address] = File(path.read_bytes(), IMAGES[path.suffix])

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
            contents="\n".join(
                f'<li class="level-{each.level}"><a href="#{each.anchor}">{escape(each.text)}</a></li>'
                for each in page.headings
                if each.level in {2, 3}
            ),
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
            others="\n".join(
                f'<a href="{up(address) + other or "./"}">{escape(title)}</a>' for title, other in self._others.items()
            ),
        )
        return File(html.encode(), "text/html")

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
