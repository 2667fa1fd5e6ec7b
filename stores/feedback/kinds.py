"""Feedback types with validation rules, and the refs that each may have; other types have no rules."""

import re
from collections.abc import Container
from typing import Any, Final

import emoji

from stores import refs
from stores.errors import BadInputError, StoreError

MAX_REACTION: Final = 1024
_SKIN_TONES: Final = re.compile("[\U0001f3fb-\U0001f3ff]")
REACTION: Final = "wandb.reaction.1"
NOTE: Final = "wandb.note.1"
ANNOTATION: Final = "wandb.annotation"
RUNNABLE: Final = "wandb.runnable"
MAX_NOTE: Final = 1024
_NOT_DIGESTS: Final = ("latest", "*")
_RUNNABLE_REFS: Final = ("runnable_ref", "call_ref", "trigger_ref")

Refs = dict[str, str]
"""Optional refs of feedback, by field name."""

_Parsed = dict[str, refs.Ref]

_KINDS: Final[dict[str, Container[str]]] = {
    "annotation_ref": ("object",),
    "runnable_ref": ("object", "op"),
    "call_ref": ("call",),
    "trigger_ref": ("object", "op", "table", "call"),
}


def _completed_reaction(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload with `alias`, `detoned` and `detoned_alias` of its `emoji`; other keys stay.

    One emoji may be several characters, such as a flag, a family or a skin tone. Surrounding text is allowed.

    Raises:
        BadInputError: there is not exactly one emoji.
    """
    text = payload.get("emoji")
    if not isinstance(text, str):
        raise BadInputError("is required: a string with one emoji", "payload.$.emoji")
    if len(text) > MAX_REACTION:
        raise BadInputError(f"has {len(text):,} characters; the limit is {MAX_REACTION:,}", "payload.$.emoji")
    count = sum(1 for _ in emoji.analyze(text, join_emoji=True))
    if count != 1:
        raise BadInputError(f"has {count} emoji; send exactly one", "payload.$.emoji")
    detoned = _SKIN_TONES.sub("", text) or text
    return payload | {"alias": emoji.demojize(text), "detoned": detoned, "detoned_alias": emoji.demojize(detoned)}


def checked_payload(project_id: str, feedback_type: str, payload: dict[str, Any], given: Refs) -> dict[str, Any]:
    """Return the payload as stored: a reaction is completed, any other payload is unchanged.

    It does not check that an annotation's spec exists or allows the value.

    Raises:
        BadInputError: the payload or a ref is invalid for the type.
    """
    if feedback_type == REACTION:
        payload = _completed_reaction(payload)
    elif feedback_type == NOTE:
        _check_note(payload)
    parsed = _parsed(given)
    if is_annotation(feedback_type):
        _check_annotation(project_id, feedback_type, payload, parsed)
        return payload
    if "annotation_ref" in given:
        raise BadInputError(f"is only for feedback of type {ANNOTATION}.<name>; leave it out", "annotation_ref")
    if feedback_type.startswith(RUNNABLE):
        _check_runnable(feedback_type, payload, parsed)
        return payload
    for argument in _RUNNABLE_REFS:
        if argument in given:
            raise BadInputError(f"is not allowed for feedback of type {feedback_type[:100]!r}; leave it out", argument)
    return payload


def is_annotation(feedback_type: str) -> bool:
    """Return True if feedback of this type is checked against an annotation spec."""
    return feedback_type.startswith(ANNOTATION)


def _check_note(payload: dict[str, Any]) -> None:
    note = payload.get("note")
    if not isinstance(note, str) or not note:
        raise BadInputError(f"is required: a string of 1 to {MAX_NOTE:,} characters", "payload.$.note")
    if len(note) > MAX_NOTE:
        raise BadInputError(f"has {len(note):,} characters; the limit is {MAX_NOTE:,}", "payload.$.note")


def _check_annotation(
    project_id: str, feedback_type: str, payload: dict[str, Any], parsed: dict[str, refs.Ref]
) -> None:
    name = _name(feedback_type, ANNOTATION)
    ref = parsed.get("annotation_ref")
    if not ref:
        raise BadInputError("is required: the ref of the AnnotationSpec for the value", "annotation_ref")
    if ref.project_id != project_id:
        message = f"leads into the project {ref.project_id}; use a spec of the annotation's project, {project_id}"
        raise BadInputError(message, "annotation_ref")
    if ref.steps or ref.version in _NOT_DIGESTS:
        raise BadInputError("must identify a version by its digest, without a path after it", "annotation_ref")
    _check_name(ref, name, feedback_type, "annotation_ref")
    if "value" not in payload:
        raise BadInputError('has no "value"; annotations need one', "payload")


def _check_runnable(feedback_type: str, payload: dict[str, Any], parsed: _Parsed) -> None:
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


def _parsed(given: Refs) -> _Parsed:
    parsed: _Parsed = {}
    for argument, text in given.items():
        try:
            refs.check_external(text)
            parsed[argument] = refs.parse(text)
        except StoreError as error:
            raise error.prefixed(argument) from None
        if parsed[argument].kind not in _KINDS[argument]:
            wanted = {"annotation_ref": "an object", "runnable_ref": "an object or op"}.get(argument, "a call")
            raise BadInputError(f"must be the ref of {wanted}, not of kind {parsed[argument].kind}", argument)
    return parsed
