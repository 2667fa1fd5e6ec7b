"""Feedback: types, inputs, the fields that read and write it, and actions, which create it."""

from collections.abc import Sequence
from inspect import signature
from typing import Annotated, Any, Final

import strawberry
from strawberry.scalars import JSON

from graphql_schema.context import Info
from graphql_schema.execution.scalars import BigInt, DateTime
from graphql_schema.fields import (
    Node,
    ProjectId,
    User,
    argument,
    description_in,
    description_of,
    docstrings_of_attributes,
    grouped_arguments,
    json_field,
    node_ref,
    resolved_field,
    to_store,
)
from graphql_schema.fields.connections import Call, batched_resolver, key_of, list_field, to_one
from graphql_schema.fields.query_input import QueryInput
from graphql_schema.limits.cost_weights import COUNT
from graphql_schema.objects import ObjSchema
from graphql_schema.refs import load_nodes
from stores.feedback import FeedbackStats, NewFeedback
from stores.feedback.inputs import INDEXED_FEEDBACK_FIELDS
from stores.feedback.store import check_number
from stores.paging import JsonField, Row
from stores.refs import feedback_ref, inner_entity

PAYLOAD = JsonField("payload")
OUTPUT = JsonField("output")


async def _subjects(info: Info, parents: Sequence[Row]) -> list[Row | None]:
    return await load_nodes(info, [inner_entity(parent["project_id"], parent["weave_ref"]) for parent in parents])


@strawberry.type
class Feedback(Node):
    """Feedback of a user or a program on the target of a ref, usually a call."""

    # The source is a row of `stores.feedback`.

    ref: strawberry.ID = node_ref(feedback_ref)
    id: strawberry.ID
    """Id of the feedback, unique in its project."""
    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    weave_ref: str
    """Ref of the subject, such as a call; feedback from the Weave SDK may have any text."""
    creator: str | None
    """Display name of the author; null for none."""
    feedback_type: str
    """Type of the feedback: wandb.reaction.1, wandb.note.1, wandb.annotation.<name>, wandb.runnable.<name>, or any
    other text.
    """
    payload: JSON | None = json_field(PAYLOAD)
    """Content of the feedback: a JSON object. A reaction also has the alias of its emoji, and both without the skin
    tone.
    """
    annotation_ref: str | None
    """Ref of the AnnotationSpec of an annotation; null for other types."""
    runnable_ref: str | None
    """Ref of the object or op that produced a runnable's output; null for other types."""
    call_ref: str | None
    """Ref of the call that produced a runnable's output; null for none."""
    trigger_ref: str | None
    """Ref of the cause of the feedback; null for none."""
    wb_user_id: str | None
    """User who wrote the feedback."""
    created_at: DateTime
    """Time when the feedback was created or last replaced."""

    call = to_one(Call | None, lambda stores: stores.calls.by_keys, key_of("project_id", "call_id"))
    """Call that is the subject; null if weaveRef is no ref of a call of the project, or that call is missing."""
    annotation = to_one(ObjSchema | None, lambda stores: stores.objects.by_refs, key_of("project_id", "annotation_ref"))
    """AnnotationSpec at annotationRef; null if it is missing or deleted."""

    on = resolved_field(returns=Node | None)(batched_resolver(_subjects))
    """Subject of the feedback, such as a call, a version of an object or a trace. Null if weaveRef names no entity of
    the project, or the entity is missing.
    """


@strawberry.type
class FeedbackTypeStats:
    """Number of feedback entries of one type."""

    # The source is a row of `stores.feedback`.

    feedback_type: str
    """Type of the feedback."""
    count: BigInt
    """Number of entries of the type."""
    last_created_at: DateTime
    """Creation time of the newest entry of the type."""


@strawberry.type
class FeedbackStatsRes:
    """Number of feedback entries, in total and by type."""

    # The source is `stores.feedback.FeedbackStats`.

    count: BigInt
    """Number of matching entries."""
    types: list[FeedbackTypeStats]
    """Numbers by type, the most frequent first; at most 1,000 types."""


@strawberry.input
class FeedbackCreateReq:
    """Feedback on the target of a ref.

    Some types have rules. `wandb.reaction.1`: payload.emoji is one emoji. `wandb.note.1`: payload.note has 1 to 1,024
    characters. `wandb.annotation.<name>`: payload.value is valid for the AnnotationSpec at annotationRef.
    `wandb.runnable.<name>`: payload.output is the output of the object or op at runnableRef.
    """

    project_id: strawberry.ID
    """Id of the project, as entity/project."""
    weave_ref: str
    """Ref of the subject, such as a call. A plain call id is converted to the ref of that call of the project."""
    feedback_type: str
    """Type of the feedback, such as wandb.reaction.1, or any text."""
    payload: JSON
    """Content of the feedback: a JSON object of at most 1 MiB."""
    id: strawberry.ID | None = None
    """Id of at most 128 characters; a new UUIDv7 if omitted. Feedback with the same id is replaced if it has the same
    user and weaveRef.
    """
    creator: str | None = None
    """Display name of the author; null for none."""
    annotation_ref: str | None = None
    """Ref of the AnnotationSpec of an annotation: a version of the object <name> of the same project."""
    runnable_ref: str | None = None
    """Ref of the object or op <name> of a runnable."""
    call_ref: str | None = None
    """Ref of the call that produced a runnable's output; required for an op."""
    trigger_ref: str | None = None
    """Ref of the cause of a runnable's or an annotation's feedback."""
    wb_user_id: str | None = None
    """User who writes; the caller if omitted."""

    def to_store(self) -> NewFeedback:
        """Convert to the new feedback of `stores.feedback`."""
        return NewFeedback(**vars(self), takes_call_id=True)


@strawberry.type
class FeedbackQueries:
    """Query fields that read feedback."""

    feedback = list_field(
        Feedback,
        lambda stores: stores.feedback,
        has_query=True,
        indexed=INDEXED_FEEDBACK_FIELDS,
    )
    """Page of the project's feedback.

    Args:
        query: Condition on fields of the feedback, and on paths into payload such as `payload.value.x`; none if
            omitted.
        sort_by: Sort order, by fields and by paths into payload; the oldest first if omitted or empty.
    """

    @resolved_field(returns=FeedbackStatsRes, work=COUNT, indexed=INDEXED_FEEDBACK_FIELDS)
    async def feedback_stats(self, info: Info, project_id: ProjectId, query: QueryInput | None = None) -> FeedbackStats:
        """Number of feedback entries, by type.

        Args:
            query: Condition on fields of the feedback, and on paths into payload such as `payload.value.x`; none if
                omitted.
        """
        return await info.context.stores.feedback.stats(project_id, to_store(query))


@strawberry.type
class FeedbackCreateRes:
    """Result of creating feedback."""

    # The source is a row of `stores.feedback`.

    id: strawberry.ID
    """Id of the feedback, generated if the request had none."""
    created_at: DateTime
    """Creation time of the feedback."""
    wb_user_id: str
    """User who wrote the feedback."""
    payload: JSON | None = json_field(PAYLOAD)
    """Payload as stored."""


@strawberry.type
class FeedbackReplaceRes:
    """Result of `feedbackReplace`."""

    # The source is a row of `stores.feedback`.

    id: strawberry.ID
    """Id of the new feedback, generated if the request had none."""
    created_at: DateTime
    """Creation time of the new feedback."""
    wb_user_id: str
    """User who wrote the new feedback."""
    payload: JSON | None = json_field(PAYLOAD)
    """Payload as stored."""


@strawberry.type
class FeedbackCreateBatchRes:
    """Result of a batch."""

    # The source is an object with rows of `stores.feedback`.

    res: list[FeedbackCreateRes]
    """Results of the entries, in the order of the batch."""


@strawberry.type
class FeedbackPurgeRes:
    """Result of `feedbackPurge`."""

    num_purged: int
    """Number of feedback deleted by this request."""


_DOCSTRINGS: Final = docstrings_of_attributes(FeedbackCreateReq)

_spread: Final = grouped_arguments(
    "new",
    [
        each.replace(annotation=Annotated[each.annotation, argument(description_in(_DOCSTRINGS[each.name]))])
        for each in signature(FeedbackCreateReq).parameters.values()
    ],
    lambda _info, arguments: FeedbackCreateReq(**arguments),
)


@strawberry.type
class FeedbackMutations:
    """Mutation fields that write feedback."""

    @resolved_field(f"Creation of feedback. {description_of(FeedbackCreateReq)}", FeedbackCreateRes)
    @_spread
    async def feedback_create(self, info: Info, *, new: FeedbackCreateReq) -> Row:
        """Store feedback; return its row."""
        return await info.context.stores.feedback.create_one(new.to_store())

    @resolved_field(returns=FeedbackCreateBatchRes)
    async def feedback_create_batch(self, info: Info, batch: list[FeedbackCreateReq]) -> dict[str, list[Row]]:
        """Creation of feedback in a batch.

        Nothing is stored if one entry is invalid.

        Args:
            batch: Feedback to create: at most 10,000 entries, and 48 MiB as stored, which is about twice the JSON of
                the payloads. If two entries have the same id, the later one is stored.
        """
        check_number(len(batch))
        return {"res": await info.context.stores.feedback.create([new.to_store() for new in batch])}

    @resolved_field(returns=FeedbackReplaceRes)
    @_spread
    async def feedback_replace(
        self,
        info: Info,
        feedback_id: Annotated[strawberry.ID, argument("Id of the feedback to replace.")],
        *,
        new: FeedbackCreateReq,
    ) -> Row:
        """Atomic replacement of feedback by any user.

        Nothing is deleted if the new feedback is invalid. If several requests replace the same id, one succeeds, and
        the others get NOT_FOUND. A request with a new id of its own can be repeated. The new feedback may reuse the old
        id only if both have the same user and weaveRef. Then it overwrites the old feedback, and the last of several
        requests counts.
        """
        return await info.context.stores.feedback.replace(feedback_id, new.to_store())

    @resolved_field()
    async def feedback_purge(self, info: Info, project_id: ProjectId, query: QueryInput) -> FeedbackPurgeRes:
        """Permanent deletion of feedback by id.

        Args:
            query: Selection of the feedback: `{eq: [{getField: "id"}, {literal: "<id>"}]}`, or an `or` of several of
                these. Any other query is rejected; unknown ids are ignored.
        """
        purged = await info.context.stores.feedback.purge(project_id, query.to_store())
        return FeedbackPurgeRes(num_purged=purged)


@strawberry.type
class ActionError:
    """Error of an action on a call."""

    # The source is a row of `stores.actions`.

    code: str
    """Error code as in extensions.code: NOT_FOUND if the call is missing, PAYLOAD_TOO_LARGE if it is too large for a
    judge, PROVIDER_ERROR if a model's response is not usable, and others.
    """
    message: str
    """Error message."""


@strawberry.type
class ActionResult:
    """Result of an action on one call: its output or an error."""

    # The source is a row of `stores.actions`.

    call_id: strawberry.ID
    """Id of the call."""
    output: JSON | None = json_field(OUTPUT)
    """Output of the action: a boolean for contains_words, a value of the action's schema for llm_judge; null if there
    is an error.
    """
    feedback: Feedback | None
    """Feedback that stores the output; null if there is an error."""
    error: ActionError | None
    """Error of the action; null if it succeeded."""


@strawberry.type
class ActionsExecuteBatchRes:
    """Results of an action on several calls."""

    results: list[ActionResult]
    """Results in the order of callIds."""
    num_succeeded: int
    """Number of results with an output."""
    num_failed: int
    """Number of results with an error."""


@strawberry.type
class ActionMutations:
    """Mutation fields that run actions."""

    @resolved_field(returns=ActionsExecuteBatchRes)
    async def actions_execute_batch(
        self, info: Info, project_id: ProjectId, action_ref: str, call_ids: list[strawberry.ID], wb_user_id: User = None
    ) -> dict[str, Any]:
        """Execution of an action on calls.

        contains_words searches the JSON texts of outputs for words, case-sensitive; llm_judge has a model judge them.
        Each output is stored as feedback of the type `wandb.runnable.<name of the action's object>`; a second execution
        adds more feedback. An error on one call is part of its result; the other calls are processed.

        Args:
            action_ref: Ref of the ActionSpec: a version of an object of the project.
            call_ids: Ids of the calls, at most 10,000; duplicates are processed once. A judge reads at most 1,048,576
                characters of a call's inputs and output, and at most eight calls are judged in parallel.
        """
        done = await info.context.stores.actions.execute(project_id, action_ref, call_ids, wb_user_id)
        num_failed = done.num_failed
        return {"results": done.results, "num_succeeded": len(done.results) - num_failed, "num_failed": num_failed}
