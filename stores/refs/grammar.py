"""The grammar of refs: read and printed.

`weave:///<entity>/<project>/<kind>/<rest>`, where kind is one of `object`, `op`, `table` and `call`; the grammar
is Weave's, so that refs written by its client hold here. Artifact refs (`wandb-artifact:///…`) pass through.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import quote, unquote

from stores import ids
from stores.errors import BadInputError
from stores.json.traversal import iter_strings

SCHEME: Final = "weave:///"
ARTIFACT_SCHEME: Final = "wandb-artifact:///"
INTERNAL_SCHEME: Final = "weave-trace-internal:///"

EDGES: Final = ("attr", "key", "index", "id")
_INDEX: Final = re.compile("0|-?[1-9][0-9]*")
_NAME: Final = re.compile(r"[^/:]+")

Kind = Literal["object", "op", "table", "call"]


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed ref. `version` is set for objects and ops; `edges` are pairs of edge name and decoded value."""

    project_id: str
    kind: Kind
    name: str
    version: str | None = None
    edges: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The ref as text, its edges percent-encoded."""
        head = f"{SCHEME}{self.project_id}/{self.kind}/{self.name}"
        version = "" if self.version is None else f":{self.version}"
        return head + version + "".join(f"/{edge}/{quote(value, safe='')}" for edge, value in self.edges)

    @property
    def version_id(self) -> str:
        """The `_id` of the version of an object or op that it leads into."""
        return ids.version_id(self.project_id, self.kind, self.name, self.version or "")


def object_ref(row: Mapping[str, str]) -> str:
    """The ref of a version of an object or op, from its row."""
    return f"{SCHEME}{row['project_id']}/{row['kind']}/{row['object_id']}:{row['digest']}"


def call_ref(row: Mapping[str, str]) -> str:
    """The ref of a call, from its row."""
    return f"{SCHEME}{row['project_id']}/call/{row['id']}"


def parse(text: str) -> Ref:
    """The parts of a ref's text.

    Raises:
        BadInputError: the text is not a ref; the message says where it fails.
    """
    parts = text.removeprefix(SCHEME).split("/")
    if not text.startswith(SCHEME) or len(parts) < 4 or not all(parts[:4]):  # noqa: PLR2004 -- entity, project, kind, rest
        raise _invalid(text, f"write {SCHEME}entity/project/kind/name:version")
    project_id, kind, rest, edges = "/".join(parts[:2]), parts[2], parts[3], parts[4:]
    match kind:
        case "object" | "op":
            name, _, version = rest.partition(":")
            if not (_NAME.fullmatch(name) and _NAME.fullmatch(version)):
                raise _invalid(text, "an object or op is written name:version")
            return Ref(project_id, kind, name, version, _parse_edges(text, edges))
        case "table" | "call":
            return Ref(project_id, kind, rest)
        case _:
            raise _invalid(text, "its kind must be object, op, table or call")


def _parse_edges(text: str, parts: list[str]) -> tuple[tuple[str, str], ...]:
    if len(parts) % 2:
        raise _invalid(text, "edges come in pairs of a name and a value")
    edges = tuple(zip(parts[::2], map(unquote, parts[1::2]), strict=True))
    for edge, value in edges:
        if edge not in EDGES:
            raise _invalid(text, f"an edge is one of {', '.join(EDGES)}")
        if edge == "index" and not _INDEX.fullmatch(value):
            raise _invalid(text, "the value of an index edge is an integer, without leading zeros")
    return edges


def _invalid(text: str, reason: str) -> BadInputError:
    return BadInputError(f"{text[:200]!r} is not a ref: {reason}")


def is_ref(text: str) -> bool:
    """Whether a string is a ref in its one true spelling: it parses, and prints as it came."""
    if text.startswith(ARTIFACT_SCHEME):
        parts = text.removeprefix(ARTIFACT_SCHEME).split("/")
        return len(parts) == 3 and all(parts)  # noqa: PLR2004 -- entity, project, id
    if not text.startswith(SCHEME):
        return False
    try:
        return str(parse(text)) == text
    except BadInputError:
        return False


def kind_of(text: str) -> Kind | Literal["artifact"]:
    """What a text that is a ref leads to."""
    return "artifact" if text.startswith(ARTIFACT_SCHEME) else parse(text).kind


def without_edges(text: str) -> str:
    """The ref of the version that a ref leads into; any other ref as it is."""
    return text if text.startswith(ARTIFACT_SCHEME) else str(replace(parse(text), edges=()))


def collect(value: object) -> list[str]:
    """The refs among a JSON value's strings, in order, repeats kept; dict keys do not count.

    Raises:
        BadInputError: a string uses the reserved scheme `weave-trace-internal:///`.
    """
    found = []
    for text in iter_strings(value):
        check_external(text)
        if is_ref(text):
            found.append(text)
    return found


def check_external(text: str, argument: str | None = None) -> None:
    """Hold a string from outside to leaving alone the scheme that is reserved for the inside.

    Raises:
        BadInputError: it starts with `weave-trace-internal:///`.
    """
    if text.startswith(INTERNAL_SCHEME):
        raise BadInputError(f"refs from outside start with {SCHEME}, not with {INTERNAL_SCHEME}", argument)
