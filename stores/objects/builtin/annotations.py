"""Annotations: values that people may record about calls, and their schemas."""

from pydantic import Field

from stores.objects.builtin.base import BaseObject, OwnJsonSchema


class AnnotationSpec(BaseObject):
    """One kind of annotation: the JSON Schema of its values, and the ops whose calls it applies to."""

    field_schema: OwnJsonSchema = Field(default_factory=dict)
    unique_among_creators: bool = False
    op_scope: list[str] | None = None
