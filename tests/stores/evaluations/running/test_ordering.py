"""Tests of refused runs: no request goes to a model, and the error says what to change."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from app.providers import EnvironmentProviders
from graphql_schema.context import Stores
from stores.database import Database
from stores.errors import BadInputError, NotFoundError, ObjectDeletedError, StoreError
from stores.objects import ObjectVersion
from tests.stand_in_provider import StandIn
from tests.stores.evaluations.running import orders
from tests.stores.evaluations.running.orders import PROJECT


@pytest.fixture
def stores(database: Database, providers: EnvironmentProviders) -> Stores:
    """Return all stores, with a stand-in instead of OpenAI."""
    return Stores(database, providers)


async def refused(stores: Stores, evaluation: str, model: str) -> StoreError:
    with pytest.raises(StoreError) as error:
        await stores.evaluation_runs.start(PROJECT, evaluation, model)
    assert await stores.calls.count(PROJECT) == 0
    assert await stores.calls.database.evaluation_runs.find_one() is None
    return error.value


Make = Callable[[Stores], Awaitable[str]]


def having(**value: Any) -> Make:
    async def make(stores: Stores) -> str:
        scorers = value.pop("scorers", [])
        return await orders.evaluation(stores, scorers, **value)

    return make


def scored_by(**value: Any) -> Make:
    async def make(stores: Stores) -> str:
        scorer = {"_type": "LLMAsAJudgeScorer", "scoring_prompt": "Good?", "model": await orders.model(stores)}
        return await orders.evaluation(stores, [scorer | value])

    return make


TABLE = f"weave:///{PROJECT}/table/{'0' * 64}"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (having(trials=0), "its trials must be a whole number from 1 to 1,000"),
        (having(trials=True), "its trials must be a whole number"),
        (having(trials=10**9), "its trials must be a whole number"),
        (having(scorers="all"), "its scorers must be a list of at most 50"),
        (having(scorers=[{}] * 51), "its scorers must be a list of at most 50"),
        (having(scorers=[5]), "its scorers.0: is an object without a class; the server only runs objects of"),
        (having(scorers=["judge"]), "its scorers.0: 'judge' is not a ref"),
        (
            having(scorers=[f"weave:///{PROJECT}/op/overlap:{'a' * 43}"]),
            "its scorers.0: must be the ref of an object of class LLMAsAJudgeScorer",
        ),
        (scored_by(_type="HelpfulnessScorer"), "its scorers.0: has the class HelpfulnessScorer; the server only"),
        (scored_by(scoring_prompt=None), "its scorers.0: has no scoring_prompt; set it to the string"),
        (scored_by(enable_image_input_scoring=True), "its scorers.0: sets enable_image_input_scoring, but the server"),
        (scored_by(scoring_prompt='{"a": 1}'), "its scorers.0: has a scoring_prompt in which '{\"a\": 1}' is not a p"),
        (scored_by(column_map={"a": 1}), "its scorers.0: has an invalid column_map; it must map"),
        (
            scored_by(model={"_type": "GPT"}),
            "its scorers.0: its model: has the class GPT; the server only runs objects",
        ),
        (scored_by(model=None), "its scorers.0: its model: is an object without a class"),
        (having(preprocess_model_input="weave:///x"), "has a preprocess_model_input, which the server cannot run"),
        (having(dataset=None), "its dataset: is an object without a class; the server only runs"),
        (
            having(dataset={"_type": "Dataset", "rows": [{"a": 1}]}),
            "its dataset: has rows that are not a table of",
        ),
        (having(dataset={"_type": "Dataset", "rows": "rows"}), "its dataset: 'rows' is not a ref"),
        (
            having(dataset={"_type": "Dataset", "rows": TABLE.replace(PROJECT, "acme/other")}),
            "its dataset: has rows that are not a table of this project",
        ),
    ],
)
async def test_unsupported_evaluation_is_refused(stores: Stores, make: Make, expected: str) -> None:
    error = await refused(stores, await make(stores), await orders.model(stores))

    assert isinstance(error, BadInputError)
    assert error.message.startswith(expected)
    assert error.argument == "evaluation_ref"


async def test_two_scorers_with_one_name_are_refused(stores: Stores) -> None:
    scorer = {"_type": "LLMAsAJudgeScorer", "scoring_prompt": "Good?", "model": await orders.model(stores)}

    error = await refused(stores, await orders.evaluation(stores, [scorer, scorer]), await orders.model(stores))

    assert error.message == "its scorers.1: has the name LLMAsAJudgeScorer of another scorer; give it a unique name"


async def test_empty_dataset_is_refused(stores: Stores) -> None:
    error = await refused(stores, await orders.evaluation(stores, [], []), await orders.model(stores))

    assert isinstance(error, BadInputError)
    assert (error.argument, error.message) == (
        "evaluation_ref",
        "its dataset: has no rows; add rows and evaluate the new version",
    )


async def test_dataset_without_its_table_is_refused(stores: Stores) -> None:
    evaluation = await orders.evaluation(stores, [], dataset={"_type": "Dataset", "rows": TABLE})

    error = await refused(stores, evaluation, await orders.model(stores))

    assert isinstance(error, NotFoundError)
    assert error.argument == "evaluation_ref"
    assert error.message.startswith("its dataset: there is no table")


@pytest.mark.parametrize(
    ("name", "argument"), [("questions", "evaluation_ref"), ("quality", "evaluation_ref"), ("answerer", "model_ref")]
)
async def test_deleted_objects_are_refused(stores: Stores, name: str, argument: str) -> None:
    evaluation, model = await orders.evaluation(stores, []), await orders.model(stores)
    await stores.objects.delete(PROJECT, name)

    error = await refused(stores, evaluation, model)

    assert isinstance(error, ObjectDeletedError)
    assert error.argument == argument
    assert f"{name}:v0 was deleted at " in error.message
    assert error.details["deleted_at"]


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("", "'' is not a ref"),
        ("quality", "'quality' is not a ref"),
        ("weave:///acme/support/object/quality", "write an object or op as name:version"),
        (f"weave:///{PROJECT}/table/{'0' * 64}", "must be the ref of an object of class Evaluation"),
        (f"weave:///{PROJECT}/call/0123456789abcdef", "must be the ref of an object of class Evaluation"),
        (
            f"weave:///{PROJECT}/object/quality:latest/attr/dataset",
            "must be the ref of an object of class Evaluation",
        ),
        ("weave:///acme/other/object/quality:latest", "is in another project, acme/other"),
        (
            f"weave:///{PROJECT}/object/answerer:latest",
            "has the class LLMStructuredCompletionModel; the server only runs",
        ),
        (f"weave:///{PROJECT}/object/quality:{'a' * 43}", f"object quality:{'a' * 43} not found"),
        (f"weave:///{PROJECT}/object/nothing:latest", "object nothing:latest not found"),
    ],
)
async def test_ref_of_another_kind_is_refused(stores: Stores, ref: str, expected: str) -> None:
    await orders.evaluation(stores, [])

    error = await refused(stores, ref, await orders.model(stores))

    assert expected in error.message
    assert error.argument == "evaluation_ref"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"llm_model_id": ""}, "has no model name; set llm_model_id"),
        ({"default_params": {"temperature": "hot"}}, "has invalid default_params: temperature: "),
        ({"default_params": {"colour": "red"}}, "has invalid default_params: colour: "),
        ({"default_params": {"prompt": "weave:///x"}}, "has invalid default_params: prompt: "),
        ({"default_params": {"prompt": None, "_type": "Params"}}, None),
        ({"default_params": []}, None),
        ({"default_params": 5}, "has invalid default_params"),
        (
            {"default_params": {"messages_template": [{"role": "user", "content": "{"}]}},
            "has a messages_template.0.content in which '{' is not a p",
        ),
        ({"llm_model_id": "acme/giant"}, None),
    ],
)
async def test_unusable_model_is_refused(stores: Stores, value: dict[str, Any], expected: str | None) -> None:
    evaluation = await orders.evaluation(stores, [])
    model = await orders.create(
        stores, "odd", "LLMStructuredCompletionModel", ["Model"], {"llm_model_id": "small", **value}
    )

    if expected is None:
        assert await stores.evaluation_runs.start(PROJECT, evaluation, model)
        return
    error = await refused(stores, evaluation, model)

    assert error.message.startswith(expected)
    assert error.argument == "model_ref"


async def test_missing_key_is_named_before_the_run(database: Database) -> None:
    providers = EnvironmentProviders({})
    stores = Stores(database, providers)
    evaluation, model = await orders.evaluation(stores, []), await orders.model(stores, "openai/small")

    error = await refused(stores, evaluation, model)

    assert isinstance(error, BadInputError)
    assert error.argument == "model_ref"
    assert "The API key of openai is missing: set OPENAI_API_KEY in the server's environment." in error.message
    judged = await orders.evaluation(stores, [await orders.judge(stores, "mistral/judge")])
    providers = EnvironmentProviders({"OPENAI_API_KEY": "sk-x"})
    error = await refused(Stores(database, providers), judged, model)
    assert error.argument == "evaluation_ref"
    assert "MISTRAL_API_KEY" in error.message


async def test_latest_is_resolved_when_ordered(stores: Stores, stand_in: StandIn) -> None:
    evaluation, model = await orders.evaluation(stores, []), await orders.model(stores)
    named = [f"weave:///{PROJECT}/object/quality:latest", f"weave:///{PROJECT}/object/answerer:v0"]

    call_id = await stores.evaluation_runs.start(PROJECT, named[0], named[1])
    await stores.objects.create(ObjectVersion(PROJECT, "answerer", {"another": "value"}))
    await stores.evaluation_runs.execute(PROJECT, call_id)

    tree = await orders.tree(stores, call_id)
    assert tree.root["inputs"] == {"self": evaluation, "model": model}
    assert tree.root["status"] == "success"
    assert len(stand_in.requests) == 3
