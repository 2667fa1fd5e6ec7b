"""Validation of annotations against the JSON Schema of their spec, an object of the project."""

import asyncio
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, cast

from stores import refs
from stores.errors import BadInputError, ErrorsAt, NotFoundError
from stores.feedback.inputs import NewFeedback, is_annotation
from stores.json import codec
from stores.json_schema import JsonSchema, SchemaFaultError, bounded_time
from stores.objects.builtin import AnnotationSpec
from stores.objects.classes import classes_of
from stores.refs.store import Budget, Content, TargetReader

MAX_SPEC: Final = 256 * 1024
"""Limit on the characters of a spec's JSON text."""

_MAX_CACHED: Final = 64
_CLASS: Final = AnnotationSpec.__name__


async def check_annotations(sources: TargetReader, feedback: Mapping[str, NewFeedback]) -> None:
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
    contents = await sources.read_targets(set(specs), Budget())
    texts = {str(spec): contents.get(spec) for spec in specs}
    # A schema check may be slow, so a thread runs it.
    await asyncio.to_thread(_check_all, [(at, new, texts[str(new.annotation_ref)]) for at, new in annotations.items()])


def _check_all(annotations: Iterable[tuple[str, NewFeedback, Content | None]]) -> None:
    with bounded_time():
        for at, new, spec in annotations:
            with ErrorsAt(at):
                _check(new, spec)


def _check(new: NewFeedback, spec: Content | None) -> None:
    if spec is None or spec.text is None:
        reason = "is deleted" if spec else f"is not in the project {new.project_id}"
        raise NotFoundError(f"leads to an object that {reason}; create the {_CLASS} first", "annotation_ref")
    with ErrorsAt("annotation_ref"):
        schema = _schema(spec.text)
    payload = cast("dict[str, Any]", new.payload)  # checked feedback is an object with a value
    try:
        with ErrorsAt("payload.$.value"):
            schema.check(payload["value"])
    except SchemaFaultError as error:
        raise _fault(error).prefixed("annotation_ref") from None


@lru_cache(_MAX_CACHED)
def _schema(spec: str) -> JsonSchema:
    if len(spec) > MAX_SPEC:
        raise BadInputError(f"leads to an object of {len(spec):,} characters; the limit for specs is {MAX_SPEC:,}")
    value = codec.loads(spec.encode())
    if not isinstance(value, dict) or _CLASS not in (classes_of(value) or ()):
        raise BadInputError(f"leads to an object that is not an {_CLASS}; create it with that builtinObjectClass")
    try:
        return JsonSchema(value.get("field_schema", {}))
    except SchemaFaultError as error:
        raise _fault(error) from None


def _fault(error: SchemaFaultError) -> BadInputError:
    return BadInputError(f"leads to a spec whose field_schema {error.message}")
