"""README.md and the pages of app/docs: their code blocks, commands, links and headings."""

import itertools
import json
import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from tests.installation import ROOT

DOCS: Final = ROOT / "app" / "docs"
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE: Final = re.compile(r"(?:#|//) (\S+\.\w+)\n")
_HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\(([^()\s]+)\)")
_SEPARATORS: Final = {"&&", "|", ";"}


@dataclass(frozen=True)
class Block:
    """A fenced code block; a block that begins with the comment `# NAME` or `// NAME` is the content of a file."""

    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """Return the name of the file that the block shows, or None."""
        found = _FILE.match(self.text)
        return found[1] if found else None


@dataclass(frozen=True)
class Page:
    """A Markdown page, with `path` relative to the repository."""

    path: str

    def __str__(self) -> str:
        return self.path.removeprefix("app/docs/").removesuffix(".md")

    @cached_property
    def text(self) -> str:
        """Return the Markdown source."""
        return (ROOT / self.path).read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        """Return all code blocks in page order."""
        return [Block(language, text) for language, text in _BLOCK.findall(self.text)]

    @property
    def examples(self) -> list[tuple[str, Any]]:
        """Return each GraphQL document that an answer directly follows, and that answer."""
        return [(block.text, json.loads(answer.text)) for block, answer in self._queries() if answer]

    @property
    def lone_queries(self) -> list[str]:
        """Return the GraphQL documents without an answer on the page."""
        return [block.text for block, answer in self._queries() if not answer]

    @property
    def commands(self) -> list[list[str]]:
        """Return the words of each command in a `sh` block, without variables, redirections and comments."""
        blocks = [block.text for block in self.blocks if block.language == "sh"]
        return [words for text in blocks for words in parse_commands(text) if words]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that the `sh` blocks set, by `export` or before a command."""
        blocks = "\n".join(block.text for block in self.blocks if block.language == "sh")
        return dict(re.findall(r"(?:^|\s)([A-Z][A-Z0-9_]+)=(\S*)", blocks))

    @property
    def links(self) -> list[str]:
        """Return the targets of all links and images outside code blocks."""
        return _LINK.findall(_BLOCK.sub("", self.text))

    @property
    def anchors(self) -> set[str]:
        """Return the anchors of the headings, as GitHub and the documentation site create them."""
        return {anchor(heading) for heading in _HEADING.findall(_BLOCK.sub("", self.text))}

    def containing(self, part: str, language: str = "graphql") -> str:
        """Return the text of the one code block that contains `part`."""
        [text] = [block.text for block in self.blocks if block.language == language and part in block.text]
        return text

    def section(self, heading: str) -> str:
        """Return the text under a heading of level 2, up to the next one."""
        [text] = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", self.text, re.DOTALL | re.MULTILINE)
        return str(text)

    def _queries(self) -> list[tuple[Block, Block | None]]:
        return [
            (block, following if following and following.language == "json" else None)
            for block, following in itertools.pairwise([*self.blocks, None])
            if block and block.language == "graphql" and not block.file_name
        ]


def anchor(heading: str) -> str:
    """Return the anchor of a heading: lower case, hyphens for spaces, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def parse_commands(text: str) -> list[list[str]]:
    """Split a shell block into commands; a command may span lines by quotes or backslashes."""
    commands, pending = list[list[str]](), ""
    for line in text.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        if pending.endswith("\\"):
            pending = pending.removesuffix("\\")
            continue
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quote is still open
            continue
        pending = ""
        for is_separator, part in itertools.groupby(words, _SEPARATORS.__contains__):
            if not is_separator:
                commands.append(_without_environment(list(part)))
    assert not pending, f"a quote is not closed: {pending}"
    return commands


def _without_environment(words: list[str]) -> list[str]:
    words = list(itertools.takewhile(lambda word: word not in {">", "<"}, words))
    while words and re.match(r"(?:export$|[A-Z][A-Z0-9_]+=)", words[0]):
        words = words[1:]
    return words


PAGES: Final = [Page("README.md"), *(Page(str(path.relative_to(ROOT))) for path in sorted(DOCS.rglob("*.md")))]


def page(name: str) -> Page:
    """Return the page `app/docs/NAME.md`, or README."""
    path = "README.md" if name == "README" else f"app/docs/{name}.md"
    [found] = [each for each in PAGES if each.path == path]
    return found
