"""The endpoint of the Weave SDK that runs actions on calls."""

from starlette.responses import Response

from app.weave.request_body import Body
from app.weave.request_models import ActionsExecuteBatchReq
from app.weave.responses import answer
from graphql_schema.context import Stores


async def execute_batch(stores: Stores, body: Body) -> Response:
    """Run an action on calls; the response adds the errors of failed calls, which the reference does not return."""
    parsed = await body.read(ActionsExecuteBatchReq)
    done = await stores.actions.execute(parsed.project_id, parsed.action_ref, parsed.call_ids, parsed.wb_user_id)
    failed = {row["call_id"]: row["error"]["message"] for row in done.results if "error" in row}
    return answer({"num_failed": done.num_failed, "errors": failed})
