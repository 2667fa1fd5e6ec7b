"""Fields of feedback, and inputs for creating it, with the rules of reactions, notes, annotations and runnables.

An annotation follows the JSON Schema of its spec, an object of the project.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast

import emoji

from stores import ids, refs
from stores.database import Database
from stores.errors import BadInputError, ErrorsAt, NotFoundError, PayloadTooLargeError
from stores.ids import LOCAL_USER
from stores.input_checks import MAX_NAME, check_length, check_object
from stores.json import codec
from stores.json_schema import JsonSchema, SchemaFaultError, bounded_time
from stores.objects.classes import AnnotationSpec, read_spec
from stores.query.fields import Field, FieldTable, Kind
from stores.query.index_use import IndexedFields
from stores.refs.store import Budget, Content, read_targets

REFS: Final = ("annotation_ref", "runnable_ref", "call_ref", "trigger_ref")
"""The optional refs of feedback."""

FEEDBACK_FIELDS: Final = FieldTable(
    [
        Field("id", "id", optional=False),
        Field("project_id", "project_id", optional=False),
        Field("weave_ref", "weave_ref", optional=False),
        Field("creator", "creator"),
        Field("created_at", "created_at", Kind.TIME, optional=False),
        Field("feedback_type", "feedback_type", optional=False, low_cardinality=True),
        Field("payload", "payload", Kind.JSON, text_path="json.payload"),
        *(Field(name, name) for name in REFS),
        Field("wb_user_id", "wb_user_id", optional=False),
    ]
)

INDEXED_FEEDBACK_FIELDS: Final = IndexedFields(FEEDBACK_FIELDS, "feedback")


MAX_PAYLOAD_BYTES: Final = 1024 * 1024
"""Limit on a payload's compact JSON text, including what LoomQL adds, in bytes."""

MAX_REACTION: Final = 1024
_SKIN_TONES: Final = re.compile("[\U0001f3fb-\U0001f3ff]")
REACTION: Final = "wandb.reaction.1"
NOTE: Final = "wandb.note.1"
ANNOTATION: Final = "wandb.annotation"
RUNNABLE: Final = "wandb.runnable"
MAX_NOTE: Final = 1024

_REF_KINDS: Final = {
    "annotation_ref": ("object",),
    "runnable_ref": ("object", "op"),
    "call_ref": ("call",),
    "trigger_ref": ("object", "op", "table", "call"),
}

_SPEC: Final = AnnotationSpec.__name__

Payload = dict[str, Any]

_Parsed = dict[str, refs.Ref]
"""Optional refs of feedback, by field name."""


@dataclass(slots=True)
class NewFeedback:
    """Feedback about a ref or any other text; the payload is a JSON object."""

    project_id: str
    weave_ref: str
    feedback_type: str
    payload: object
    id: str | None = None
    creator: str | None = None
    annotation_ref: str | None = None
    runnable_ref: str | None = None
    call_ref: str | None = None
    trigger_ref: str | None = None
    wb_user_id: str | None = None
    created_at: int | None = None
    """Creation time in microseconds since the epoch; the current time if None."""
    takes_call_id: bool = False
    """True if `weave_ref` must be a ref or the bare id of a call of the project; false if it may be any text."""
    is_named: bool = False
    """True if the client chose the id, so feedback with this id may exist."""
    text: str = ""
    """The payload's JSON text, set by `checked`."""

    def checked(self) -> "NewFeedback":
        """Validate in place; set a missing id, and the payload as stored. Annotation specs are not checked here.

        Raises:
            BadInputError: a field is invalid; the error names it.
            PayloadTooLargeError: the payload is too large.
        """
        ids.check_project_id(self.project_id)
        if self.id is not None:
            check_id(self.id, "id", "leave it out to get a new id")
        for name in ("weave_ref", "feedback_type", "creator", "wb_user_id", *REFS):
            check_length(getattr(self, name), MAX_NAME, name)
        refs.check_external(self.weave_ref, "weave_ref")
        if self.takes_call_id:
            self.weave_ref = _ref_of(self.project_id, self.weave_ref)
        check_object(self.payload, "payload")
        payload = cast("Payload", self.payload)
        self.text = _text(payload)
        completed = _checked_payload(self.project_id, self.feedback_type, payload, self.refs)
        if completed is not payload:
            self.payload, self.text = completed, _text(completed)
        self.is_named = self.id is not None
        self.id = ids.new_id() if self.id is None else self.id
        self.wb_user_id = self.wb_user_id or LOCAL_USER
        return self

    @property
    def refs(self) -> dict[str, str]:
        """The optional refs, without `weave_ref`."""
        return {name: text for name in REFS if (text := getattr(self, name)) is not None}


def check_id(feedback_id: str, argument: str, if_empty: str) -> None:
    """Check an id sent by a client; `if_empty` says what to do instead of sending an empty one.

    Raises:
        BadInputError: it is empty or too long.
    """
    if not feedback_id:
        raise BadInputError(f"is empty; {if_empty}", argument)
    check_length(feedback_id, ids.MAX_ID, argument)


def _ref_of(project_id: str, text: str) -> str:
    """Return a ref unchanged, and convert the bare id of a call to its ref.

    Raises:
        BadInputError: the text is neither.
    """
    if text.startswith((refs.SCHEME, refs.ARTIFACT_SCHEME)):
        if not refs.is_ref(text) or refs.kind_of(text) == "call":
            with ErrorsAt("weave_ref"):
                refs.parse_entity(text)
        return text
    call = refs.call_ref({"project_id": project_id, "id": text})
    # A call id may contain a slash, but a call ref must not.
    if not ids.is_call_id(text) or not refs.is_ref(call):
        raise BadInputError(
            f"{text[:200]!r} is neither a ref nor a call id; use a ref, such as "
            f"{refs.SCHEME}{project_id}/call/<id>, or a bare call id: a lowercase UUID or {ids.SPAN_ID_LENGTH} "
            "lowercase characters",
            "weave_ref",
        )
    return call


def _text(payload: Payload) -> str:
    """Encode a payload.

    Raises:
        PayloadTooLargeError: it is longer than `MAX_PAYLOAD_BYTES`.
        BadInputError: it exceeds the JSON limits, or a string in it uses the reserved scheme of refs.
    """
    with ErrorsAt("payload"):
        text = codec.encode(payload)
        if ":///" in text:
            refs.collect(payload)
    size = len(text.encode())
    if size > MAX_PAYLOAD_BYTES:
        raise PayloadTooLargeError(
            f"takes {size:,} bytes as JSON, including fields that the server adds; the limit is {MAX_PAYLOAD_BYTES:,}. "
            "Keep large content in files or objects and refer to it",
            "payload",
        )
    return text


def _completed_reaction(payload: Payload) -> Payload:
    """Return the payload with `alias`, `detoned` and `detoned_alias` of its `emoji`; other keys stay.

    One emoji may be several characters, such as a flag, a family or a skin tone. Surrounding text is allowed.

    Raises:
        BadInputError: there is not exactly one emoji.
    """
    text = payload.get("emoji")
    if not isinstance(text, str):
        raise BadInputError("is required: a string with one emoji", "payload.$.emoji")
    check_length(text, MAX_REACTION, "payload.$.emoji")
    count = sum(1 for _ in emoji.analyze(text, join_emoji=True))
    if count != 1:
        raise BadInputError(f"has {count} emoji; send exactly one", "payload.$.emoji")
    detoned = _SKIN_TONES.sub("", text) or text
    return payload | {"alias": emoji.demojize(text), "detoned": detoned, "detoned_alias": emoji.demojize(detoned)}


def _checked_payload(project_id: str, feedback_type: str, payload: Payload, given: dict[str, str]) -> Payload:
    """Return the payload as stored: a reaction is completed, any other payload is unchanged.

    It does not check that an annotation's spec exists or allows the value.

    Raises:
        BadInputError: the payload or a ref is invalid for the type.
    """
    if feedback_type == REACTION:
        payload = _completed_reaction(payload)
    elif feedback_type == NOTE:
        note = payload.get("note")
        if not isinstance(note, str) or not note:
            raise BadInputError(f"is required: a string of 1 to {MAX_NOTE:,} characters", "payload.$.note")
        check_length(note, MAX_NOTE, "payload.$.note")
    parsed = _parsed(given)
    if is_annotation(feedback_type):
        _check_annotation(project_id, feedback_type, payload, parsed)
        return payload
    if "annotation_ref" in given:
        raise BadInputError(f"is only for feedback of type {ANNOTATION}.<name>; leave it out", "annotation_ref")
    if feedback_type.startswith(RUNNABLE):
        _check_runnable(feedback_type, payload, parsed)
        return payload
    for argument in ("runnable_ref", "call_ref", "trigger_ref"):
        if argument in given:
            raise BadInputError(f"is not allowed for feedback of type {feedback_type[:100]!r}; leave it out", argument)
    return payload


def is_annotation(feedback_type: str) -> bool:
    """Return True if feedback of this type is checked against an annotation spec."""
    return feedback_type.startswith(ANNOTATION)


def _check_annotation(project_id: str, feedback_type: str, payload: Payload, parsed: _Parsed) -> None:
    name = _name(feedback_type, ANNOTATION)
    ref = parsed.get("annotation_ref")
    if not ref:
        raise BadInputError("is required: the ref of the AnnotationSpec for the value", "annotation_ref")
    if ref.project_id != project_id:
        message = f"leads into the project {ref.project_id}; use a spec of the annotation's project, {project_id}"
        raise BadInputError(message, "annotation_ref")
    if ref.steps or ref.version in refs.NO_DIGESTS:
        raise BadInputError("must identify a version by its digest, without a path after it", "annotation_ref")
    _check_name(ref, name, feedback_type, "annotation_ref")
    if "value" not in payload:
        raise BadInputError('has no "value"; annotations need one', "payload")


def _check_runnable(feedback_type: str, payload: Payload, parsed: _Parsed) -> None:
    name = _name(feedback_type, RUNNABLE)
    ref = parsed.get("runnable_ref")
    if not ref:
        raise BadInputError("is required: the ref of the object or op that made the output", "runnable_ref")
    _check_name(ref, name, feedback_type, "runnable_ref")
    if ref.kind == "op" and "call_ref" not in parsed:
        raise BadInputError("is required if runnableRef is the ref of an op: the ref of the op's call", "call_ref")
    if "output" not in payload:
        raise BadInputError('has no "output"; runnables need one', "payload")


def _name(feedback_type: str, kind: str) -> str:
    """Return the name in `<kind>.<name>`."""
    dot, name = feedback_type[len(kind) : len(kind) + 1], feedback_type[len(kind) + 1 :]
    if dot != "." or not name:
        message = f"{feedback_type[:100]!r} must be {kind}.<name>, with the name of the object in the ref"
        raise BadInputError(message, "feedback_type")
    return name


def _check_name(ref: refs.Ref, name: str, feedback_type: str, argument: str) -> None:
    if ref.name != name:
        message = f"leads to {ref.name[:128]!r}, but feedbackType {feedback_type[:200]!r} names {name[:128]!r}"
        raise BadInputError(message, argument)


def _parsed(given: dict[str, str]) -> _Parsed:
    parsed: _Parsed = {}
    for argument, text in given.items():
        with ErrorsAt(argument):
            refs.check_external(text)
            parsed[argument] = refs.parse(text)
        if parsed[argument].kind not in _REF_KINDS[argument]:
            wanted = {"annotation_ref": "an object", "runnable_ref": "an object or op"}.get(argument, "a call")
            raise BadInputError(f"must be the ref of {wanted}, not of kind {parsed[argument].kind}", argument)
    return parsed


async def check_annotations(database: Database, feedback: Mapping[str, NewFeedback]) -> None:
    """Check the annotations among validated feedback against their specs; keys are argument names.

    Raises:
        NotFoundError: a spec does not exist.
        BadInputError: a ref leads to another object or an invalid spec, or a value violates its schema; the error names
            the path.
    """
    annotations = {at: new for at, new in feedback.items() if is_annotation(new.feedback_type)}
    if not annotations:
        return
    specs = {refs.parse(str(new.annotation_ref)) for new in annotations.values()}
    contents = await read_targets(database, set(specs), Budget())
    texts = {str(spec): contents.get(spec) for spec in specs}
    # A schema check may be slow, so a thread runs it.
    await asyncio.to_thread(_check_all, [(at, new, texts[str(new.annotation_ref)]) for at, new in annotations.items()])


def _check_all(annotations: Iterable[tuple[str, NewFeedback, Content | None]]) -> None:
    with bounded_time():
        for at, new, spec in annotations:
            with ErrorsAt(at):
                _check_value(new, spec)


def _check_value(new: NewFeedback, spec: Content | None) -> None:
    if spec is None or spec.text is None:
        reason = "is deleted" if spec else f"is not in the project {new.project_id}"
        raise NotFoundError(f"leads to an object that {reason}; create the {_SPEC} first", "annotation_ref")
    with ErrorsAt("annotation_ref"):
        schema = _schema(spec.text)
    payload = cast("dict[str, Any]", new.payload)  # checked feedback is an object with a value
    try:
        with ErrorsAt("payload.$.value"):
            schema.check(payload["value"])
    except SchemaFaultError as error:
        raise _fault(error).prefixed("annotation_ref") from None


@lru_cache(64)
def _schema(spec: str) -> JsonSchema:
    value = read_spec(spec, _SPEC)
    try:
        return JsonSchema(value.get("field_schema", {}))
    except SchemaFaultError as error:
        raise _fault(error) from None


def _fault(error: SchemaFaultError) -> BadInputError:
    return BadInputError(f"leads to a spec whose field_schema {error.message}")
