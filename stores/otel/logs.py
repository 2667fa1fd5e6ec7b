"""OpenTelemetry log records, independent of the encoding they arrived in, and the forms that LoomQL stores."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from stores import refs, times
from stores.errors import BadInputError, StoreError
from stores.feedback import NewFeedback
from stores.ids import SPAN_ID_LENGTH, TRACE_ID_LENGTH
from stores.input_checks import check_count
from stores.json import AnyJson
from stores.otel.spans import AnyMessage, Attributes, Span
from stores.senders.attributes import MAX_KEYS, Layout, nested

EVALUATION: Final = "gen_ai.evaluation.result"
"""Event with an evaluation of a span."""

_KINDS: Final = ("annotation", "evaluation")
_SCOPES: Final = ("trace", "session")
_ANNOTATION_PREFIXES: Final = tuple(f"{scope}{kind}s." for scope in ("", "trace.", "session.") for kind in _KINDS)
"""Prefixes of OpenInference's attributes with feedback on a span, or on its trace or session."""

ACCEPTED: Final = (
    "LoomQL stores events of Claude Code (claude_code.*) and Codex (codex.*), GenAI messages (gen_ai.*.message, "
    f"gen_ai.choice, gen_ai.client.inference.operation.details), evaluations ({EVALUATION}) and OpenInference "
    "annotations (annotations.0.annotation.name, evaluations.0.evaluation.name, ...); set "
    "OTEL_LOGS_EXPORTER=none in programs that send other logs"
)


@dataclass(slots=True)
class LogRecord:
    """One log record.

    Attributes:
        names: names that the record may have, the most specific ones first.
        at: its time in nanoseconds since the epoch.
        trace_id: the trace that it refers to, in hexadecimal; empty without one.
        span_id: the span that it refers to, in hexadecimal; empty without one.
    """

    names: tuple[str, ...]
    at: int
    trace_id: str
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
        trace_id=hex_of(message.trace_id),
        span_id=hex_of(message.span_id),
        body=body,
        attributes=attributes,
    )


def _stated_time(attributes: Attributes) -> int:
    text = attributes.get("event.timestamp")
    if isinstance(text, str):
        with suppress(BadInputError):
            return max(times.parse(text) * 1000, 0)
    return 0


def derived_id(length: int, *parts: object) -> str:
    """Return hexadecimal digits that are equal for equal parts."""
    # JSON keeps the parts apart, whatever characters a sender puts into them.
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:length]


def feedback_of_record(record: LogRecord, project_id: str, wb_user_id: str | None) -> list[NewFeedback]:
    """Return the feedback in a log record: an evaluation, or OpenInference's annotations.

    Equal feedback has equal ids. The span need not be stored yet.

    Raises:
        BadInputError: it refers to no span, or has no name.
    """
    is_evaluation = EVALUATION in record.names
    if not is_evaluation and not any(key.startswith(_ANNOTATION_PREFIXES) for key in record.attributes):
        return []
    attributes = nested(record.attributes)
    on = _Subject(project_id, span_of_event(record.span_id, record.names[0] if record.names else "it"), wb_user_id)
    found = [on.evaluation(attributes, record.at)] if is_evaluation else list(on.annotations(attributes, record.at))
    return [new.checked() for new in found]


def feedback_of_span(span: Span, layout: Layout, project_id: str, wb_user_id: str | None) -> list[NewFeedback]:
    """Return the feedback in a span's attributes, of which `layout` is the layout, and in its events.

    Invalid feedback stays a mere part of the span.
    """
    has_annotations = "feedback" in layout.found
    if not span.events and not has_annotations:
        return []
    found: list[NewFeedback] = []
    on = _Subject(project_id, span.span_id, wb_user_id)
    for event in span.events:
        if event["name"] == EVALUATION:
            with suppress(StoreError):
                at = times.parse(event["timestamp"]) * 1000
                found.append(on.evaluation(event["attributes"], at).checked())
    if has_annotations:
        for new in on.annotations(nested(span.attributes), span.ended_at or span.started_at):
            with suppress(StoreError):
                found.append(new.checked())
    return found


class _Subject(NamedTuple):
    """The span that feedback is about."""

    project_id: str
    span_id: str
    wb_user_id: str | None

    def evaluation(self, attributes: dict[str, Any], at: int) -> NewFeedback:
        """Return the feedback in the attributes of an evaluation event.

        Raises:
            BadInputError: it has no name.
        """
        stated = _object_in(_object_in(attributes, "gen_ai"), "evaluation")
        name = stated.get("name")
        if not isinstance(name, str) or not name:
            raise BadInputError(f"{EVALUATION} has no gen_ai.evaluation.name; set it to the name of the metric")
        score = _object_in(stated, "score")
        payload = {
            "name": name,
            "score": score.get("value"),
            "label": score.get("label"),
            "explanation": stated.get("explanation"),
            "attributes": attributes,
        }
        return self._feedback(f"evaluation.{name}", payload, at, at)

    def annotations(self, attributes: dict[str, Any], at: int) -> Iterator[NewFeedback]:
        """Yield the feedback in OpenInference's lists, such as `annotations.0.annotation.score`."""
        for scope, holder in (("span", attributes), *((name, _object_in(attributes, name)) for name in _SCOPES)):
            for kind in _KINDS:
                for index, item in _object_in(holder, f"{kind}s").items():
                    stated = _object_in(item, kind)
                    name = stated.get("name")
                    if isinstance(name, str) and name:
                        key = scope, stated.get("identifier") or index
                        yield self._feedback(f"{kind}.{name}", {**stated, "scope": scope}, at, key)

    def _feedback(self, feedback_type: str, payload: dict[str, Any], at: int, key: object) -> NewFeedback:
        return NewFeedback(
            self.project_id,
            refs.call_ref({"project_id": self.project_id, "id": self.span_id}),
            feedback_type,
            payload,
            id=derived_id(32, self.span_id, feedback_type, key, self.wb_user_id),
            created_at=at // 1000,
            wb_user_id=self.wb_user_id,
        )


def _object_in(holder: object, name: str) -> dict[str, Any]:
    """Return the object of a name; a list as an object with its indexes, and an empty one for any other value."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if isinstance(value, list):
        return {str(index): item for index, item in enumerate(value)}
    return value if isinstance(value, dict) else {}


def span_of_event(span_id: str, name: str, trace_id: str | None = None) -> str:
    """Return the id of the span that an event refers to; with a `trace_id`, it must be one too.

    Raises:
        BadInputError: it refers to none.
    """
    if not _is_id(span_id, SPAN_ID_LENGTH) or not (trace_id is None or _is_id(trace_id, TRACE_ID_LENGTH)):
        raise BadInputError(
            f"{name} refers to no span; emit it while its span is current, so that it has a trace_id and a span_id"
        )
    return span_id


def _is_id(text: str, length: int) -> bool:
    return len(text) == length and bool(text.strip("0"))
