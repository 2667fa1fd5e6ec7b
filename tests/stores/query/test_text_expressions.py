"""Tests of the texts of numbers and times, letter case, and numbers in texts, each compared with Python."""

import math
import random
import struct
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stores import times
from stores.aggregates import AggregatesStore, Grouping
from stores.calls import CallsStore
from stores.calls.fields import CALL_FIELDS
from stores.database import Database, Document
from stores.errors import BadInputError
from stores.json import codec
from stores.paging import PageRequest
from stores.query import Query, in_python, text_expressions
from stores.query.evaluator import DocumentValues, compile_test
from stores.query.parser import Get, Literal, Operation, Operator
from stores.query.text_expressions import Expression
from stores.query.value_expressions import value_expression
from tests.stores.calls.builders import PROJECT, call_id, end, start
from tests.stores.query.oracle import double_of, folded_text, int_of, number_text


async def computed(database: Database, values: list[Any], expression: Expression) -> list[Any]:
    """Return the result of an expression over `$v` for each value."""
    documents: list[Document] = [{"_id": number, "inputs": {"v": value}} for number, value in enumerate(values)]
    await database.calls.insert_many(documents)
    stages = [{"$sort": {"_id": 1}}, {"$project": {"found": expression}}]
    rows = await database.calls.aggregate(stages).to_list(None)
    return [row["found"] for row in rows]


def convert(to: Operator) -> Expression:
    return value_expression(Operation(to, (Get("inputs.v", CALL_FIELDS["inputs.v"]),)))


def doubles() -> list[float]:
    """Return powers of two and ten with their neighbors, short and long decimals, and random bits."""
    dice = random.Random(5)
    powers = [2.0**exponent for exponent in range(-1022, 1024)] + [
        float(f"1e{exponent}") for exponent in range(-307, 309)
    ]
    near = [math.nextafter(power, toward) for power in powers for toward in (0, math.inf)]
    short = [dice.randrange(10**digits) / 10 ** dice.randrange(25) for digits in range(1, 18) for _ in range(60)]
    bits = [struct.unpack("<d", dice.randbytes(8))[0] for _ in range(3_000)]
    # Add subnormal doubles of each size: the multiples of 2**-1074 below the least normal double.
    subnormal = [math.ldexp(dice.getrandbits(size + 1), -1074) for size in range(52) for _ in range(20)]
    subnormal += [math.ulp(0.0), 2 * math.ulp(0.0), math.nextafter(sys.float_info.min, 0)]
    found = [*powers, *near, *short, *bits, *subnormal, 0.0, math.inf]
    found += [-number for number in (*short[:200], *subnormal[-200:], 0.0, math.inf)]
    return [number for number in found if not math.isnan(number)]


DOUBLES = [
    (0.1 + 0.2, "0.30000000000000004"),
    (5e-324, "5e-324"),
    (-1.5e-323, "-1.5e-323"),
    (2.2250738585072009e-308, "2.225073858507201e-308"),
    (2.2250738585072014e-308, "2.2250738585072014e-308"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (1e22, "1e+22"),
    (1e-7, "1e-7"),
    (123456789012345680.0, "123456789012345680"),
    (9007199254740991.0, "9007199254740991"),
    (9007199254740992.0, "9007199254740992"),
    (9007199254740994.0, "9007199254740994"),
    (-0.0, "0"),
    (42.0, "42"),
    (0.10000000000000002, "0.10000000000000002"),
    (-8.41e21, "-8.41e+21"),
]


async def test_doubles_have_their_expected_texts(database: Database) -> None:
    found = await computed(database, [number for number, _ in DOUBLES], convert(Operator.STRING))

    assert found == [text for _, text in DOUBLES]
    assert [number_text(number) for number, _ in DOUBLES] == found


async def test_doubles_text_is_the_shortest_that_reads_back(database: Database) -> None:
    numbers = [*doubles(), 1 << 53, -(1 << 63), (1 << 63) - 1, 10**15]

    found = await computed(database, numbers, convert(Operator.STRING))

    wrong = [(n, text, number_text(n)) for n, text in zip(numbers, found, strict=True) if text != number_text(n)]
    assert wrong == []
    assert len(found) > 8_000


SUBNORMAL = ["2.2250738585072e-308", "5e-324"]
NUMERALS = [
    *(
        "",
        "+",
        "-",
        ".",
        "e5",
        "1e",
        "1e+",
        "1.e5",
        ".5e-3",
        "+.5",
        "-5.",
        "1..2",
        "--1",
        "+-1",
        "1 ",
        " 1",
        "1\n",
        "\n1",
    ),
    *(
        "0x1p3",
        "0b1",
        "1f",
        "1d",
        "1l",
        "1_0",
        "1,0",
        "inf",
        "nan",
        "NaN",
        "Infinity",
        "-infinity",
        "٣",
        "\uff11",
        "²",
        "1\0",
    ),
    *("9" * 400, "-" + "9" * 400, "0" * 400, "0" * 400 + "7", "0." + "0" * 400 + "1", "1e308", "1.8e308", "-1.8e308"),
    *(
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "2.2250738585072014e-308",
        "1e-400",
        "-1e-400",
        "0e999",
        "0e-999",
    ),
    *("0.0e-400", "1e99999999999", "1e-99999999999", "0.1", "123456789012345678901234567890", "1" + "0" * 22 + "e-22"),
    *(
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        "+9223372036854775807",
    ),
    *SUBNORMAL,
    *("007", "-0", "-007", "1.0", "9007199254740993", "9007199254740993.0", "0.30000000000000004", "x" * 100),
]


@pytest.mark.parametrize(("to", "expected"), [(Operator.DOUBLE, double_of), (Operator.INT, int_of)])
async def test_numbers_are_parsed_from_text_as_in_python(database: Database, to: Operator, expected: Any) -> None:
    found = await computed(database, NUMERALS, convert(to))

    read = dict(zip(NUMERALS, found, strict=True))
    if await is_windows(database):
        read |= dict.fromkeys(SUBNORMAL)
    assert {text: repr(number) for text, number in read.items()} == {text: repr(expected(text)) for text in NUMERALS}


async def is_windows(database: Database) -> bool:
    """Return True for a server on Windows, whose C library reads subnormal doubles; that of Linux does not."""
    info = await database.calls.database.command("buildInfo")
    return bool(info["buildEnvironment"]["target_os"] == "windows")


async def test_only_whole_numbers_become_integers(database: Database) -> None:
    numbers = [0.5, -0.0, 1e15, 1e18, 9.3e18, float(1 << 63), -float(1 << 63), math.inf, -math.inf, 5, 1 << 62, 1e300]

    found = await computed(database, numbers, convert(Operator.INT))

    assert found == [None, 0, 10**15, 10**18, None, None, -(1 << 63), None, None, 5, 1 << 62, None]


async def test_times_have_the_text_of_responses(database: Database) -> None:
    dice = random.Random(6)
    first, last = (times.parse(text) for text in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"))
    micros = [first, last, -1, 0, 1, 999_999, -999_999, *(dice.randint(first, last) for _ in range(500))]

    found = await computed(database, micros, text_expressions.of_time("$inputs.v"))

    assert found == [times.to_text(moment) for moment in micros]
    assert datetime.fromisoformat(found[1]) == datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert datetime.fromisoformat(found[2]) == datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)


async def test_each_character_matches_its_case_variants(database: Database) -> None:
    """Check the characters up to Unicode 7, which MongoDB 6 knows; servers differ in later case pairs."""
    letters = [chr(code) for code in range(0x250) if chr(code).isprintable()]
    letters += [chr(code) for code in (*range(0x370, 0x580), *range(0x1E00, 0x2000)) if chr(code).isprintable()]
    await database.calls.insert_one({"_id": 0, "inputs": {"v": "".join(letters)}})
    meets: dict[str, list[str]] = {}
    for letter in letters:
        meets.setdefault(folded_text(letter), []).append(letter)

    everywhere = [
        {"$regexFindAll": {"input": "$inputs.v", "regex": text_expressions.escaped(letter), "options": "i"}}
        for letter in letters
    ]
    [row] = await database.calls.aggregate([{"$project": {"found": everywhere}}]).to_list(None)

    found = [[one["match"] for one in matches] for matches in row["found"]]
    wrong = [
        (letter, those) for letter, those in zip(letters, found, strict=True) if those != meets[folded_text(letter)]
    ]
    assert wrong == []
    assert len(letters) > 1_500


PARTS: list[tuple[object, str, str]] = [
    (
        {"a": 1, "v": [1.0, 0.1 + 0.2, 1e-7, 'é\n"', None, [], {}]},
        "v",
        '[1.0,0.30000000000000004,1e-7,"é\\n\\"",null,[],{}]',
    ),
    ({"v": [1e22, 1e-7], "wide": 1 << 70}, "v", "[1e+22,1e-07]"),
    ({"v": {"wide": 10**300}}, "v", '{"wide":1' + "0" * 300 + "}"),
    ({"s": '"v":[1]', '"v': [2], '\\"v': [3], "v": [4], "w": {"v": [5]}}, "v", "[4]"),
    ({"w": {"v": [5]}, "v": {"w": {"v": ["]", "}", "\\"]}}}, "v.w.v", '["]","}","\\\\"]'),
    ({"a.b": {"$c": {"\0": [1]}}}, "a\\.b.$c.\0", "[1]"),
    ([[n] for n in range(1_234)], "1230", "[1230]"),
    ([0, [[0, [], 2, {"7": [3]}]]], "1.00.3.7", "[3]"),
    ({"10": [1], "1": [2]}, "1", "[2]"),
    ({"v": [[], [[[[]], [[]]]]]}, "v.1", "[[[[]],[[]]]]"),
    (["a"] * 1_000 + [{"b": ["\n" * 50_000]}], "1000.b", '["' + "\\n" * 50_000 + '"]'),
]
"""Payloads, each with a path and the text of the value at that path."""


@pytest.mark.parametrize(("payload", "path", "text"), PARTS, ids=range(len(PARTS)))
async def test_list_or_object_has_its_text_in_the_payload(
    calls: CallsStore, database: Database, payload: object, path: str, text: str
) -> None:
    await calls.write([start(), end(output=payload)])
    operand = Operation(Operator.STRING, (Get(path, CALL_FIELDS[f"output.{path}"]),))

    [row] = await database.calls.aggregate([{"$project": {"json": 1, "found": value_expression(operand)}}]).to_list(
        None
    )

    assert row["found"] == text
    assert text in row["json"]["output"]
    assert compile_test(Operation(Operator.EQ, (operand, Literal(text))))(DocumentValues(row))


async def test_list_of_refs_has_its_json_text(calls: CallsStore, database: Database) -> None:
    refs = ["weave:///acme/chat/object/x:v0", 'wandb-artifact:///a/"\\\n\0é/$c', "wandb-artifact:///,/,/,"]
    await calls.write([start(1, inputs={"refs": refs}), start(2)])
    operand = Operation(Operator.STRING, (Get("input_refs", CALL_FIELDS["input_refs"]),))

    pipeline = [{"$sort": {"id": 1}}, {"$project": {"input_refs": 1, "found": value_expression(operand)}}]
    rows = await database.calls.aggregate(pipeline).to_list(None)

    assert rows[0]["input_refs"] == refs
    assert [row["found"] for row in rows] == [codec.encode(refs), None]


COMPLEX: dict[str, object] = {"a": [[]] * 40_000, "v": ["x", "Ä"]}
"""Inputs so complex that MongoDB cannot extract `v`."""


def contains(path: str, text: str, *, folded: bool = False) -> dict[str, object]:
    return {"$contains": {"input": {"$getField": path}, "substr": {"$literal": text}, "case_insensitive": folded}}


def as_text(path: str) -> dict[str, object]:
    return {"$convert": {"input": {"$getField": path}, "to": "string"}}


async def write_complex(calls: CallsStore) -> None:
    """Write calls 1 and 3 with complex inputs and the simple call 2; of them, 1 and 2 contain an x."""
    await calls.write(
        [start(1, inputs=COMPLEX), start(2, inputs={"v": ["x"]}), start(3, inputs={**COMPLEX, "v": ["y"], "x": 1})]
    )


CONDITIONS: list[tuple[dict[str, object], list[int]]] = [
    (contains("inputs.v", "x"), [1, 2]),
    (contains("inputs.v", "X", folded=True), [1, 2]),
    (contains("inputs.v", "ä", folded=True), [1]),
    ({"$not": [contains("inputs.v", "x")]}, [3]),
    ({"$eq": [as_text("inputs.v"), {"$literal": '["x","Ä"]'}]}, [1]),
    ({"$eq": [{"$literal": '["y"]'}, as_text("inputs.v")]}, [3]),
    ({"$in": [as_text("inputs.v"), [{"$literal": '["y"]'}, {"$literal": '["x"]'}]]}, [2, 3]),
    ({"$gt": [as_text("inputs.v"), {"$literal": '["x",'}]}, [1, 2, 3]),
    ({"$eq": [contains("inputs.v", "x"), contains("inputs.v", "y")]}, []),
    ({"$or": [contains("inputs.v", "y"), contains("inputs.a", "[[],[]")]}, [1, 3]),
    ({"$and": [contains("inputs.v", "x"), {"$eq": [{"$getField": "id"}, {"$literal": call_id(2)}]}]}, [2]),
    (
        {"$or": [{"$eq": [{"$getField": "feedback.[r].payload.n"}, {"$literal": 1}]}, contains("inputs.v", "y")]},
        [3],
    ),
]


@pytest.mark.parametrize(("condition", "numbers"), CONDITIONS, ids=range(len(CONDITIONS)))
async def test_payload_too_complex_for_mongodb_is_matched_in_python(
    calls: CallsStore, condition: dict[str, object], numbers: list[int]
) -> None:
    await write_complex(calls)
    query = Query({"$expr": condition})

    first = await calls.page(PROJECT, PageRequest(size=1), ["id"], query=query)
    rest = await calls.page(PROJECT, PageRequest(size=5, cursor=first.end_cursor), ["id"], query=query)

    assert [row["id"] for row in first.rows + rest.rows] == [call_id(each) for each in numbers]
    assert await calls.count(PROJECT, query=query) == len(numbers)


async def test_value_late_in_a_long_list_is_matched_in_python(calls: CallsStore) -> None:
    """Check a limit: MongoDB 7 stops the search before the 2,000th item, and MongoDB 6 finds the 20,000th."""
    items = ["a"] * 20_000
    await calls.write([start(1), end(1, output=[*items, ["x"]]), start(2), end(2, output=[*items, ["y"]])])

    page = await calls.page(PROJECT, PageRequest(), ["id"], query=Query({"$expr": contains("output.20000", "x")}))

    assert [row["id"] for row in page.rows] == [call_id(1)]


async def test_cursor_from_mongodb_continues_when_python_matches(calls: CallsStore) -> None:
    await calls.write([start(number, inputs={"v": ["x"]}) for number in range(3)])
    query = Query({"$expr": contains("inputs.v", "x")})
    first = await calls.page(PROJECT, PageRequest(size=1), ["id"], query=query)
    await calls.write([start(3, inputs=COMPLEX)])

    rest = await calls.page(PROJECT, PageRequest(size=5, cursor=first.end_cursor), ["id"], query=query)

    assert [row["id"] for row in rest.rows] == [call_id(each) for each in (1, 2, 3)]


async def test_python_matched_result_is_one_snapshot(calls: CallsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await write_complex(calls)
    looked_at, later = in_python._evaluate_complex, iter(range(4, 100))

    async def and_one_more(*args: Any) -> Any:
        found = await looked_at(*args)
        await calls.write([start(next(later), inputs=COMPLEX)])
        return found

    monkeypatch.setattr(in_python, "_evaluate_complex", and_one_more)
    query = Query({"$expr": contains("inputs.v", "x")})

    page = await calls.page(PROJECT, PageRequest(), ["id"], query=query)

    assert [row["id"] for row in page.rows] == [call_id(1), call_id(2)]
    assert await calls.count(PROJECT, query=query) == 3
    assert next(later) == 6


@pytest.mark.parametrize("inputs", [{"v": "one, " * 10_000}, {"v": [0] * 3_000}], ids=["prose", "items"])
async def test_payloads_within_mongodbs_limits_are_left_to_it(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch, inputs: dict[str, object]
) -> None:
    monkeypatch.setattr(in_python, "MAX_DOCUMENTS", 2)
    await calls.write([start(number, inputs={**inputs, "w": ["x"]}) for number in range(5)])
    await calls.write([start(5, inputs={"a": [[]] * 40_000, "w": ["x"]})])

    assert await calls.count(PROJECT, query=Query({"$expr": contains("inputs.w", "x")})) == 6


async def test_aggregate_counts_python_matched_calls(calls: CallsStore, database: Database) -> None:
    await write_complex(calls)
    query = Query({"$expr": contains("inputs.v", "x")})

    found = await AggregatesStore(database).calls(PROJECT, Grouping(), ["count"], query=query)

    assert [row["count"] for row in found.rows] == [2]


@pytest.mark.parametrize(("limit", "most"), [("MAX_DOCUMENTS", 1), ("MAX_ID_BYTES", 150)])
async def test_query_needing_too_many_complex_payloads_is_reported(
    calls: CallsStore, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    await write_complex(calls)
    monkeypatch.setattr(in_python, limit, most)

    with pytest.raises(BadInputError, match="a payload is too complex") as caught:
        await calls.count(PROJECT, query=Query({"$expr": contains("inputs.v", "x")}))

    assert caught.value.argument == "query"
    assert await calls.count(PROJECT, query=Query({"$expr": contains("inputs", "x")})) == 3
    # Python reads no payload whose whole text lacks the searched text.
    assert await calls.count(PROJECT, query=Query({"$expr": contains("inputs.v", "Ä")})) == 1


@pytest.mark.parametrize(
    "condition",
    [
        contains("inputs.v", "z"),
        contains("inputs.v", "Z", folded=True),
        {"$eq": [as_text("inputs.v"), {"$literal": '["z"]'}]},
        {"$in": [as_text("inputs.v"), [{"$literal": '["z"]'}, {"$literal": "z"}]]},
    ],
    ids=["contains", "case-insensitive", "eq", "in"],
)
async def test_payload_without_the_text_is_not_extracted(
    calls: CallsStore, database: Database, condition: dict[str, object]
) -> None:
    await calls.write([start(1, inputs=COMPLEX)])
    match = Query({"$expr": condition}).match(CALL_FIELDS)

    assert await database.calls.count_documents(match) == 0
