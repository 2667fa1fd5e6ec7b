"""Kind and class of a value, read from the type marks of Weave's client."""

from typing import Final, Literal, NamedTuple

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
