"""The kinds of feedback that have rules, and which refs each may carry; any other text is a kind without any."""

from collections.abc import Container
from typing import Any, Final

from stores import refs
from stores.errors import BadInputError, StoreError
from stores.feedback import reactions

REACTION: Final = "wandb.reaction.1"
NOTE: Final = "wandb.note.1"
ANNOTATION: Final = "wandb.annotation"
RUNNABLE: Final = "wandb.runnable"

MAX_NOTE: Final = 1024

_NO_DIGESTS: Final = ("latest", "*")
_OF_RUNNABLES: Final = ("runnable_ref", "call_ref", "trigger_ref")

Refs = dict[str, str]
"""The refs that feedback carries beside the one that it is about, by the names of its fields."""

_Parsed = dict[str, refs.Ref]


def checked_payload(project_id: str, feedback_type: str, payload: dict[str, Any], given: Refs) -> dict[str, Any]:
    """The payload as it is stored: that of a reaction completed, any other as it came.

    Whether an annotation's spec is there, and its value is as that has it, is not asked here.

    Raises:
        BadInputError: the payload or a ref breaks a rule of the kind.
    """
    if feedback_type == REACTION:
        payload = reactions.completed(payload)
    elif feedback_type == NOTE:
        _check_note(payload)
    parsed = _parsed(given)
    if is_annotation(feedback_type):
        _check_annotation(project_id, feedback_type, payload, parsed)
        return payload
    if "annotation_ref" in given:
        raise BadInputError(f"is for feedback of the type {ANNOTATION}.<name> only; leave it out", "annotation_ref")
    if feedback_type.startswith(RUNNABLE):
        _check_runnable(feedback_type, payload, parsed)
        return payload
    for argument in _OF_RUNNABLES:
        if argument in given:
            raise BadInputError(f"is not for feedback of the type {feedback_type[:100]!r}; leave it out", argument)
    return payload


def is_annotation(feedback_type: str) -> bool:
    """Whether feedback of a type is held to the spec of an annotation."""
    return feedback_type.startswith(ANNOTATION)


def _check_note(payload: dict[str, Any]) -> None:
    note = payload.get("note")
    if not isinstance(note, str) or not note:
        raise BadInputError(f"is required: a text of 1 to {MAX_NOTE:,} characters", "payload.$.note")
    if len(note) > MAX_NOTE:
        raise BadInputError(f"has {len(note):,} characters; the limit is {MAX_NOTE:,}", "payload.$.note")


def _check_annotation(
    project_id: str, feedback_type: str, payload: dict[str, Any], parsed: dict[str, refs.Ref]
) -> None:
    name = _name(feedback_type, ANNOTATION)
    ref = parsed.get("annotation_ref")
    if not ref:
        raise BadInputError("is required: the ref of the AnnotationSpec that the value is held to", "annotation_ref")
    if ref.project_id != project_id:
        message = f"leads into the project {ref.project_id}; an annotation's spec is in its own project, {project_id}"
        raise BadInputError(message, "annotation_ref")
    if ref.edges or ref.version in _NO_DIGESTS:
        raise BadInputError("must name a version by its digest, without anything after it", "annotation_ref")
    _check_name(ref, name, feedback_type, "annotation_ref")
    if "value" not in payload:
        raise BadInputError('has no "value", which an annotation\'s spec is about', "payload")


def _check_runnable(feedback_type: str, payload: dict[str, Any], parsed: _Parsed) -> None:
    name = _name(feedback_type, RUNNABLE)
    ref = parsed.get("runnable_ref")
    if not ref:
        raise BadInputError("is required: the ref of the object or op that gave the output", "runnable_ref")
    _check_name(ref, name, feedback_type, "runnable_ref")
    if ref.kind == "op" and "call_ref" not in parsed:
        raise BadInputError("is required where runnableRef is the ref of an op: the ref of the op's call", "call_ref")
    if "output" not in payload:
        raise BadInputError('has no "output", which is what the runnable gave', "payload")


def _name(feedback_type: str, kind: str) -> str:
    """The name in `<kind>.<name>`."""
    dot, name = feedback_type[len(kind) : len(kind) + 1], feedback_type[len(kind) + 1 :]
    if dot != "." or not name:
        message = f"{feedback_type[:100]!r} must be {kind}.<name>, with the name of the object that the ref leads to"
        raise BadInputError(message, "feedback_type")
    return name


def _check_name(ref: refs.Ref, name: str, feedback_type: str, argument: str) -> None:
    if ref.name != name:
        message = f"leads to {ref.name[:128]!r}, and feedbackType {feedback_type[:200]!r} says {name[:128]!r}"
        raise BadInputError(message, argument)


_KINDS: Final[dict[str, Container[str]]] = {
    "annotation_ref": ("object",),
    "runnable_ref": ("object", "op"),
    "call_ref": ("call",),
    "trigger_ref": ("object", "op", "table", "call"),
}


def _parsed(given: Refs) -> _Parsed:
    found: _Parsed = {}
    for argument, text in given.items():
        try:
            refs.check_external(text)
            found[argument] = refs.parse(text)
        except StoreError as error:
            raise error.prefixed(argument) from None
        if found[argument].kind not in _KINDS[argument]:
            wanted = {"annotation_ref": "an object", "runnable_ref": "an object or op"}.get(argument, "a call")
            raise BadInputError(f"must be the ref of {wanted}, not of kind {found[argument].kind}", argument)
    return found
