"""Refs: URIs that identify stored entities or values inside them; their grammar.

A ref inside a value is `weave:///<entity>/<project>/<kind>/<rest>`, where kind is one of `object`, `op`, `table` and
`call`. This grammar is Weave's, so that refs from its client are valid. Artifact refs (`wandb-artifact:///…`) pass
unchanged.

By the ref of an entity, any stored entity can be looked up. These kinds are Weave's and LoomQL's own:

  weave:///entity/project                                      a project
  weave:///entity/project/call/<id>                            Weave's own format, like the next three
  weave:///entity/project/object/<name>:<digest>
  weave:///entity/project/op/<name>:<digest>
  weave:///entity/project/table/<digest>
  weave:///entity/project/table/<digest>/index/<position>      a row of a table
  weave:///entity/project/trace/<id>
  weave:///entity/project/thread/<id>                          a thread with all its turns, or with those that started
  weave:///entity/project/thread/<id>/after/<µs>/before/<µs>   within a period, either end of which is optional
  weave:///entity/project/feedback/<id>
  weave:///entity/project/cost/<id>
  weave:///entity/project/file/<digest>

Ids of threads, feedback, costs and files are percent-encoded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

from stores import ids
from stores.errors import BadInputError
from stores.json.paths import iter_strings

SCHEME: Final = "weave:///"
ARTIFACT_SCHEME: Final = "wandb-artifact:///"
INTERNAL_SCHEME: Final = "weave-trace-internal:///"

STEP_NAMES: Final = ("attr", "key", "index", "id")
_REF: Final = re.compile(SCHEME + "([^/]+/[^/]+)/([^/]+)/([^/]+)((?:/.*)?)", re.DOTALL)
_ARTIFACT: Final = re.compile(ARTIFACT_SCHEME + "[^/]+/[^/]+/[^/]+")
_INDEX: Final = re.compile("0|-?[1-9][0-9]*")
_NAME: Final = re.compile(r"[^/:]+")
_QUOTED: Final = ("thread", "feedback", "cost", "file")
NO_DIGESTS: Final = ("latest", "*")
_VERSION: Final = re.compile(r"[^/:]+:[^/:]+")
_TABLE: Final = re.compile(r"([^/]+)(?:/index/(0|[1-9][0-9]{0,17}))?")
_MICROS: Final = "(0|-?[1-9][0-9]{0,17})"
_THREAD: Final = re.compile(rf"([^/]+)(?:/after/{_MICROS})?(?:/before/{_MICROS})?")

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
    found = _REF.fullmatch(text)
    if not found:
        raise _invalid(text, f"write {SCHEME}entity/project/kind/name:version")
    project_id, kind, rest, steps = found.groups()
    match kind:
        case "object" | "op":
            name, _, version = rest.partition(":")
            if not (_NAME.fullmatch(name) and _NAME.fullmatch(version)):
                raise _invalid(text, "write an object or op as name:version")
            return Ref(project_id, kind, name, version, _parse_steps(text, steps.split("/")[1:]))
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
        return _ARTIFACT.fullmatch(text) is not None
    if not text.startswith(SCHEME):
        return False
    try:
        return str(parse(text)) == text
    except BadInputError:
        return False


def inner_ref(project_id: str, text: str) -> Ref | None:
    """Parse a ref to an object or op of the project; None for any other text."""
    if not text.startswith(f"{SCHEME}{project_id}/") or not is_ref(text):
        return None
    ref = parse(text)
    return None if ref.version is None else ref


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


EntityKind = Literal["project", "call", "object", "op", "table", "row", "trace", "thread", "feedback", "cost", "file"]
Bound = int | None
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EntityRef:
    """A reference to an entity. `name` is its id or digest, or name and digest of a version.

    `index` is set for table rows; `after` and `before`, in microseconds since the epoch, for threads of a period.
    """

    project_id: str
    kind: EntityKind
    name: str = ""
    index: int = 0
    after: Bound = None
    before: Bound = None

    def __str__(self) -> str:
        """Return the ref as text."""
        name = quote(self.name, safe="") if self.kind in _QUOTED else self.name
        match self.kind:
            case "project":
                path = ""
            case "row":
                path = f"/table/{name}/index/{self.index}"
            case kind:
                path = f"/{kind}/{name}"
        bounds = {"after": self.after, "before": self.before}
        path += "".join(f"/{end}/{micros}" for end, micros in bounds.items() if micros is not None)
        return project_ref(self.project_id) + path


def project_ref(project_id: str) -> str:
    """Return the ref of a project."""
    return f"{SCHEME}{project_id}"


def trace_ref(row: Row) -> str:
    """Return the ref of a trace, from its row or a row of one of its calls."""
    return f"{SCHEME}{row['project_id']}/trace/{row['trace_id']}"


def feedback_ref(row: Row) -> str:
    """Return the ref of a feedback item from its row."""
    return str(EntityRef(row["project_id"], "feedback", row["id"]))


def cost_ref(row: Row) -> str:
    """Return the ref of a project's price from its row."""
    return str(EntityRef(row["project_id"], "cost", row["id"]))


def file_ref(row: Row) -> str:
    """Return the ref of a file from its row."""
    return str(EntityRef(row["project_id"], "file", row["digest"]))


def table_ref(row: Row) -> str:
    """Return the ref of a table from its row."""
    return str(EntityRef(row["project_id"], "table", row["digest"]))


def table_row_ref(row: Row) -> str:
    """Return the ref of a table row from its row."""
    return str(EntityRef(row["project_id"], "row", row["table_digest"], row["original_index"]))


def thread_ref(project_id: str, thread_id: str, after: Bound = None, before: Bound = None) -> str:
    """Return the ref of a thread, with all its turns or those of a period."""
    return str(EntityRef(project_id, "thread", thread_id, after=after, before=before))


def parse_entity(text: str) -> EntityRef:
    """Parse the ref of a whole entity.

    Raises:
        BadInputError: if the text is no ref, is not in canonical form, or leads into an entity.
    """
    try:
        ref = _parse(text)
        is_canonical = str(ref) == text
    except UnicodeError:  # a lone surrogate, or percent codes of invalid UTF-8
        is_canonical = False
    if not is_canonical:
        raise _no_entity(text, "write it as the field ref returns it, without anything after it")
    return ref


def inner_entity(project_id: str, text: str) -> EntityRef | None:
    """Parse the ref of an entity of the project; None for any other text."""
    if not text.startswith(f"{SCHEME}{project_id}"):
        return None
    try:
        ref = parse_entity(text)
    except BadInputError:
        return None
    return ref if ref.project_id == project_id else None


def _parse(text: str) -> EntityRef:
    entity, project, kind, name = (*text.removeprefix(SCHEME).split("/", 3), "", "", "", "")[:4]
    if not text.startswith(SCHEME) or (kind and not name):
        raise _no_entity(text, f"write {SCHEME}entity/project/kind/id, as the field ref returns it")
    project_id = f"{entity}/{project}"
    try:
        ids.check_project_id(project_id)
        return _of_kind(text, project_id, kind, name)
    except BadInputError as error:
        raise BadInputError(error.message) from None


def _of_kind(text: str, project_id: str, kind: str, name: str) -> EntityRef:
    match kind:
        case "":
            return EntityRef(project_id, "project")
        case "call" | "trace":
            (ids.check_call_id if kind == "call" else ids.check_trace_id)(name, "id")
            return EntityRef(project_id, kind, name)
        case "object" | "op":
            if not _VERSION.fullmatch(name):
                raise _no_entity(text, "write an object or op as name:digest, without anything after it")
            if name.partition(":")[2] in NO_DIGESTS:
                raise _no_entity(text, "name the object or op by its digest, as objs returns it")
            return EntityRef(project_id, kind, name)
        case "table":
            return _table(text, project_id, name)
        case "thread":
            thread = _THREAD.fullmatch(name)
            bounds = [None if micros is None else int(micros) for micros in thread.groups()[1:]] if thread else []
            return EntityRef(project_id, "thread", unquote(thread[1] if thread else name, errors="strict"), 0, *bounds)
        case "feedback" | "cost" | "file":
            return EntityRef(project_id, kind, unquote(name, errors="strict"))
        case _:
            raise _invalid(
                text, "its kind must be call, trace, thread, object, op, table, feedback, cost, file or absent"
            )


def _table(text: str, project_id: str, name: str) -> EntityRef:
    table = _TABLE.fullmatch(name)
    if not table:
        raise _no_entity(text, "write a table as its digest, and a row as digest/index/position, from 0")
    digest, index = table.groups()
    return EntityRef(project_id, "table", digest) if index is None else EntityRef(project_id, "row", digest, int(index))


def _no_entity(text: str, reason: str) -> BadInputError:
    return BadInputError(f"{text[:200]!r} is not the ref of an entity: {reason}")
