"""Tests that requests of the Weave API have the fields that clients may set, and no others of the stores' inputs."""

from dataclasses import fields
from typing import Any, Final

import pytest

from app.weave import request_models
from app.weave.request_models import StoreInput
from graphql_schema.objects import ObjectVersionFilter
from graphql_schema.tables import TableRowFilter
from graphql_schema.traces import ThreadsQueryFilter

FIELDS = {
    "Start": "project_id op_name started_at attributes inputs id trace_id display_name parent_id thread_id turn_id "
    "wb_user_id wb_run_id wb_run_step",
    "End": "project_id id ended_at summary exception output wb_run_step_end",
    "FeedbackCreateReq": "project_id weave_ref feedback_type payload id creator annotation_ref runnable_ref call_ref "
    "trigger_ref wb_user_id",
    "FeedbackReplaceReq": "project_id weave_ref feedback_type payload id creator annotation_ref runnable_ref call_ref "
    "trigger_ref wb_user_id feedback_id",
    "Cost": "prompt_token_cost completion_token_cost prompt_token_cost_unit completion_token_cost_unit effective_date "
    "provider_id",
    "ObjectForInsert": "project_id object_id val builtin_object_class set_base_object_class wb_user_id",
    "RowPayload": "row",
    "IndexPayload": "index",
    "InsertPayload": "index row",
    "ImageGenerationRequestInputs": "model prompt n",
}
"""The fields of each request in their order, which is that of the errors about them."""

FILTERS: Final = {
    "ObjectFilter": ObjectVersionFilter,
    "TableFilter": TableRowFilter,
    "ThreadFilter": ThreadsQueryFilter,
}
"""The filters of GraphQL, by the names of the requests' filters that have the same fields."""


def models() -> dict[str, type[StoreInput[Any]]]:
    return {
        name: model
        for name, model in vars(request_models).items()
        if isinstance(model, type) and issubclass(model, StoreInput) and not name.startswith("StoreInput")
    }


@pytest.mark.parametrize("name", models())
def test_request_has_the_fields_that_clients_may_set(name: str) -> None:
    if name in FILTERS:
        in_graphql, in_store = [field.name for field in fields(FILTERS[name])], [*models()[name].model_fields]
        assert in_graphql == in_store, (
            f"{FILTERS[name].__name__} in {FILTERS[name].__module__} and the store's filter have different fields"
        )
    else:
        assert [*models()[name].model_fields] == FIELDS[name].split(), (
            f"see {name} in FIELDS of tests/app/weave/test_request_models.py"
        )


def test_times_are_texts_and_other_integers_are_not() -> None:
    parsed = request_models.ThreadFilter.model_validate({"after_datetime": "1970-01-01T00:00:01Z"})

    assert parsed.to_store().after_datetime == 1_000_000
    with pytest.raises(ValueError, match="must be a time in ISO 8601"):
        request_models.ThreadFilter.model_validate({"after_datetime": 5})
    assert request_models.IndexPayload.model_validate({"index": 5}).to_store().index == 5
