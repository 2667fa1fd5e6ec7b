"""A generator of random calls, queries and sorts that use unusual values and often match."""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stores import times
from stores.calls import CallEnd, CallStart
from stores.calls.fields import CALL_FIELDS, OP_NAME
from stores.query.fields import FieldTable, Kind
from stores.query.sort import SortBy
from tests.stores.calls.builders import NOON, call_id, end, start, trace_id
from tests.stores.query.oracle import ALIASES, NESTED, PAYLOADS, TIMES, Row, number_text, stored

Tree = Any

NUMBERS: Final = (
    *(0, -0.0, 1, 5, 5.0, 5.5, -3, 7, 10, 0.1, 0.30000000000000004, 1e-6, 9.5e-7, 1e-7, -2.5e-10, 123456789.125),
    *(1 << 31, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, float(1 << 53), (1 << 63) - 1, -(1 << 63), float(1 << 63)),
    *(1 << 63, 10**20, 1e20, 1e21, 10**22, 1e22, 1e23, -(10**30), 1.5e300, 10**307, -(10**307), 1769860800),
)
WORDS: Final = (
    *(
        "",
        "a",
        "A",
        "abc",
        "ABC",
        "b",
        "5",
        "5.0",
        "+5",
        " 5",
        "5\n",
        "5.",
        ".5",
        "1e3",
        "1E3",
        "1e400",
        "1e-400",
        "-0",
    ),
    *("9223372036854775807", "9223372036854775808", "007", "0x10", "1_000", "٣", "NaN", "Infinity", "true", "false"),
    *("True", "null", "ß", "ẞ", "ss", "SS", "i", "I", "İ", "\u0131", "k", "K", "\u212a", "s", "\u017f"),
    *("Σ", "\u03c3", "ς", "é", "É"),
    *(
        "e\u0301",
        "🧵",
        "𐐀",
        "𐐨",
        "\uffff",
        "a\0b",
        "\0",
        "$a",
        "$$ROOT",
        "$inputs",
        "a.b",
        ".*",
        "[",
        "a|b",
        "\\",
        "a\nb",
    ),
    *("2026-01-31T12:00:00.000000Z", "2026-01-31", "x" * 300),
)
KEYS: Final = (
    "a",
    "b",
    "a",
    "b",
    "c",
    "a.b",
    "$a",
    "$",
    "",
    "0",
    "1",
    "%2E",
    "é",
    "x y",
    "-1",
    "01",
    "a\0b",
    "a\\b",
    "_id",
)
LAST_SECOND: Final = 253_402_300_799
"""Last second of the year 9999; a query rejects a greater number in a comparison with a time."""

PARTS: Final = (*WORDS, '":', "[", "e+", "Z")
COMPARISONS: Final = ("$eq", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte")
OPS: Final = (
    *("a", "A", "b", "a:v0", "ab", "weave:///acme/chat/op/a:v0", "weave:///acme/chat/op/a:v1"),
    *("weave:///acme/chat/op/ab:v0", "weave:///acme/other/op/a:v0"),
)
"""Op names of calls; queries use them and `NAMES_OF_OPS` as op names."""
NAMES_OF_OPS: Final = ("a:*", "b:*", "", ":*", "weave:///acme/chat/op/a:*", "weave:///acme/other/op/a:*", "a/b", ".*")
COLUMNS: Final = (
    *("id", "op_name", "display_name", "trace_id", "parent_id", "thread_id", "turn_id", "exception", "wb_user_id"),
    *("wb_run_id", "wb_run_step", "wb_run_step_end", "status", "latency_ms", "trace_name", *TIMES, *ALIASES),
    *("op_name", "op_name", "op_name"),
)


def compact_json(value: object) -> str:
    """Return the JSON text of a value without spaces, with numbers as Python writes them."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass
class Generator:
    """A seeded random generator of calls, queries and sorts."""

    seed: int
    fields: FieldTable = CALL_FIELDS
    dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def calls(self, count: int) -> list[CallStart | CallEnd]:
        """Return the starts of `count` calls and the ends of most of them."""
        parts: list[CallStart | CallEnd] = []
        for number in range(count):
            parts.append(self._start(number))
            if self.dice.random() < 0.8:
                parts.append(self._end(number))
        return parts

    def _start(self, number: int) -> CallStart:
        return start(
            number,
            op_name=self.dice.choice(OPS),
            trace_id=trace_id(self.dice.randrange(4)),
            parent_id=self._maybe(call_id(self.dice.randrange(4))),
            display_name=self._maybe(self.word()),
            thread_id=self._maybe(self.word()),
            turn_id=self._maybe(self.word()),
            wb_user_id=self._maybe(self.word()),
            wb_run_id=self._maybe(f"acme/chat/{self.dice.choice(('a', 'A', '5', 'ß'))}"),
            wb_run_step=self._maybe(self.dice.choice((0, 1, 5, (1 << 53) + 1, (1 << 63) - 1))),
            started_at=self._moment(),
            attributes=self.object(3),
            inputs=self.object(4),
        )

    def _end(self, number: int) -> CallEnd:
        return end(
            number,
            ended_at=self._moment(),
            exception=self._maybe(self.word()),
            wb_run_step_end=self._maybe(self.dice.choice((0, 5))),
            output=self.value(4),
            summary=self.object(3) | self.dice.choice(({}, {}, {"status_counts": {"error": 1}})),
        )

    def _maybe(self, value: Any) -> Any:
        return value if self.dice.random() < 0.6 else None

    def _moment(self) -> int:
        odd = (times.parse("0001-01-01T00:00:00Z"), times.parse("9999-12-31T23:59:59.999999Z"), -1, 0, NOON + 123_456)
        return self.dice.choice((*odd, *(NOON + self.dice.randint(-2, 2) * self.dice.choice((1, 1_000_000)),) * 5))

    def word(self) -> str:
        """Return a text, often an unusual one."""
        return self.dice.choice(WORDS)

    def scalar(self) -> object:
        """Return any value but a list or an object."""
        return self.dice.choice(
            (self.word(), self.word(), self.dice.choice(NUMBERS), self.dice.choice(NUMBERS[:8]), None, True, False)
        )

    def value(self, depth: int) -> object:
        """Return any JSON value."""
        roll = self.dice.random() if depth else 0
        if roll < 0.4:
            return self.scalar()
        if roll < 0.65:
            return [self.value(depth - 1) for _ in range(self.dice.randint(0, 3))]
        return self.object(depth)

    def object(self, depth: int) -> dict[str, object]:
        """Return a JSON object of a few keys, sometimes with a ref."""
        found = {self.dice.choice(KEYS): self.value(depth - 1) for _ in range(self.dice.randint(0, 5))}
        if self.dice.random() < 0.2:
            found["ref"] = f"weave:///acme/chat/object/{self.dice.choice('xy')}:v0"
        return found

    def sort(self, rows: Sequence[Row]) -> list[SortBy]:
        """Return one to three keys, each of another field."""
        names = {ALIASES.get(name, name): name for name in (self.name(rows) for _ in range(self.dice.randint(1, 3)))}
        return [SortBy(name, self.dice.random() < 0.5) for name in names.values()]

    def name(self, rows: Sequence[Row]) -> str:
        """Return a column, or a path that leads to a value in one of the rows or close to one."""
        if self.dice.random() < 0.3:
            return self.dice.choice(COLUMNS)
        root = self.dice.choice((*PAYLOADS, *NESTED))
        steps, value = [root], self.dice.choice(rows).get(root)
        while isinstance(value, dict | list) and value and self.dice.random() < 0.85:
            key, value = self.dice.choice([*(value.items() if isinstance(value, dict) else enumerate(value))])
            if key == "":
                break
            steps.append(self._spelled(key))
        if self.dice.random() < 0.15:
            steps.append(self._spelled(self.dice.choice([key for key in KEYS if key])))
        return ".".join(steps)

    def _spelled(self, key: str | int) -> str:
        if isinstance(key, int):
            return str(key) if self.dice.random() < 0.9 else f"0{key}"
        return key.replace("\\", "\\\\").replace(".", "\\.")

    def query(self, rows: Sequence[Row]) -> Tree:
        """Return a query in its JSON form, without those that LoomQL refuses because no call could match."""
        while True:
            tree = _Queries(self, rows).operation(self.dice.choice((1, 1, 2, 3)))
            if not self._asks_null_of_all(tree):
                return {"$expr": tree}

    def _asks_null_of_all(self, tree: Tree) -> bool:
        match tree:
            case {"$and": terms}:
                return any(map(self._asks_null_of_all, terms))
            case {"$isNull": operand} | {"$eq": [operand, {"$literal": None}] | [{"$literal": None}, operand]}:
                return self._is_never_null(operand)
            case _:
                return False

    def _is_never_null(self, operand: Tree) -> bool:
        match operand:
            case {"$getField": name}:
                return not self.fields[name].field.optional
            case {"$convert": {"input": converted, "to": "string"}}:
                return self._is_never_null(converted)
            case _:
                return False


@dataclass
class _Queries:
    generator: Generator
    rows: Sequence[Row]

    @property
    def dice(self) -> random.Random:
        return self.generator.dice

    def operation(self, depth: int) -> Tree:
        makers: tuple[Callable[[int], Tree], ...] = (
            *(self._compare, self._compare, self._in, self._contains),
            *(self._starts_with, self._is_there),
        )
        deep = (self._junction, self._junction, self._not) if depth > 1 else ()
        return self.dice.choice(makers + deep)(depth - 1)

    def _junction(self, depth: int) -> Tree:
        terms = [self._term(depth) for _ in range(self.dice.randint(1, 3))]
        return {self.dice.choice(("$and", "$or")): terms}

    def _not(self, depth: int) -> Tree:
        return {"$not": [self._term(depth)]}

    def _term(self, depth: int) -> Tree:
        return self.operation(depth) if self.dice.random() < 0.9 else self._truth(depth)

    def _truth(self, depth: int) -> Tree:
        """Return an operand that may be true and is no comparison."""
        operand = self._operand(depth)
        if "$getField" in operand and self._kind(operand) is Kind.JSON:
            return operand
        to = self.dice.choice(("bool", "exists"))
        return self.dice.choice(({"$convert": {"input": operand, "to": to}}, {"$literal": self.dice.random() < 0.5}))

    def _compare(self, depth: int) -> Tree:
        comparison = self.dice.choice(COMPARISONS)
        operand = self._column(self._operand(depth))
        sides = [operand, self._comparand(operand, depth)]
        if comparison not in ("$eq", "$ne"):
            sides = [self._ordered(side) for side in sides]
        self.dice.shuffle(sides)
        return {comparison: sides}

    def _ordered(self, operand: Tree) -> Tree:
        """Return the operand, or a field instead of a literal without an order."""
        has_none = self._is_literal(operand) and isinstance(operand["$literal"], bool | None)
        return {"$getField": "inputs.a"} if has_none else operand

    def _starts_with(self, depth: int) -> Tree:
        operand = self._column(self._operand(depth))
        if self._is_nested(operand):
            operand = {"$convert": {"input": operand, "to": "string"}}
        if self._kind(operand) in (Kind.NUMBER, Kind.TIME):
            operand = {"$convert": {"input": operand, "to": "string"}}
        is_other = self._is_literal(operand) or self._is_condition(operand)
        if is_other or not isinstance(self._converted(operand, ""), str):
            operand = {"$literal": self.generator.word()}
        held = self._held(operand)
        text = held if isinstance(held, str) else self.generator.word()
        if values := self._values(operand):
            text = self._recased(self.dice.choice(values))
        sides = [operand, {"$literal": text[: self.dice.randint(0, 8)]}]
        if self.dice.random() < 0.2:
            sides = [{"$literal": f"{text}{self.generator.word()}"}, operand]
        return {"$startsWith": sides}

    def _is_there(self, depth: int) -> Tree:
        operand = self._operand(depth)
        to = {"$convert": {"input": operand, "to": self.dice.choice(("bool", "exists"))}}
        return self.dice.choice(({"$isNull": operand}, {"$exists": operand}, to))

    def _in(self, depth: int) -> Tree:
        operand = self._operand(depth)
        return {"$in": [operand, [self._comparand(operand, depth) for _ in range(self.dice.randint(0, 4))]]}

    def _contains(self, depth: int) -> Tree:
        operand = self._column(self._operand(depth))
        arguments: Tree = {"input": operand, "substr": {"$literal": self._part(operand)}}
        if self.dice.random() < 0.5:
            return {"$contains": arguments | {"case_insensitive": True}}
        if self.dice.random() < 0.2:
            other = self._operand(depth)
            arguments["substr"] = arguments["substr"] if self._is_literal(other) else other
        return {"$contains": arguments}

    def _part(self, operand: Tree) -> str:
        """Return a part of the operand's value in a row, perhaps with its case swapped."""
        value = self._held(operand)
        text = value if isinstance(value, str) else number_text(value) if isinstance(value, int | float) else None
        text = compact_json(value) if isinstance(value, dict | list) else text
        if text is None or self.dice.random() < 0.3:
            parts = {Kind.NUMBER: ("", "0", "-1", ".5", "e+"), Kind.TIME: ("", "2026-01", "12:", "Z")}
            text = self.dice.choice(self._values(operand) or parts.get(self._kind(operand), PARTS))
        first = self.dice.randint(0, max(0, len(text) - 1))
        part = text[first : first + self.dice.randint(0, 6)]
        return part.swapcase() if self.dice.random() < 0.5 else part

    def _operand(self, depth: int) -> Tree:
        roll = self.dice.random()
        if roll < 0.6:
            return {"$getField": self.generator.name(self.rows)}
        if roll < 0.9:
            to = self.dice.choice(("double", "string", "int", "bool", "exists"))
            return {"$convert": {"input": self._operand(depth), "to": to}}
        return self.operation(depth) if depth > 0 else {"$literal": self.generator.scalar()}

    def _comparand(self, operand: Tree, depth: int) -> Tree:
        """Return an operand to compare with: mostly a literal that the operand may equal."""
        operand = self._column(operand)
        if self.dice.random() < 0.15 and not self._is_literal(operand):
            other = operand if self.dice.random() < 0.3 else self._operand(depth)
            if not self._is_literal(other) and len({self._is_text(operand), self._is_text(other)} - {None}) < 2:
                return other
        return self._literal_for(operand)

    def _literal_for(self, operand: Tree) -> Tree:
        if self._is_nested(operand):
            return {"$literal": None}
        if self._is_condition(operand):
            return {"$literal": self.dice.choice((True, False, None))}
        if self._kind(operand) is Kind.TIME:
            return {"$literal": self._time()}
        if "$literal" in operand:
            return {"$literal": self.generator.scalar()}
        value = self._held(operand)
        if "$convert" in operand:
            return {"$literal": self._converted(operand, value)}
        if self._kind(operand) is not Kind.JSON:
            return {"$literal": self._of_column(operand["$getField"], value)}
        if isinstance(value, dict | list) and "$convert" in operand and self.dice.random() < 0.8:
            return {"$literal": compact_json(value)}
        if isinstance(value, dict | list) or self.dice.random() < 0.3:
            value = self.generator.scalar()
        if value in (math.inf, -math.inf):
            value = 10**307 if value > 0 else -(10**307)
        return {"$literal": self._retyped(value) if self.dice.random() < 0.3 else value}

    @staticmethod
    def _is_literal(operand: Tree) -> bool:
        return "$literal" in operand

    def _column(self, operand: Tree) -> Tree:
        """Return the text column that the operand converts to string, whose rules then apply; otherwise the operand."""
        inner = operand.get("$convert")
        if inner and inner["to"] == "string" and self._kind(column := self._column(inner["input"])) is Kind.TEXT:
            return column
        return operand

    @staticmethod
    def _is_condition(operand: Tree) -> bool:
        return not {"$literal", "$getField", "$convert"} & operand.keys()

    def _is_nested(self, operand: Tree) -> bool:
        """Return True if the operand is a field that always holds a list or object and so accepts only null."""
        access = self.generator.fields[operand["$getField"]] if "$getField" in operand else None
        return bool(access and access.field.comparison_hint and not access.steps)

    def _is_text(self, operand: Tree) -> bool | None:
        """Return True for a text, False for a number or a time, and None if the operand may be either or neither."""
        operand = self._column(operand)
        if "$convert" in operand:
            return {"string": True, "double": False, "int": False}.get(operand["$convert"]["to"])
        kind = self._kind(operand)
        return None if kind is Kind.JSON else kind is Kind.TEXT

    def _converted(self, operand: Tree, value: Any) -> Any:
        """Return a literal of a conversion's type, mostly the value itself; without a conversion return the value."""
        if "$convert" not in operand:
            return value
        to = operand["$convert"]["to"]
        if to in ("bool", "exists"):
            return self.dice.random() < 0.5
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if to == "string":
            text = number_text(value) if is_number else value
            return text if isinstance(text, str) and self.dice.random() < 0.7 else self.generator.word()
        return value if is_number and self.dice.random() < 0.7 else self.dice.choice(NUMBERS)

    def _values(self, operand: Tree) -> tuple[str, ...]:
        """Return the values that a column lists, or none for any other operand."""
        return self.generator.fields[operand["$getField"]].field.values if "$getField" in operand else ()

    def _recased(self, text: str) -> str:
        return self.dice.choice((str.upper, str.title, str))(text)

    def _kind(self, operand: Tree) -> Kind:
        """Return the kind of an operand's column, or JSON for other operands, since only a column refuses literals."""
        return self.generator.fields[operand["$getField"]].field.kind if "$getField" in operand else Kind.JSON

    def _of_column(self, name: str, value: Any) -> object:
        """Return a literal that a column of texts or numbers accepts, mostly one that it holds."""
        field = self.generator.fields[name].field
        if self.dice.random() < 0.1:
            return None
        if field.values:
            return self._recased(self.dice.choice(field.values))
        if field.kind is Kind.NUMBER:
            is_held = isinstance(value, int) and self.dice.random() < 0.7
            return value if is_held else self.dice.choice(NUMBERS)
        if field is OP_NAME:
            return self.dice.choice((*OPS, *NAMES_OF_OPS))
        return value if isinstance(value, str) and self.dice.random() < 0.7 else self.generator.word()

    def _time(self) -> object:
        micros = self.generator._moment()
        text = times.to_text(micros)
        floats = (min(seconds, LAST_SECOND) for seconds in (micros / 1_000_000, micros / 1_000_000 + 5e-7))
        return self.dice.choice((text, text[:-1], *floats, micros // 1_000_000, None))

    def _held(self, operand: Tree) -> Any:
        """Return the value of the operand's field in a random row, or null if the operand has no single field."""
        while "$convert" in operand:
            operand = operand["$convert"]["input"]
        return stored(operand["$getField"], self.dice.choice(self.rows)) if "$getField" in operand else None

    def _retyped(self, value: Any) -> object:
        match value:
            case str() as text if text.isdecimal() and text.isascii():
                return int(text)
            case bool() | None:
                return str(value).lower()
            case int() | float() as number:
                return number_text(number)
            case _:
                return value
