"""ActionSpec objects, read by ref and validated again."""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from stores import refs
from stores.errors import BadInputError, StoreError
from stores.json import AnyJson, codec
from stores.objects import ObjectsStore
from stores.objects.builtin import ActionSpec, without_type_marks
from stores.objects.classes import OBJECT, classes_of
from stores.objects.documents import named
from stores.paging import JsonField

MAX_SPEC: Final = 256 * 1024
"""Limit on the characters of a spec's JSON text."""

_CLASS: Final = ActionSpec.__name__
_VAL: Final = JsonField("val")
_REF_EXAMPLE: Final = f"{refs.SCHEME}entity/project/object/name:digest"


@dataclass(frozen=True, slots=True)
class Action:
    """An ActionSpec with its ref and the name of its object."""

    ref: str
    name: str
    spec: ActionSpec


async def read_action(objects: ObjectsStore, project_id: str, ref: str) -> Action:
    """Read the action that a ref leads to.

    Raises:
        BadInputError: it is not the ref of an object version of this project, or the object is not an ActionSpec.
        NotFoundError: there is no such version.
        ObjectDeletedError: the version is deleted.
    """
    name, digest = _parse_action_ref(project_id, ref)
    try:
        row = await objects.one(project_id, name, digest, {"val"}, OBJECT)
    except StoreError as error:
        raise error.relative_to(error.argument or "").prefixed("action_ref") from None
    return Action(ref, name, _spec(_VAL.text(row) or ""))


def _parse_action_ref(project_id: str, text: str) -> tuple[str, str]:
    """Return the object name and the digest of an action ref."""
    try:
        refs.check_external(text)
        ref = refs.parse(text)
    except StoreError as error:
        raise error.prefixed("action_ref") from None
    if ref.kind != OBJECT or ref.steps or named(str(ref.version)) != {"digest": ref.version}:
        raise BadInputError(f"must be the ref of one version of an object, such as {_REF_EXAMPLE}", "action_ref")
    if ref.project_id != project_id:
        message = f"leads into the project {ref.project_id}; use an action of the calls' project, {project_id}"
        raise BadInputError(message, "action_ref")
    return ref.name, str(ref.version)


def _spec(text: str) -> ActionSpec:
    if len(text) > MAX_SPEC:
        message = f"leads to an object of {len(text):,} characters; the limit for specs is {MAX_SPEC:,}"
        raise BadInputError(message, "action_ref")
    value = codec.loads(text.encode())
    if not isinstance(value, dict) or _CLASS not in (classes_of(value) or ()):
        message = f"leads to an object that is not an {_CLASS}; create it with that builtinObjectClass"
        raise BadInputError(message, "action_ref")
    try:
        return ActionSpec.model_validate(_fields(value) | {"config": _fields(value.get("config"))})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(map(str, fault["loc"]))[:200]
        reason = fault["msg"].removeprefix("Value error, ")[:300]
        message = f"leads to an invalid {_CLASS}, at {path}: {reason}"
        raise BadInputError(message, "action_ref") from None


def _fields(value: AnyJson) -> AnyJson:
    """Remove the keys that Weave's client and LoomQL add to the fields of a value."""
    fields = without_type_marks(value)
    return {name: inner for name, inner in fields.items() if name != "ref"} if isinstance(fields, dict) else fields
