"""Refs of entities, by which any stored entity can be looked up: formatting and parsing.

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

Ids of threads, feedback, costs and files are percent-encoded. Values in calls and objects use only the first five kinds
in Weave's grammar (`stores.refs.grammar`); the other kinds are LoomQL's own.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import quote, unquote

from stores import ids
from stores.errors import BadInputError
from stores.refs.grammar import SCHEME

EntityKind = Literal["project", "call", "object", "op", "table", "row", "trace", "thread", "feedback", "cost", "file"]
Bound = int | None
Row = Mapping[str, Any]

_NO_DIGESTS: Final = ("latest", "*")
_VERSION: Final = re.compile(r"[^/:]+:[^/:]+")
_TABLE: Final = re.compile(r"([^/]+)(?:/index/(0|[1-9][0-9]{0,17}))?")
_MICROS: Final = "(0|-?[1-9][0-9]{0,17})"
_THREAD: Final = re.compile(rf"([^/]+)(?:/after/{_MICROS})?(?:/before/{_MICROS})?")


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
        return project_ref(self.project_id) + _FORMATTERS.get(self.kind, _plain)(self)


def _plain(ref: EntityRef) -> str:
    return f"/{ref.kind}/{ref.name}"


def _quoted(ref: EntityRef) -> str:
    return f"/{ref.kind}/{quote(ref.name, safe='')}"


def _bounded(ref: EntityRef) -> str:
    bounds = {"after": ref.after, "before": ref.before}
    return _quoted(ref) + "".join(f"/{end}/{micros}" for end, micros in bounds.items() if micros is not None)


_FORMATTERS: Final[Mapping[EntityKind, Callable[[EntityRef], str]]] = {
    "project": lambda _: "",
    "row": lambda ref: f"/table/{ref.name}/index/{ref.index}",
    "thread": _bounded,
    "feedback": _quoted,
    "cost": _quoted,
    "file": _quoted,
}


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
        raise _invalid(text, "write it as the field ref returns it, without anything after it")
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
        raise _invalid(text, f"write {SCHEME}entity/project/kind/id, as the field ref returns it")
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
        case "call":
            ids.check_call_id(name, "id")
            return EntityRef(project_id, "call", name)
        case "trace":
            ids.check_trace_id(name, "id")
            return EntityRef(project_id, "trace", name)
        case "object" | "op":
            return _version(text, project_id, kind, name)
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
        raise _invalid(text, "write a table as its digest, and a row as digest/index/position, from 0")
    digest, index = table.groups()
    return EntityRef(project_id, "table", digest) if index is None else EntityRef(project_id, "row", digest, int(index))


def _version(text: str, project_id: str, kind: Literal["object", "op"], name: str) -> EntityRef:
    if not _VERSION.fullmatch(name):
        raise _invalid(text, "write an object or op as name:digest, without anything after it")
    if name.partition(":")[2] in _NO_DIGESTS:
        raise _invalid(text, "name the object or op by its digest, as objs returns it")
    return EntityRef(project_id, kind, name)


def _invalid(text: str, reason: str) -> BadInputError:
    return BadInputError(f"{text[:200]!r} is not the ref of an entity: {reason}")
