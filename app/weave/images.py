"""The endpoint of the Weave SDK that generates images."""

from starlette.responses import Response

from app.weave.request_body import Body
from app.weave.request_models import ImageGenerationCreateReq
from app.weave.responses import answer
from graphql_schema.context import Stores


async def create(stores: Stores, body: Body, max_bytes: int) -> Response:
    """Generate images; each may have at most `max_bytes`."""
    parsed = await body.read(ImageGenerationCreateReq)
    made = await stores.images.create(
        parsed.project_id,
        parsed.inputs.to_store(),
        is_tracked=parsed.track_llm_call is not False,
        wb_user_id=parsed.wb_user_id,
        max_file_bytes=max_bytes,
    )
    return answer({"response": made.response, "weave_call_id": made.call_id})
