"""The grammar of refs inside values: parsing and formatting.

`weave:///<entity>/<project>/<kind>/<rest>`, where kind is one of `object`, `op`, `table` and `call`. The grammar is
Weave's, so that refs from its client are valid. Artifact refs (`wandb-artifact:///…`) pass unchanged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import quote, unquote

from stores import ids
from stores.errors import BadInputError
from stores.json.paths import iter_strings

SCHEME: Final = "weave:///"
ARTIFACT_SCHEME: Final = "wandb-artifact:///"
INTERNAL_SCHEME: Final = "weave-trace-internal:///"

STEP_NAMES: Final = ("attr", "key", "index", "id")
_INDEX: Final = re.compile("0|-?[1-9][0-9]*")
_NAME: Final = re.compile(r"[^/:]+")

Kind = Literal["object", "op", "table", "call"]


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed ref. `version` is set for objects and ops; `steps` are pairs of step name and decoded value."""

    project_id: str
    kind: Kind
    name: str
    version: str | None = None
    steps: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return the ref as text, with percent-encoded steps."""
        head = f"{SCHEME}{self.project_id}/{self.kind}/{self.name}"
        version = "" if self.version is None else f":{self.version}"
        return head + version + "".join(f"/{step}/{quote(value, safe='')}" for step, value in self.steps)

    @property
    def version_id(self) -> str:
        """The `_id` of the object or op version."""
        return ids.version_id(self.project_id, self.kind, self.name, self.version or "")


def object_ref(row: Mapping[str, str]) -> str:
    """Return the ref of an object or op version from its row."""
    return f"{SCHEME}{row['project_id']}/{row['kind']}/{row['object_id']}:{row['digest']}"


def call_ref(row: Mapping[str, str]) -> str:
    """Return the ref of a call from its row."""
    return f"{SCHEME}{row['project_id']}/call/{row['id']}"


def parse(text: str) -> Ref:
    """Parse a ref.

    Raises:
        BadInputError: if the text is not a ref; the message says which part is invalid.
    """
    parts = text.removeprefix(SCHEME).split("/")
    if not text.startswith(SCHEME) or len(parts) < 4 or not all(parts[:4]):  # noqa: PLR2004 -- entity, project, kind, rest
        raise _invalid(text, f"write {SCHEME}entity/project/kind/name:version")
    project_id, kind, rest, steps = "/".join(parts[:2]), parts[2], parts[3], parts[4:]
    match kind:
        case "object" | "op":
            name, _, version = rest.partition(":")
            if not (_NAME.fullmatch(name) and _NAME.fullmatch(version)):
                raise _invalid(text, "write an object or op as name:version")
            return Ref(project_id, kind, name, version, _parse_steps(text, steps))
        case "table" | "call":
            return Ref(project_id, kind, rest)
        case _:
            raise _invalid(text, "its kind must be object, op, table or call")


def _parse_steps(text: str, parts: list[str]) -> tuple[tuple[str, str], ...]:
    if len(parts) % 2:
        raise _invalid(text, "steps come in pairs of name and value")
    steps = tuple(zip(parts[::2], map(unquote, parts[1::2]), strict=True))
    for step, value in steps:
        if step not in STEP_NAMES:
            raise _invalid(text, f"a step is one of {', '.join(STEP_NAMES)}")
        if step == "index" and not _INDEX.fullmatch(value):
            raise _invalid(text, "an index step takes an integer without leading zeros")
    return steps


def _invalid(text: str, reason: str) -> BadInputError:
    return BadInputError(f"{text[:200]!r} is not a ref: {reason}")


def is_ref(text: str) -> bool:
    """True if the text is a ref in canonical form: parsing and formatting returns the same text."""
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
    """Return the kind of entity that a ref identifies."""
    return "artifact" if text.startswith(ARTIFACT_SCHEME) else parse(text).kind


def without_steps(text: str) -> str:
    """Return a ref without its steps into the version; other refs unchanged."""
    return text if text.startswith(ARTIFACT_SCHEME) else str(replace(parse(text), steps=()))


def collect(value: object) -> list[str]:
    """Collect the refs among a JSON value's strings in document order, with repeats; object keys are ignored.

    Raises:
        BadInputError: if a string uses the reserved scheme `weave-trace-internal:///`.
    """
    refs = []
    for text in iter_strings(value):
        check_external(text)
        if is_ref(text):
            refs.append(text)
    return refs


def check_external(text: str, argument: str | None = None) -> None:
    """Check that a client's string does not use the reserved scheme.

    Raises:
        BadInputError: if it starts with `weave-trace-internal:///`.
    """
    if text.startswith(INTERNAL_SCHEME):
        raise BadInputError(f"{INTERNAL_SCHEME} is reserved for internal refs; write refs with {SCHEME}", argument)
