"""JSON, times and big integers, as literals and as variables."""

from typing import Any

import pytest

from tests.graphql_schema.conftest import Run

ID = "00000000-0000-7000-8000-000000000001"
WITH_VARIABLE = f"""
    mutation ($inputs: JSON!) {{
        callStart(start: {{projectId: "acme/chat", id: "{ID}", opName: "f", startedAt: "2026-01-01T00:00:00Z",
                           attributes: {{}}, inputs: $inputs}}) {{ id }}
    }}
"""
READ = f'{{ call(projectId: "acme/chat", id: "{ID}") {{ inputs startedAt }} }}'


def with_literal(inputs: str, started_at: str = "2026-01-01T00:00:00Z", variables: str = "") -> str:
    return f"""
        mutation {variables} {{
            callStart(start: {{projectId: "acme/chat", id: "{ID}", opName: "f", startedAt: "{started_at}",
                               attributes: {{}}, inputs: {inputs}}}) {{ id }}
        }}
    """


@pytest.mark.parametrize(
    "inputs",
    [
        {"int64": 2**63 - 1, "beyond": 2**63, "below": -(2**63) - 1, "huge": 10**308 - 1},
        {"float": 5.0, "small": 1e-300, "exponent": 1.5e300},
        {"a.b": 1, "$where": 2, "": 3, "nul\0": 4, "ключ🔑": 5, "%2E": 6},
        {"z": 1, "a": {"y": [None, True, False, "", []], "b": {}}},
        {"text": 'quote " backslash \\ newline \n nul \0 emoji 👩‍🔬'},
    ],
    ids=["integers", "floats", "keys", "order and kinds", "text"],
)
async def test_json_is_returned_as_sent(run: Run, inputs: dict[str, Any]) -> None:
    written = await run(WITH_VARIABLE, inputs=inputs)
    read = await run(READ)

    assert written.errors == []
    assert repr(read.data["call"]["inputs"]) == repr(inputs)


async def test_json_literal_accepts_variables_and_omits_absent_ones(run: Run) -> None:
    literal = (
        '{number: 1, text: "x", list: [$given, $absent, 1.5], given: $given, absent: $absent, yes: true, no: null}'
    )

    await run(with_literal(literal, variables="($given: JSON, $absent: JSON)"), given={"deep": [1]})

    assert (await run(READ)).data["call"]["inputs"] == {
        "number": 1,
        "text": "x",
        "list": [{"deep": [1]}, None, 1.5],
        "given": {"deep": [1]},
        "yes": True,
        "no": None,
    }


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ("{a: FOO}", 'write it in quotes, as "FOO"'),
        ("{a: 1e400}", "beyond the range of doubles"),
        ("{a: 1" + "0" * 308 + "}", "309 digits is too long"),
        ("{a: -" + "9" * 900 + "}", "900 digits is too long"),
    ],
)
async def test_invalid_json_literal_is_refused(run: Run, literal: str, reason: str) -> None:
    answer = await run(with_literal(literal))

    assert answer.code == "BAD_USER_INPUT"
    assert reason in answer.errors[0]["message"]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("2026-01-01T12:00:00Z", "2026-01-01T12:00:00.000000Z"),
        ("2026-01-01T12:00:00", "2026-01-01T12:00:00.000000Z"),
        ("2026-01-01T12:00:00.000001+05:45", "2026-01-01T06:15:00.000001Z"),
        ("2026-01-01 12:00:00.123-12:00", "2026-01-02T00:00:00.123000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
    ],
)
async def test_times_are_read_in_any_zone_and_returned_in_utc(run: Run, given: str, read: str) -> None:
    await run(with_literal("{}", given))

    assert (await run(READ)).data["call"]["startedAt"] == read


@pytest.mark.parametrize("given", ["", "yesterday", "2026-13-01T00:00:00Z", "1767225600"])
async def test_invalid_time_is_refused_with_an_example(run: Run, given: str) -> None:
    answer = await run(with_literal("{}", given))

    assert answer.code == "BAD_USER_INPUT"
    assert "such as 2026-01-31T12:00:00.000000Z" in answer.errors[0]["message"]


@pytest.mark.parametrize("step", [2**63, 1.5, "7", True])
async def test_big_int_is_a_64_bit_integer(run: Run, step: object) -> None:
    answer = await run(
        """
        mutation ($step: BigInt) {
            callStart(start: {projectId: "acme/chat", opName: "f", startedAt: "2026-01-01T00:00:00Z",
                              attributes: {}, inputs: {}, wbRunStep: $step}) { id }
        }
        """,
        step=step,
    )

    assert answer.code == "BAD_USER_INPUT"
    assert "between -2^63 and 2^63 - 1" in answer.errors[0]["message"]
