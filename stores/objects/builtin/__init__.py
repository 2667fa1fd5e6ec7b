"""Builtin classes: objects that LoomQL understands, so it validates and completes their values.

Names, fields and defaults are Weave's, so that values written by its client and UI are valid.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from stores.errors import BadInputError
from stores.json import paths
from stores.objects.builtin.actions import ActionSpec
from stores.objects.builtin.annotations import AnnotationSpec
from stores.objects.builtin.base import Strict
from stores.objects.builtin.examples import (
    TestOnlyExample,
    TestOnlyInheritedBaseObject,
    TestOnlyNestedBaseObject,
)
from stores.objects.builtin.leaderboards import Leaderboard
from stores.objects.builtin.models import LLMStructuredCompletionModel
from stores.objects.builtin.providers import Provider, ProviderModel
from stores.objects.builtin.views import SavedView
from stores.objects.classes import classes_of

BUILTIN_CLASSES: Final[dict[str, type[BaseModel]]] = {
    model.__name__: model
    for model in (
        ActionSpec,
        AnnotationSpec,
        Leaderboard,
        LLMStructuredCompletionModel,
        Provider,
        ProviderModel,
        SavedView,
        TestOnlyExample,
        TestOnlyInheritedBaseObject,
        TestOnlyNestedBaseObject,
    )
}

_LISTED: Final = 5
_LONGEST_PATH: Final = 200


def completed(value: object, name: str, argument: str) -> object:
    """Validate a value of a builtin class; return it with defaults and class marks filled in.

    A value that already has the class marks is returned unchanged.

    Raises:
        BadInputError: the value is invalid, has another class, or the class does not exist.
    """
    classes = classes_of(value)
    if classes:
        if name not in classes:
            raise BadInputError(f"{name!r} is not the class in the value, {classes.leaf}", argument)
        return value
    model = BUILTIN_CLASSES.get(name)
    if model is None:
        raise BadInputError(f"{name[:100]!r} is not a builtin class; use one of {', '.join(BUILTIN_CLASSES)}", argument)
    if not isinstance(value, dict):
        raise BadInputError(f"must be a JSON object for class {name}", "val")
    try:
        return _dump(model.model_validate(value))
    except ValidationError as error:
        raise _explained(error, value, name) from None


def _dump(value: object) -> object:
    """Convert a model to JSON, with Weave's class marks."""
    match value:
        case BaseModel():
            kind = type(value)
            fields = {
                field.serialization_alias or field.alias or name: _dump(getattr(value, name))
                for name, field in kind.model_fields.items()
            }
            bases = [base.__name__ for base in kind.__mro__[1:] if base not in (Strict, object)]
            return {"_type": kind.__name__, **fields, "_class_name": kind.__name__, "_bases": bases}
        case dict():
            return {key: _dump(inner) for key, inner in value.items()}
        case list():
            return [_dump(inner) for inner in value]
        case _:
            return value


def _explained(error: ValidationError, value: object, name: str) -> BadInputError:
    faults = [
        (_path(value, fault["loc"]), fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    path, first = faults[0]
    others = [f"{location[:_LONGEST_PATH]}: {message}" for location, message in faults[1:] if location != path]
    more = f" and {len(others) - _LISTED:,} more" if len(others) > _LISTED else ""
    also = f"; also {'; '.join(others[:_LISTED])}{more}" if others else ""
    at = f"val.$.{path[:_LONGEST_PATH]}" if path else "val"
    return BadInputError(f"is not a valid {name}: {first}{also}", at)


def _path(value: object, location: Sequence[int | str]) -> str:
    """Return the path into a value that pydantic reports; it skips names of alternatives."""
    return paths.join(_steps(value, location))


def _steps(value: Any, location: Sequence[int | str]) -> Iterator[str]:  # noqa: ANN401 -- any JSON
    for position, step in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(value, dict) and (step in value or is_last):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            continue
        yield str(step)
