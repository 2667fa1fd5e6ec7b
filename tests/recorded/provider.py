"""A stand-in for seven model providers, whose answers `programs/conversation.py` lists.

It serves OpenAI's chat, responses and embeddings, Anthropic's messages, Gemini's generateContent, Bedrock's Converse,
Amazon Titan, Cohere's chat and Mistral's chat; all but Bedrock stream too. The recorder runs it.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.live_server import live_server
from tests.recorded.programs import conversation as said
from tests.recorded.programs.conversation import Answer

Json = dict[str, Any]

_CREATED: Final = 1_760_000_000
_ARGUMENTS: Final = json.dumps(said.TOOL_ARGUMENTS)


@contextmanager
def stand_in() -> Iterator[str]:
    """Run the server until the block ends; yield `127.0.0.1:<port>`."""
    routes = [
        Route("/v1/chat/completions", _chat, methods=["POST"]),
        Route("/chat/completions", _chat, methods=["POST"]),
        Route("/v1/responses", _responses, methods=["POST"]),
        Route("/v1/embeddings", _embeddings, methods=["POST"]),
        Route("/v1/messages", _messages, methods=["POST"]),
        Route("/{version}/models/{model}:{method}", _gemini, methods=["POST"]),
        Route("/model/{model}/converse", _converse, methods=["POST"]),
        Route("/model/{model}/invoke", _titan, methods=["POST"]),
        Route("/v2/chat", _cohere, methods=["POST"]),
        Route("/{rest:path}", _other, methods=["GET", "POST"]),
    ]
    with live_server(Starlette(routes=routes), lifespan="off") as address:
        yield address


async def _other(request: Request) -> Response:
    """Answer a path that no provider has; the name of the path says which route is missing."""
    return JSONResponse({"error": {"message": f"no route {request.url.path}", "type": "not_found"}}, 404)


def _stream(events: Iterable[Json], *, is_named: bool = False, is_done: bool = False) -> Response:
    def lines() -> Iterator[str]:
        for event in events:
            name = f"event: {event['type']}\n" if is_named else ""
            yield f"{name}data: {json.dumps(event)}\n\n"
        if is_done:
            yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), 12):
        yield text[start : start + 12]


def _failure(model: str) -> Response | None:
    if model == said.LIMITED_MODEL:
        error: Json = {"message": "Too many requests.", "type": "requests", "code": "rate_limit_exceeded"}
        return JSONResponse({"type": "error", "error": error}, 429)
    if model == said.BROKEN_MODEL:
        error = {"message": "The server had an error.", "type": "server_error", "code": None}
        return JSONResponse({"type": "error", "error": error}, 500)
    return None


# OpenAI's chat, and Mistral's


def _chat_usage() -> Json:
    return {
        "prompt_tokens": said.INPUT_TOKENS,
        "completion_tokens": said.OUTPUT_TOKENS,
        "total_tokens": said.INPUT_TOKENS + said.OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _chat_message(answer: Answer) -> Json:
    message: Json = {"role": "assistant", "content": answer.text or None, "refusal": answer.refusal or None}
    if answer.calls_tool:
        function = {"name": said.TOOL_NAME, "arguments": _ARGUMENTS}
        message["tool_calls"] = [{"id": said.CALL_ID, "type": "function", "function": function}]
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    return message


async def _chat(request: Request) -> Response:
    body = await request.json()
    if failure := _failure(body["model"]):
        return failure
    answer = said.answer_to(
        body["messages"], has_tool_result=any(message["role"] == "tool" for message in body["messages"])
    )
    model = said.OPENAI_ANSWERS_AS if body["model"] == said.OPENAI_MODEL else body["model"]
    head = {"id": "chatcmpl-weft", "created": _CREATED, "model": model, "system_fingerprint": "fp_loom"}
    reason = "tool_calls" if answer.calls_tool else "stop"
    messages = [_chat_message(answer)]
    if body.get("n") == 2:
        messages.append({**messages[0], "content": said.SECOND_LOOM})
    if not body.get("stream"):
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
            for index, message in enumerate(messages)
        ]
        return JSONResponse({**head, "object": "chat.completion", "choices": choices, "usage": _chat_usage()})
    return _stream(_chat_chunks({**head, "object": "chat.completion.chunk"}, messages, reason, body), is_done=True)


def _chat_chunks(head: Json, messages: list[Json], reason: str, body: Json) -> Iterator[Json]:
    def chunk(index: int, delta: Json, finish_reason: str | None = None) -> Json:
        return {**head, "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}

    for index, message in enumerate(messages):
        yield chunk(index, {"role": "assistant", "content": "" if message["content"] else None})
        for piece in _pieces(message.get("reasoning_content") or ""):
            yield chunk(index, {"reasoning_content": piece})
        for piece in _pieces(message["content"] or ""):
            yield chunk(index, {"content": piece})
        for piece in _pieces(message["refusal"] or ""):
            yield chunk(index, {"refusal": piece})
        for call in message.get("tool_calls", ()):
            function = {"name": said.TOOL_NAME, "arguments": ""}
            yield chunk(index, {"tool_calls": [{**call, "index": 0, "function": function}]})
            for piece in _pieces(_ARGUMENTS):
                yield chunk(index, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        last = chunk(index, {}, reason)
        if "mistral" in body["model"]:
            last["usage"] = _chat_usage()
        yield last
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": _chat_usage()}


async def _embeddings(request: Request) -> Response:
    body = await request.json()
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": index, "embedding": said.EMBEDDING} for index in range(len(texts))]
    usage = {"prompt_tokens": said.INPUT_TOKENS, "total_tokens": said.INPUT_TOKENS}
    return JSONResponse({"object": "list", "data": data, "model": body["model"], "usage": usage})


# OpenAI's responses


async def _responses(request: Request) -> Response:
    body = await request.json()
    if failure := _failure(body["model"]):
        return failure
    entries = body["input"] if isinstance(body["input"], list) else []
    answer = said.answer_to(
        body["input"], has_tool_result=any(entry.get("type") == "function_call_output" for entry in entries)
    )
    output: list[Json] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        output.append({"id": "rs_1", "type": "reasoning", "summary": summary})
    if answer.calls_tool:
        call = {"type": "function_call", "call_id": said.CALL_ID, "name": said.TOOL_NAME, "arguments": _ARGUMENTS}
        output.append({"id": "fc_1", "status": "completed", **call})
    else:
        text = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        content = {"type": "refusal", "refusal": answer.refusal} if answer.refusal else text
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
        output.append({**message, "content": [content]})
    usage = {
        "input_tokens": said.INPUT_TOKENS,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": said.OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": said.REASONING_TOKENS if answer.reasoning else 0},
        "total_tokens": said.INPUT_TOKENS + said.OUTPUT_TOKENS,
    }
    response = {
        "id": "resp_call" if answer.calls_tool else "resp_text",
        "object": "response",
        "created_at": _CREATED,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "model": said.OPENAI_ANSWERS_AS if body["model"] == said.OPENAI_MODEL else body["model"],
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "text": body.get("text", {"format": {"type": "text"}}),
        "usage": usage,
    }
    if not body.get("stream"):
        return JSONResponse(response)
    return _stream(_numbered(_response_events(response)), is_named=True)


def _numbered(events: Iterable[Json]) -> Iterator[Json]:
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def _response_events(response: Json) -> Iterator[Json]:
    started = {**response, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": started}
    for index, item in enumerate(response["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        empty: Json = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty}}
        if item["type"] == "message":
            [part] = item["content"]
            place["content_index"] = 0
            name = "refusal" if part["type"] == "refusal" else "text"
            kind = "refusal" if name == "refusal" else "output_text"
            yield {"type": "response.content_part.added", **place, "part": {**part, name: ""}}
            for piece in _pieces(part[name]):
                yield {"type": f"response.{kind}.delta", **place, "delta": piece, "logprobs": []}
            yield {"type": f"response.{kind}.done", **place, name: part[name], "logprobs": []}
            yield {"type": "response.content_part.done", **place, "part": part}
        elif item["type"] == "function_call":
            for piece in _pieces(item["arguments"]):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **place, **done}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": response}


# Anthropic's messages


async def _messages(request: Request) -> Response:
    body = await request.json()
    if failure := _failure(body["model"]):
        return failure
    answer = said.answer_to(body["messages"], has_tool_result="tool_result" in str(body["messages"]))
    content: list[Json] = []
    if answer.reasoning:
        content.append({"type": "thinking", "thinking": answer.reasoning, "signature": "c2lnbmVk"})
    if answer.calls_tool:
        call = {"id": said.CALL_ID, "name": said.TOOL_NAME, "input": said.TOOL_ARGUMENTS}
        content.append({"type": "tool_use", **call})
    else:
        content.append({"type": "text", "text": answer.text or answer.refusal})
    message = {
        "id": "msg_weft",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": content,
        "stop_reason": "tool_use" if answer.calls_tool else "refusal" if answer.refusal else "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": said.INPUT_TOKENS,
            "output_tokens": said.OUTPUT_TOKENS,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
        },
    }
    return _stream(_message_events(message), is_named=True) if body.get("stream") else JSONResponse(message)


def _message_events(message: Json) -> Iterator[Json]:
    usage = message["usage"]
    started = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": started}
    for index, block in enumerate(message["content"]):
        match block["type"]:
            case "thinking":
                empty: Json = {"thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "tool_use":
                empty = {"input": {}}
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(_ARGUMENTS)]
            case _:
                empty = {"text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
        yield {"type": "content_block_start", "index": index, "content_block": {**block, **empty}}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ended: Json = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


# Gemini


async def _gemini(request: Request) -> Response:
    body = await request.json()
    answer = said.answer_to(body["contents"], has_tool_result="functionResponse" in str(body["contents"]))
    parts: list[Json] = []
    if answer.reasoning:
        parts.append({"text": answer.reasoning, "thought": True})
    if answer.calls_tool:
        parts.append({"functionCall": {"name": said.TOOL_NAME, "args": said.TOOL_ARGUMENTS}})
    else:
        parts.append({"text": answer.text or answer.refusal})
    usage = {
        "promptTokenCount": said.INPUT_TOKENS,
        "candidatesTokenCount": said.OUTPUT_TOKENS,
        "totalTokenCount": said.INPUT_TOKENS + said.OUTPUT_TOKENS,
    }

    def response(parts: list[Json], reason: str | None) -> Json:
        candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0}
        if reason:
            candidate["finishReason"] = reason
        model = request.path_params["model"]
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r-weft"}

    if request.path_params["method"] == "generateContent":
        return JSONResponse(response(parts, "STOP"))
    pieces = [{**part, "text": piece} for part in parts if "text" in part for piece in _pieces(part["text"])] or parts
    return _stream(response([piece], None if piece is not pieces[-1] else "STOP") for piece in pieces)


# Bedrock


async def _converse(request: Request) -> Response:
    body = await request.json()
    answer = said.answer_to(body["messages"], has_tool_result="toolResult" in str(body["messages"]))
    content: list[Json] = []
    if answer.reasoning:
        content.append({"reasoningContent": {"reasoningText": {"text": answer.reasoning, "signature": "c2lnbmVk"}}})
    if answer.calls_tool:
        call = {"toolUseId": said.CALL_ID, "name": said.TOOL_NAME, "input": said.TOOL_ARGUMENTS}
        content.append({"toolUse": call})
    else:
        content.append({"text": answer.text or answer.refusal})
    usage = {
        "inputTokens": said.INPUT_TOKENS,
        "outputTokens": said.OUTPUT_TOKENS,
        "totalTokens": said.INPUT_TOKENS + said.OUTPUT_TOKENS,
    }
    return JSONResponse(
        {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": "tool_use" if answer.calls_tool else "end_turn",
            "usage": usage,
            "metrics": {"latencyMs": 12},
        }
    )


async def _titan(request: Request) -> Response:
    body = await request.json()
    answer = said.answer_to(body["inputText"], has_tool_result=False)
    counts = {"Input": said.INPUT_TOKENS, "Output": said.OUTPUT_TOKENS}
    result = {"tokenCount": said.OUTPUT_TOKENS, "outputText": answer.text, "completionReason": "FINISH"}
    return JSONResponse(
        {"inputTextTokenCount": said.INPUT_TOKENS, "results": [result]},
        headers={f"X-Amzn-Bedrock-{name}-Token-Count": str(count) for name, count in counts.items()},
    )


# Cohere


async def _cohere(request: Request) -> Response:
    body = await request.json()
    answer = said.answer_to(
        body["messages"], has_tool_result=any(message["role"] == "tool" for message in body["messages"])
    )
    message: Json = {"role": "assistant"}
    if answer.calls_tool:
        function = {"name": said.TOOL_NAME, "arguments": _ARGUMENTS}
        message["tool_calls"] = [{"id": said.CALL_ID, "type": "function", "function": function}]
        message["tool_plan"] = "I will look up the temperature."
    else:
        message["content"] = [{"type": "text", "text": answer.text or answer.refusal}]
    if body.get("documents"):
        source = {"type": "document", **body["documents"][0]}
        message["citations"] = [{"start": 0, "end": len(answer.text), "text": answer.text, "sources": [source]}]
    reason = "TOOL_CALL" if answer.calls_tool else "COMPLETE"
    tokens = {"input_tokens": said.INPUT_TOKENS, "output_tokens": said.OUTPUT_TOKENS}
    usage = {"billed_units": tokens, "tokens": tokens}
    whole = {"id": "cohere-weft", "finish_reason": reason, "message": message, "usage": usage}
    return _stream(_cohere_events(whole), is_named=True) if body.get("stream") else JSONResponse(whole)


def _cohere_events(whole: Json) -> Iterator[Json]:
    start = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    yield {"type": "message-start", "id": whole["id"], "delta": {"message": start}}
    for block in whole["message"].get("content", ()):
        head = {"message": {"content": {"type": "text", "text": ""}}}
        yield {"type": "content-start", "index": 0, "delta": head}
        for piece in _pieces(block["text"]):
            yield {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": piece}}}}
        yield {"type": "content-end", "index": 0}
    end = {"finish_reason": whole["finish_reason"], "usage": whole["usage"]}
    yield {"type": "message-end", "id": whole["id"], "delta": end}
