"""Helpers that write queries in the JSON form and convert them to the typed form."""

from typing import Any

Tree = Any


def field(name: str) -> Tree:
    """Return a reference to a field."""
    return {"$getField": name}


def lit(value: object) -> Tree:
    """Return a literal."""
    return {"$literal": value}


def eq(name: str, value: object) -> Tree:
    """Return the operation that a field equals a literal."""
    return {"$eq": [field(name), lit(value)]}


def typed(tree: Tree) -> Tree:
    """Convert an operation or operand to the typed form, as variables of a GraphQL request contain it."""
    [(name, inner)] = tree.items()
    name = name.removeprefix("$")
    match name, inner:
        case "literal", None:
            return {"nullLiteral": True}
        case (("literal" | "getField"), _):
            return {name: inner}
        case (("isNull" | "exists"), operand):
            return {name: typed(operand)}
        case "in", [operand, members]:
            return {name: {"input": typed(operand), "values": [typed(member) for member in members]}}
        case "convert", {"input": operand, "to": to}:
            return {name: {"input": typed(operand), "to": to.upper()}}
        case "contains", {"input": operand, "substr": substr}:
            parts = {"input": typed(operand), "substr": typed(substr)}
            return {name: parts | ({"caseInsensitive": inner["case_insensitive"]} if len(inner) == 3 else {})}
        case _:
            return {name: [typed(operand) for operand in inner]}
