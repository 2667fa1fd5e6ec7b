"""Classes that clients' tests use."""

from pydantic import Field

from stores.objects.builtin.base import BaseObject, Strict


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
