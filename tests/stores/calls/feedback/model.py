"""A model of queries and sorts by feedback in plain Python: each comparison tries the feedback items one by one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest

from stores.calls.feedback.conditions import FeedbackFieldTable
from stores.calls.fields import CALL_FIELDS
from stores.json import paths
from stores.query.fields import FieldTable
from stores.query.parser import JUNCTIONS, TARGETS, Get, Literal, Operand, Operation, Operator, map_operands
from stores.query.sort import SortBy
from tests.stores.query import generator as dice
from tests.stores.query import oracle
from tests.stores.query.generator import Generator
from tests.stores.query.oracle import Row

NAMES: Final = FeedbackFieldTable(CALL_FIELDS)
ANY: Final = "*"
TYPES: Final = {
    "custom": "custom",
    "wandb.note.7": "wandb.note.7",
    r"odd\]$\\.\*[": r"odd]$\.*[",
    "$a\0b": "$a\0b",
    "": "",
    r"\*": "*",
}
"""Possible feedback types, by their spelling in field names."""

COLUMNS: Final = ("id", "creator", "created_at", "createdAt", "wb_user_id", "feedback_type", "runnable_ref")
CHOSEN: Final = "the one feedback that a comparison looks at"
ALL: Final = "all feedback on a call"
NOTHING: Final[Row] = {}
STORED: Final = oracle.stored
AROUND: Final = oracle.around


def parted(name: str) -> tuple[str, str] | None:
    """Return the type as spelled in a feedback name and the field after it, or None for other names."""
    for spelled in (ANY, *TYPES):
        prefix = f"feedback.[{spelled}]"
        if name == prefix or name.startswith(f"{prefix}."):
            return spelled, name.removeprefix(prefix).removeprefix(".") or "payload"
    return None


def stored(name: str, row: Row) -> Any:
    """Return the value at a name. For feedback this is the chosen item's value, or else the newest item's."""
    parts = parted(name)
    if not parts:
        return STORED(name, row)
    spelled, field = parts
    if CHOSEN in row:
        chosen = row[CHOSEN]
    else:
        newest = sorted(of_type(spelled, row), key=lambda each: (each["created_at"], each["id"]))
        chosen = newest[-1] if newest else NOTHING
    column, _, path = field.partition(".")
    return oracle._bent(paths.follow(chosen.get({"createdAt": "created_at"}.get(column, column)), paths.split(path)))


def around(name: str, row: Row) -> tuple[str, list[str]]:
    """Return the JSON text that holds the value at a name, and the steps to the value in it."""
    parts = parted(name)
    if not parts:
        return AROUND(name, row)
    return row[CHOSEN]["json"]["payload"], paths.split(parts[1].partition(".")[2])


def of_type(spelled: str, row: Row) -> list[Row]:
    """Return the feedback of a type on a call."""
    return [each for each in row[ALL] if spelled == ANY or each["feedback_type"] == TYPES[spelled]]


def holds(node: Operand, row: Row) -> bool:
    """Return True if the query matches the call."""
    match node:
        case Operation(Operator.AND, terms):
            return all(holds(term, row) for term in terms)
        case Operation(Operator.OR, terms):
            return any(holds(term, row) for term in terms)
        case Operation(Operator.NOT, (term,)):
            return not holds(term, row)
    node = _with_inner_ones_done(node, row)
    types = types_of(node)
    if not types:
        return oracle.holds(node, row)
    [spelled] = types
    return any(_meets(node, row | {CHOSEN: each}) for each in of_type(spelled, row) or [NOTHING])


def _meets(node: Operand, row: Row) -> bool:
    """Return True if the comparison holds for the chosen feedback; a missing field of feedback also equals `""`."""
    pairs: list[tuple[Operand, Operand]] = []
    match node:
        case Operation(Operator.EQ, (left, right)):
            pairs = [(left, right), (right, left)]
        case Operation(Operator.IN, (operand, *members)):
            pairs = [pair for member in members for pair in ((operand, member), (member, operand))]
    return oracle.holds(node, row) or any(_is_missing(one, row) and other == Literal("") for one, other in pairs)


def _is_missing(node: Operand, row: Row) -> bool:
    return isinstance(node, Get) and parted(node.name) is not None and stored(node.name, row) is None


def types_of(node: Operand) -> set[str]:
    """Return the feedback types, as spelled, that the comparison names."""
    match node:
        case Get(name):
            parts = parted(name)
            return {parts[0]} if parts else set()
        case _:
            return set().union(*map(types_of, node.operands))


def _with_inner_ones_done(node: Operand, row: Row) -> Operand:
    def done(inner: Operand) -> Operand:
        if not isinstance(inner, Operation) or inner.operator in TARGETS:
            return map_operands(inner, done)
        return Literal(holds(inner, row))

    return map_operands(node, done) if node.operator not in TARGETS else done(node)


def mixes_types(node: Operand) -> bool:
    """Return True if a comparison in the query names feedback of two types."""
    if node.operator in JUNCTIONS:
        return any(map(mixes_types, node.operands))
    own = [member for member in node.operands if isinstance(member, Get) or member.operator in TARGETS]
    here = set().union(*map(_own_types, own)) if not isinstance(node, Get) else types_of(node)
    return len(here) > 1 or any(map(mixes_types, node.operands))


def _own_types(node: Operand) -> set[str]:
    if node.operator in TARGETS:
        return _own_types(node.operands[0])
    return types_of(node) if isinstance(node, Get) else set()


@dataclass
class GeneratorOfFeedback(Generator):
    """Generates queries and sorts that mostly name feedback on one of the rows."""

    fields: FieldTable = NAMES

    def name(self, rows: Sequence[Row]) -> str:
        """Return a field of feedback, or a field of the call."""
        if self.dice.random() < 0.35:
            return super().name(rows)
        spelled = self.dice.choice((ANY, *TYPES))
        roll = self.dice.random()
        if roll < 0.25:
            return f"feedback.[{spelled}]" + self.dice.choice(("", ".payload", *(f".{name}" for name in COLUMNS)))
        there = [each for row in rows for each in of_type(spelled, row)]
        value = self.dice.choice(there)["payload"] if there else None
        steps: list[str] = []
        while isinstance(value, dict | list) and value and (not steps or self.dice.random() < 0.85):
            key, value = self.dice.choice([*(value.items() if isinstance(value, dict) else enumerate(value))])
            if key == "":
                break
            steps.append(str(key))
        return f"feedback.[{spelled}].payload" + (f".{paths.join(steps)}" if steps else "")

    def word(self) -> str:
        """Return a text, often the empty one, which equals missing feedback."""
        return "" if self.dice.random() < 0.1 else super().word()

    def feedback(self, number: int) -> Row:
        """Return random feedback by one of two users."""
        fields: Row = {"feedback_type": self.dice.choice([*TYPES.values()]), "payload": self.object(3)}
        if self.dice.random() < 0.5:
            fields["creator"] = self.word()
        return fields | {"id": f"{self.dice.choice('ab')}{number}", "wb_user_id": self.dice.choice(("ann", "bob"))}

    def sort(self, rows: Sequence[Row]) -> list[SortBy]:
        """Return one to three keys, each of another field."""
        spelled = {_plain(key.field): key for key in super().sort(rows)}
        return list(spelled.values())


def _plain(name: str) -> str:
    """Return one spelling for all names of a field."""
    parts = parted(name)
    return f"{parts[0]} {parts[1]}".replace("createdAt", "created_at") if parts else name


def teach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the oracle and the generator of queries use the names of feedback."""
    prefixes = [f"feedback.[{spelled}]" for spelled in (ANY, *TYPES)]
    times = (*oracle.TIMES, *(f"{prefix}.{name}" for prefix in prefixes for name in ("created_at", "createdAt")))
    for module in (oracle, dice):
        monkeypatch.setattr(module, "stored", stored)
    monkeypatch.setattr(oracle, "TIMES", times)
    monkeypatch.setattr(oracle, "around", around)


def feedback_of(document: Row) -> Row:
    """Return stored feedback as the model reads it: its columns, and its payload parsed from the exact text."""
    return {**document, "payload": json.loads(document["json"]["payload"])}
