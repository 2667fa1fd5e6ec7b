"""The specs of actions: read by their refs, and held to their class once more."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from stores import refs
from stores.errors import BadInputError, StoreError
from stores.json import codec
from stores.objects import ObjectsStore
from stores.objects.builtin.actions import ActionSpec
from stores.objects.classes import OBJECT, classes_of
from stores.objects.versions import named
from stores.row_fields import JsonField

MAX_SPEC: Final = 256 * 1024
"""Characters of the JSON text of a spec."""

_CLASS: Final = ActionSpec.__name__
_MARKS: Final = ("_type", "_class_name", "_bases", "ref")
"""What Weave's client and LoomQL write into a value beside its fields."""
_VAL: Final = JsonField("val")
_FORM: Final = f"{refs.SCHEME}entity/project/object/name:digest"


@dataclass(frozen=True, slots=True)
class Action:
    """A spec and where it is: `ref` leads to it, and `name` is its object's."""

    ref: str
    name: str
    spec: ActionSpec


async def read_action(objects: ObjectsStore, project_id: str, ref: str) -> Action:
    """The action that a ref of the project leads to.

    Raises:
        BadInputError: it is no ref to a version of an object of the project, or that is no ActionSpec.
        NotFoundError: there is no such version.
        ObjectDeletedError: it is deleted.
    """
    name, digest = _named(project_id, ref)
    try:
        row = await objects.one(project_id, name, digest, {"val"}, OBJECT)
    except StoreError as error:
        raise error.relative_to(error.argument or "").prefixed("action_ref") from None
    return Action(ref, name, _spec(_VAL.text(row) or ""))


def _named(project_id: str, text: str) -> tuple[str, str]:
    """The object's name and the version's digest."""
    try:
        refs.check_external(text)
        ref = refs.parse(text)
    except StoreError as error:
        raise error.prefixed("action_ref") from None
    if ref.kind != OBJECT or ref.edges or named(str(ref.version)) != {"digest": ref.version}:
        raise BadInputError(f"must be the ref of one version of an object, written {_FORM}", "action_ref")
    if ref.project_id != project_id:
        message = f"leads into the project {ref.project_id}; an action is an object of its calls' project, {project_id}"
        raise BadInputError(message, "action_ref")
    return ref.name, str(ref.version)


def _spec(text: str) -> ActionSpec:
    if len(text) > MAX_SPEC:
        message = f"leads to an object of {len(text):,} characters; the limit for specs is {MAX_SPEC:,}"
        raise BadInputError(message, "action_ref")
    value = codec.loads(text.encode())
    if not isinstance(value, dict) or _CLASS not in (classes_of(value) or ()):
        message = f"leads to an object that is no {_CLASS}; create it with that builtinObjectClass"
        raise BadInputError(message, "action_ref")
    try:
        return ActionSpec.model_validate(_unmarked(value) | {"config": _unmarked(value.get("config"))})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))[:200]
        reason = fault["msg"].removeprefix("Value error, ")[:300]
        message = f"leads to an {_CLASS} that is not as that class has it, at {place}: {reason}"
        raise BadInputError(message, "action_ref") from None


def _unmarked(value: Any) -> Any:  # noqa: ANN401 -- any JSON
    if not isinstance(value, dict):
        return value
    return {key: inner for key, inner in value.items() if key not in _MARKS}
