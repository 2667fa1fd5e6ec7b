"""Classes of values, read from the type marks of Weave's client; and the builtin classes that LoomQL understands.

Values of builtin classes are validated and completed. Names, fields and defaults are Weave's, so that values written by
its client and UI are valid.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, JsonValue, ValidationError, field_validator

from stores import json_schema
from stores.errors import BadInputError
from stores.json import AnyJson, codec, paths

Kind = Literal["object", "op"]

OBJECT: Final[Kind] = "object"
OP: Final[Kind] = "op"

_ROOTS: Final = ("Object", "BaseObject")


class Classes(NamedTuple):
    """The class of a value (`leaf`), and its ancestor directly below Weave's `Object` (`base`)."""

    base: str
    leaf: str


def kind_of(value: object) -> Kind:
    """Return `op` for the description of a function, else `object`."""
    if not isinstance(value, dict) or "_type" not in value:
        return OBJECT
    custom = value.get("weave_type")
    named = custom.get("type") if isinstance(custom, dict) and "type" in custom else value["_type"]
    return OP if named == "Op" else OBJECT


def classes_of(value: object) -> Classes | None:
    """Return the classes of a value whose `_bases` end with Weave's own two; None for other values."""
    if not isinstance(value, dict):
        return None
    bases, leaf = value.get("_bases"), value.get("_class_name")
    if not isinstance(bases, list) or not isinstance(leaf, str):
        return None
    match bases:
        case [*_, str(base), root, "BaseModel"] if root in _ROOTS:
            return Classes(base, leaf)
        case [root, "BaseModel"] if root in _ROOTS:
            return Classes(leaf, leaf)
        case _:
            return None


JsonObject = dict[str, JsonValue]
_LISTED: Final = 5

MAX_SPEC: Final = 256 * 1024
"""Limit on the characters of a spec's JSON text."""

_LONGEST_PATH: Final = 200


class Strict(BaseModel, extra="forbid", allow_inf_nan=False, defer_build=True):
    """Settings of all classes and their parts; not listed in `_bases`.

    Numbers may be strings, but not non-finite ones.
    """


class BaseObject(Strict):
    """An object of a built-in class."""

    name: str | None = None
    description: str | None = None


def _checked(schema: JsonObject, check: Callable[[JsonObject], object]) -> JsonObject:
    try:
        with json_schema.bounded_time():
            check(schema)
    except json_schema.SchemaFaultError as error:
        raise ValueError(f"it {error.message}") from None
    return schema


JsonSchema = Annotated[JsonObject, AfterValidator(lambda schema: _checked(schema, json_schema.check_schema))]
"""A schema that other programs validate values with; its patterns and references are not checked."""

OwnJsonSchema = Annotated[JsonObject, AfterValidator(lambda schema: _checked(schema, json_schema.JsonSchema))]
"""A schema that LoomQL itself validates values with."""


class LlmJudgeActionConfig(Strict):
    """Let a model judge the call; its response follows a JSON Schema."""

    action_type: Literal["llm_judge"] = "llm_judge"
    model: Literal["gpt-4o", "gpt-4o-mini"]
    prompt: str
    response_schema: JsonSchema


class ContainsWordsActionConfig(Strict):
    """Search the call's output for words."""

    action_type: Literal["contains_words"] = "contains_words"
    target_words: list[str]


class ActionSpec(BaseObject):
    """An action and its configuration."""

    name: str | None = Field(default=None, validate_default=True)
    config: Annotated[LlmJudgeActionConfig | ContainsWordsActionConfig, Field(discriminator="action_type")]

    @field_validator("name", mode="after")
    @classmethod
    def _check_name(cls, name: str | None) -> str | None:
        if name is None:
            raise ValueError("an action needs a name")
        return name


class AnnotationSpec(BaseObject):
    """One kind of annotation: the JSON Schema of its values, and the ops whose calls it applies to."""

    field_schema: OwnJsonSchema = Field(default_factory=dict)
    unique_among_creators: bool = False
    op_scope: list[str] | None = None


class TestOnlyNestedBaseModel(Strict):
    """A part of an example, one of whose fields has another name in JSON."""

    a: int
    aliased_property: int = Field(alias="aliased_property_alias")


class TestOnlyNestedBaseObject(BaseObject):
    """An example that others point to."""

    b: int


class TestOnlyInheritedBaseObject(TestOnlyNestedBaseObject):
    """An example that descends from another."""

    c: int
    additional_field: str = "default_value"


class TestOnlyExample(BaseObject):
    """An example with a part."""

    primitive: int
    nested_base_model: TestOnlyNestedBaseModel
    nested_base_object: str


class LeaderboardColumn(Strict):
    """One number of one scorer in an evaluation's summary."""

    evaluation_object_ref: str
    scorer_name: str
    summary_metric_path: str
    should_minimize: bool | None = None


class Leaderboard(BaseObject):
    """The columns to compare by."""

    columns: list[LeaderboardColumn]


class Message(Strict):
    """One message of a conversation."""

    role: str
    content: str | list[JsonObject] | None = None
    name: str | None = None
    function_call: JsonObject | None = None
    tool_call_id: str | None = None


class LLMStructuredCompletionModelDefaultParams(Strict):
    """Default parameters of a completion."""

    messages_template: list[Message] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None
    n_times: int | None = None
    functions: list[JsonObject] | None = None
    response_format: Literal["json_object", "json_schema", "text"] | None = None


class Object(Strict):
    """Base class in Weave's client, by its name in `_bases`."""

    name: str | None = None
    description: str | None = None
    ref: None = None
    """Null in stored values: Weave's client sets its ref after publishing the object."""


class Model(Object):
    """Base class of models in Weave's client."""


class LLMStructuredCompletionModel(Model):
    """A model of a provider, named as provider/model or by a ref, with its parameters."""

    llm_model_id: str
    default_params: LLMStructuredCompletionModelDefaultParams = Field(
        default_factory=LLMStructuredCompletionModelDefaultParams
    )


class Provider(BaseObject):
    """API endpoint of models, and the name of its API key."""

    base_url: str
    api_key_name: str
    extra_headers: dict[str, str] = Field(default_factory=dict)
    return_type: Literal["openai"] = "openai"


class ProviderModel(BaseObject):
    """One model of a provider, which is identified by its ref or digest."""

    provider: str
    max_tokens: int


class BaseModelStrict(Strict):
    """Base class in Weave, by its name in `_bases`."""


class CallsFilter(BaseModelStrict):
    """The filter of calls."""

    op_names: list[str] | None = None
    input_refs: list[str] | None = None
    output_refs: list[str] | None = None
    parent_ids: list[str] | None = None
    trace_ids: list[str] | None = None
    call_ids: list[str] | None = None
    thread_ids: list[str] | None = None
    turn_ids: list[str] | None = None
    trace_roots_only: bool | None = None
    wb_user_ids: list[str] | None = None
    wb_run_ids: list[str] | None = None


class Query(BaseModelStrict):
    """A condition of the Query DSL, as JSON."""

    expr: JsonObject = Field(alias="$expr")


class SortBy(BaseModelStrict):
    """One key of a sort."""

    field: str
    direction: Literal["asc", "desc"]


class Pin(Strict):
    """Columns pinned to the left or right."""

    left: list[str]
    right: list[str]


class Column(Strict):
    """One column and its title."""

    path: list[str | int] | None = None
    label: str | None = None


class ChartConfig(Strict):
    """One chart above the list."""

    x_axis: str
    y_axis: str
    plot_type: Literal["scatter", "line", "bar"] | None = None
    bin_count: int | None = None
    aggregation: Literal["average", "sum", "min", "max", "p95", "p99"] | None = None
    group_keys: list[str] | None = None
    custom_name: str | None = None


class SavedViewDefinition(Strict):
    """Content and layout of the view."""

    filter: CallsFilter | None = None
    query: Query | None = None
    cols: dict[str, bool] | None = None
    columns: list[Column] | None = None
    pin: Pin | None = None
    sort_by: list[SortBy] | None = None
    page: int | None = None
    page_size: int | None = None
    charts: list[ChartConfig] | None = None
    dataset_selector: str | None = None
    evaluation_selector: str | None = None


class SavedView(BaseObject):
    """A saved view of traces or evaluations, with a label."""

    view_type: str
    label: str
    definition: SavedViewDefinition


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


def read_spec(text: str, name: str) -> dict[str, Any]:
    """Return the value of an object of a builtin class, from its JSON text; errors are those of a ref that leads to it.

    Raises:
        BadInputError: the text is too long, or the object has another class.
    """
    if len(text) > MAX_SPEC:
        raise BadInputError(f"leads to an object of {len(text):,} characters; the limit for specs is {MAX_SPEC:,}")
    value = codec.loads(text.encode())
    if not isinstance(value, dict) or name not in (classes_of(value) or ()):
        raise BadInputError(f"leads to an object that is not an {name}; create it with that builtinObjectClass")
    return value


def without_type_marks(value: AnyJson) -> AnyJson:
    """Return an object without the keys that Weave's client adds to a value's fields; any other value unchanged."""
    if not isinstance(value, dict):
        return value
    return {name: inner for name, inner in value.items() if name not in ("_type", "_class_name", "_bases")}


def _explained(error: ValidationError, value: object, name: str) -> BadInputError:
    faults = [
        (paths.join(_steps(value, fault["loc"])), fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    path, first = faults[0]
    others = [f"{location[:_LONGEST_PATH]}: {message}" for location, message in faults[1:] if location != path]
    more = f" and {len(others) - _LISTED:,} more" if len(others) > _LISTED else ""
    also = f"; also {'; '.join(others[:_LISTED])}{more}" if others else ""
    at = f"val.$.{path[:_LONGEST_PATH]}" if path else "val"
    return BadInputError(f"is not a valid {name}: {first}{also}", at)


def _steps(value: AnyJson, location: Sequence[int | str]) -> Iterator[str]:
    """Yield the path into a value that pydantic reports, without the names of alternatives."""
    for position, step in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(value, dict) and (step in value or is_last):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            continue
        yield str(step)
