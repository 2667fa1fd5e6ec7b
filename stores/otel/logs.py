"""OpenTelemetry log records, independent of the encoding they arrived in, and the forms that LoomQL stores."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from stores import refs, times
from stores.errors import BadInputError, StoreError
from stores.feedback import NewFeedback
from stores.ids import SPAN_ID_LENGTH
from stores.input_checks import check_count
from stores.json import AnyJson
from stores.otel.spans import AnyMessage, Attributes, Span
from stores.senders.attributes import MAX_KEYS, nested

EVALUATION: Final = "gen_ai.evaluation.result"
"""Event with an evaluation of a span."""

ACCEPTED: Final = (
    "LoomQL stores events of Claude Code (claude_code.*) and Codex (codex.*), GenAI messages (gen_ai.*.message, "
    f"gen_ai.choice, gen_ai.client.inference.operation.details) and evaluations ({EVALUATION}); set "
    "OTEL_LOGS_EXPORTER=none in programs that send other logs"
)


@dataclass(slots=True)
class LogRecord:
    """One log record.

    Attributes:
        names: names that the record may have, the most specific ones first.
        at: its time in nanoseconds since the epoch.
        span_id: the span it refers to, in hexadecimal; empty without one.
    """

    names: tuple[str, ...]
    at: int
    span_id: str
    body: AnyJson
    attributes: Attributes


def log_of(
    message: AnyMessage, attributes_of: Callable[[Any], Attributes], hex_of: Callable[[Any], str], body: AnyJson
) -> LogRecord:
    """Convert a message with the fields of OTLP's protobuf.

    Raises:
        BadInputError: it has too many attributes.
    """
    check_count(len(message.attributes), MAX_KEYS, "attributes")
    attributes = attributes_of(message.attributes)
    # Codex names the line of its code in `event_name`, so the attribute comes first.
    names = attributes.get("event.name"), message.event_name, body
    return LogRecord(
        names=tuple(name for name in names if isinstance(name, str) and name),
        at=message.time_unix_nano or _stated_time(attributes) or message.observed_time_unix_nano,
        span_id=hex_of(message.span_id),
        body=body,
        attributes=attributes,
    )


def _stated_time(attributes: Attributes) -> int:
    text = attributes.get("event.timestamp")
    if isinstance(text, str):
        with suppress(BadInputError):
            return times.parse(text) * 1000
    return 0


def derived_id(length: int, *parts: object) -> str:
    """Return hexadecimal digits that are equal for equal parts."""
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).hexdigest()[:length]


def evaluation_of(
    name: str, attributes: dict[str, Any], span_id: str, at: int, project_id: str, wb_user_id: str | None
) -> NewFeedback | None:
    """Return the feedback of an evaluation of a span, from nested attributes; None if the event has another name.

    Equal evaluations have equal ids. The span need not be stored yet.

    Raises:
        BadInputError: it refers to no span, or has no name.
    """
    if name != EVALUATION:
        return None
    members = attributes.get("gen_ai")
    stated = members.get("evaluation") if isinstance(members, dict) else None
    stated = stated if isinstance(stated, dict) else {}
    of = stated.get("name")
    if not isinstance(of, str) or not of:
        raise BadInputError(f"{EVALUATION} has no gen_ai.evaluation.name; set it to the name of the metric")
    score = stated.get("score")
    score = score if isinstance(score, dict) else {}
    payload = {
        "name": of,
        "score": score.get("value"),
        "label": score.get("label"),
        "explanation": stated.get("explanation"),
        "attributes": attributes,
    }
    return NewFeedback(
        project_id,
        refs.call_ref({"project_id": project_id, "id": span_of_event(span_id, name)}),
        f"evaluation.{of}",
        payload,
        id=derived_id(32, EVALUATION, span_id, at, of, wb_user_id),
        created_at=at // 1000,
        wb_user_id=wb_user_id,
    )


def evaluation_of_record(record: LogRecord, project_id: str, wb_user_id: str | None) -> NewFeedback | None:
    """Return the feedback in a log record, as `evaluation_of` does."""
    if EVALUATION not in record.names:
        return None
    attributes = nested(record.attributes)
    return evaluation_of(EVALUATION, attributes, record.span_id, record.at, project_id, wb_user_id)


def evaluations_of(span: Span, project_id: str, wb_user_id: str | None) -> list[NewFeedback]:
    """Return the feedback in a span's events. An invalid evaluation stays a mere event of the span."""
    found = []
    for event in span.events:
        with suppress(StoreError):
            at = times.parse(event["timestamp"]) * 1000
            new = evaluation_of(event["name"], event["attributes"], span.span_id, at, project_id, wb_user_id)
            if new:
                found.append(new.checked())
    return found


def span_of_event(span_id: str, name: str) -> str:
    """Return the id of the span that an event refers to.

    Raises:
        BadInputError: it refers to none.
    """
    if len(span_id) != SPAN_ID_LENGTH or not span_id.strip("0"):
        raise BadInputError(f"{name} refers to no span; emit it while its span is current, so that it has a span_id")
    return span_id
