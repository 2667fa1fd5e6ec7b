"""`python -m tests.docs.reference`: writes the generated sections of the documentation pages from the code.

A generated section lies between `[//]: # (generated: NAME)` and `[//]: # (end)`, which are comments in Markdown.
All other text of a page is written by hand.
"""

import argparse
import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from graphql import GraphQLInputObjectType, build_schema
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from pymongo import HASHED

from app.auth.permissions import GRPC, WEBSOCKET, RoutePermission
from app.commands.dispatch import parser
from app.observability.metrics import FAMILIES
from app.server.application import PERMISSIONS
from app.settings import markdown_table as settings
from graphql_schema.permissions import FIELD_PERMISSIONS
from graphql_schema.schema import sdl
from stores.calls.fields import CALL_FIELDS, INDEXED_CALL_FIELDS
from stores.costs.store import COST_FIELDS, CostsStore
from stores.database.collections import NAMES, Collections
from stores.database.indexes import INDEXES
from stores.database.shard_keys import SHARD_KEYS
from stores.evaluations.scores import PREDICTION_FIELDS
from stores.evaluations.store import RUN_FIELDS
from stores.feedback.inputs import FEEDBACK_FIELDS, INDEXED_FEEDBACK_FIELDS
from stores.objects.store import INDEXED_OBJECT_FIELDS, OBJECT_FIELDS
from stores.projects import PROJECT_FIELDS
from stores.query import Query
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields
from stores.security.access import Role
from stores.tables.documents import INDEXED_ROW_FIELDS, ROW_FIELDS
from stores.threads import THREAD_FIELDS
from stores.trace_lists import TRACE_FIELDS
from tests.docs.column_rules import column_rules
from tests.docs.error_codes import error_codes
from tests.docs.limits import limits
from tests.docs.usage_rules import sender_rules

FOLDER: Final = Path(__file__).parents[2] / "app" / "docs"
COMMAND: Final = "python -m tests.docs.reference"

_SECTION: Final = re.compile(r"^(\[//\]: # \(generated: (\w+)\)\n).*?^(?=\[//\]: # \(end\)$)", re.DOTALL | re.MULTILINE)
_METRIC_TYPES: Final = {
    CounterMetricFamily: ("counter", "_total"),
    GaugeMetricFamily: ("gauge", ""),
    HistogramMetricFamily: ("histogram", ""),
}
_KINDS: Final = {Kind.TEXT: "text", Kind.NUMBER: "number", Kind.TIME: "time", Kind.JSON: "JSON"}
_LITERALS: Final = {Kind.TEXT: "x", Kind.NUMBER: 1, Kind.TIME: "2026-01-01T00:00:00Z"}
_FIELDS: Final[dict[str, tuple[FieldTable, IndexedFields | None]]] = {
    "Calls": (CALL_FIELDS, INDEXED_CALL_FIELDS),
    "Objects and ops": (OBJECT_FIELDS, INDEXED_OBJECT_FIELDS),
    "Feedback": (FEEDBACK_FIELDS, INDEXED_FEEDBACK_FIELDS),
    "Costs": (COST_FIELDS, CostsStore.indexed),
    "Table rows": (ROW_FIELDS, INDEXED_ROW_FIELDS),
    "Predictions of an evaluation": (PREDICTION_FIELDS, None),
    "Threads (sort only)": (THREAD_FIELDS, None),
    "Traces (sort only)": (TRACE_FIELDS, None),
    "Evaluation runs (sort only)": (RUN_FIELDS, None),
    "Projects (sort only)": (PROJECT_FIELDS, None),
}


def main() -> int:
    """Write every page that differs from the code, and print its name; `--check` writes none and fails instead."""
    flags = argparse.ArgumentParser(prog=COMMAND, description="Write the generated sections of the documentation.")
    flags.add_argument("--check", action="store_true", help="write nothing; fail if a page differs from the code")
    is_check = flags.parse_args().check
    stale = list(stale_pages())
    for path, content in stale:
        sys.stdout.write(f"{path.relative_to(FOLDER)}\n")
        if not is_check:
            path.write_text(content, "utf-8")
    return int(is_check and bool(stale))


def stale_pages(folder: Path = FOLDER) -> Iterator[tuple[Path, str]]:
    """Yield each page whose generated sections differ from the code, and its new content."""
    for path in sorted(folder.rglob("*.md")):
        content = path.read_text("utf-8")
        if (new := generated(content)) != content:
            yield path, new


def generated(page: str) -> str:
    """Return a page with its generated sections replaced."""
    return _SECTION.sub(lambda section: f"{section[1]}\n{SECTIONS[section[2]]()}\n\n", page)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *rows))


def permissions() -> str:
    """Return the permissions of root fields and of routes: a table for each role."""
    names: dict[tuple[Role, str, str], list[str]] = {}
    for root, fields in FIELD_PERMISSIONS.items():
        for name, field in fields.items():
            names.setdefault((field.role, root, field.projects.description), []).append(f"`{name}`")
    for path, kind, permission, methods in _routes():
        name = f"`{', '.join(methods)} {path}`" if kind == "HTTP" else f"`{path}`"
        names.setdefault((permission.role, kind, permission.projects_label), []).append(name)
    lines = []
    for role in Role:
        lines += [f"### {f'Role `{role}`' if role else 'No role'}", ""]
        rows = ((kind, ", ".join(sorted(each)), projects) for (of, kind, projects), each in names.items() if of is role)
        lines += [_table(("API", "Fields or routes", "Projects"), rows), ""]
    return "\n".join(lines).rstrip()


def _routes() -> Iterator[tuple[str, str, RoutePermission, list[str]]]:
    """Yield each path with its protocol, its permission, and the methods that have this permission."""
    methods: dict[tuple[str, str, RoutePermission], list[str]] = {}
    for route, permission in PERMISSIONS.items():
        method, _, path = route.partition(" ")
        kind = {WEBSOCKET: "WebSocket", GRPC: "gRPC"}.get(method, "HTTP")
        methods.setdefault((path, kind, permission), []).append(method)
    for (path, kind, permission), each in methods.items():
        yield path, kind, permission, each


def metrics() -> str:
    """Return the table of metrics."""
    rows = []
    for family in FAMILIES:
        kind, suffix = _METRIC_TYPES[family.type]
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append((f"`{family.name}{suffix}`", kind, labels, f"{family.help}."))
    return _table(("Metric", "Type", "Labels", "Meaning"), rows)


def commands() -> str:
    """Return a section for each subcommand: its help, its usage, and a table of its arguments."""
    return "\n".join(_commands(parser(), "")).rstrip()


def _commands(top: argparse.ArgumentParser, about: str) -> Iterator[str]:
    actions = top._actions
    nested = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    if about:
        yield from (f"{'##' if top.prog.count(' ') == 1 else '###'} `{top.prog}`", "", f"{about}.", "")
    flags = [action for action in actions if action not in nested and action.dest not in ("help", "version")]
    if flags:
        flags.sort(key=lambda flag: bool(flag.option_strings))
        yield _table(("Argument", "Meaning"), ((_argument(each), _help(each)) for each in flags))
        yield ""
    for action in nested:
        helps = {choice.dest: choice.help for choice in action._choices_actions}
        for name, command in action.choices.items():
            yield from _commands(command, _sentence(str(helps[name])))


def _argument(action: argparse.Action) -> str:
    value = action.metavar or (action.dest.upper() if action.option_strings else action.dest)
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    takes_value = action.nargs != 0
    name = " ".join([*action.option_strings[-1:], *([str(value)] if takes_value else [])])
    marks = [
        mark
        for mark, is_so in (
            ("required", action.required and action.option_strings),
            ("optional", action.nargs == "?"),
            ("one or more", action.nargs == "+"),
        )
        if is_so
    ]
    return f"`{name}`" + (f" ({', '.join(marks)})" if marks else "")


def _help(action: argparse.Action) -> str:
    return _sentence((action.help or "") % {"default": action.default}) + "."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:1].islower() and "/" not in text.split(maxsplit=1)[0] else text


def operators() -> str:
    """Return the table of operations and the table of values."""
    types = build_schema(sdl()).type_map
    operations, operands = (_inputs(types[name]) for name in ("Operation", "Operand"))
    values = {name: about for name, about in operands.items() if name not in operations}
    head = ("GraphQL", "JSON", "Meaning")
    tables = (
        _table(head, ((f"`{name}`", f"`${_JSON.get(name, name)}`", about) for name, about in each.items()))
        for each in (operations, values)
    )
    return "\n\n".join(tables)


_JSON: Final = {"nullLiteral": "literal"}


def _inputs(graphql_type: Any) -> dict[str, str]:
    assert isinstance(graphql_type, GraphQLInputObjectType)
    return {name: " ".join((field.description or "").split()) for name, field in graphql_type.fields.items()}


def conversions() -> str:
    """Return the table of types for `convert`."""
    enum = build_schema(sdl()).type_map["ConvertTo"]
    values = getattr(enum, "values", {})
    return _table(
        ("Type", "Result"), ((f"`{name}`", " ".join(value.description.split())) for name, value in values.items())
    )


def query_fields() -> str:
    """Return a table of fields for each collection that clients query or sort."""
    lines: list[str] = []
    for heading, (table, indexed) in _FIELDS.items():
        rows = (_field(each, indexed) for each in table)
        lines += [f"### {heading}", "", _table(("Field", "Type", "Null", "Index"), rows), ""]
    return "\n".join(lines).rstrip()


def _field(field: Field, indexed: IndexedFields | None) -> tuple[str, str, str, str]:
    kind = f"one of {', '.join(f'`{value}`' for value in field.values)}" if field.values else _KINDS[field.kind]
    literal = field.values[0] if field.values else _LITERALS.get(field.kind)
    query = Query({"$expr": {"$eq": [{"$getField": field.name}, {"$literal": literal}]}})
    has_index = indexed is not None and literal is not None and not indexed.query_needs_scan(query)
    return f"`{field.name}`", kind, "yes" if field.optional else "", "yes" if has_index else ""


def collections() -> str:
    """Return the table of MongoDB collections."""
    [declared] = ast.parse(textwrap.dedent(inspect.getsource(Collections))).body
    assert isinstance(declared, ast.ClassDef)
    rows = []
    for attribute, text in pairwise(declared.body):
        if isinstance(attribute, ast.AnnAssign) and isinstance(attribute.target, ast.Name):
            assert isinstance(text, ast.Expr), f"describe {attribute.target.id} in {inspect.getfile(Collections)}"
            name = NAMES.get(attribute.target.id, attribute.target.id)
            rows.append((f"`{name}`", " ".join(ast.literal_eval(text.value).split())))
    return _table(("Collection", "Content"), rows)


def indexes() -> str:
    """Return the table of MongoDB indexes."""
    rows = []
    for index in INDEXES:
        keys = ", ".join(f"{path} ↓" if order < 0 else path for path, order in index.keys)
        marks = ["unique"] * index.unique + [f"only: {path}" for path in index.only]
        marks += ["compressed"] * index.compressed
        rows.append((f"`{index.collection}`", keys, "; ".join([_sentence(index.serves), *marks])))
    return _table(("Collection", "Keys", "Queries"), rows)


def shard_keys() -> str:
    """Return the table of shard keys."""
    rows = []
    for each in SHARD_KEYS:
        key = ", ".join(f"{path} ({kind})" if kind == HASHED else path for path, kind in each.key.items())
        own = [index for index in INDEXES if index.collection == each.collection and not index.only]
        is_own = any(index.keys[: len(each.index_keys)] == each.index_keys for index in own)
        built = "" if is_own else ", ".join(path for path, _ in each.index_keys)
        rows.append((f"`{each.collection}`", key, _sentence(each.spreads), built))
    return _table(("Collection", "Shard key", "Documents of one project spread", "Index that only clusters have"), rows)


SECTIONS: Final[Mapping[str, Callable[[], str]]] = {
    "collections": collections,
    "column_rules": column_rules,
    "commands": commands,
    "conversions": conversions,
    "error_codes": error_codes,
    "indexes": indexes,
    "limits": limits,
    "metrics": metrics,
    "operators": operators,
    "permissions": permissions,
    "query_fields": query_fields,
    "sender_rules": sender_rules,
    "settings": settings,
    "shard_keys": shard_keys,
}
"""Functions that generate the sections, by section name."""


if __name__ == "__main__":
    sys.exit(main())
