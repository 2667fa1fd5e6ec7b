"""What built-in classes have in common."""

from typing import Annotated

from jsonschema import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for
from pydantic import AfterValidator, BaseModel, JsonValue

JsonObject = dict[str, JsonValue]


class Strict(BaseModel, extra="forbid", allow_inf_nan=False):
    """What holds for all classes and their parts; it is not named in `_bases`.

    Numbers may be written as strings, but not those that JSON has no number for.
    """


class BaseObject(Strict):
    """An object of a built-in class."""

    name: str | None = None
    description: str | None = None


def _check_json_schema(schema: JsonObject) -> JsonObject:
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path))
        raise ValueError(f"no JSON Schema{f' at {place}' if place else ''}: {error.message[:300]}") from None
    except RecursionError:
        raise ValueError("a JSON Schema that nests too deeply") from None
    except AttributeError:
        raise ValueError("no JSON Schema at $schema, which is the address of a draft") from None
    return schema


JsonSchema = Annotated[JsonObject, AfterValidator(_check_json_schema)]
