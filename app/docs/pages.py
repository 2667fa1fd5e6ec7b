"""Markdown pages, parsed and rendered to HTML.

A link between pages is a relative `.md` link, which also works on a repository host. A link to another file of the
repository becomes plain text, since the server does not have that file. Addresses are relative to the page that names
them, so the site works behind a path prefix.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.util import ClassNotFound

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


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("fence", _render_code)
    markdown.add_render_rule("code_inline", _render_inline_code)
    # A box of its own lets a wide table scroll without the page.
    markdown.add_render_rule("table_open", lambda *_: '<div class="table" tabindex="0"><table>\n')
    markdown.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return markdown


_MARKDOWN: Final = _markdown()
