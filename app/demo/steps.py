"""Steps of the agents: requests to language models, retrieval of articles, and tools."""

from collections.abc import Sequence
from random import Random
from typing import Final

import orjson

from app.demo.company import COMPANY, Case, Json, Topic
from app.demo.simulation import Span, StillRunning
from stores.digests import text_digest
from stores.times import SECOND

_MODEL_FAILS: Final = 0.018
_SEARCH_FAILS: Final = 0.012
_TOOL_FAILS: Final = 0.09
_RANKS_AGAIN: Final = 0.3
_PAID: Final = 0.9
_TRACEBACK: Final = """\
Traceback (most recent call last):
  File "assistant/tools/{tool}.py", line {line}, in {tool}
    {code}
{error}"""


def message(role: str, content: str) -> Json:
    """Return one message of a chat."""
    return {"role": role, "content": content}


def chat(
    parent: Span,
    role: str,
    system: str,
    prompt: str,
    reply: str,
    *,
    history: Sequence[Json] = (),
    hangs: bool = False,
) -> str:
    """Record a request to the model of a role, like OpenAI's chat completions, and return its reply; some fail.

    Raises:
        StepError: the provider failed.
        StillRunning: the call hangs and has no response yet.
    """
    model = COMPANY["models"][role]
    messages = [message("system", system), *history, message("user", prompt)]
    request = {"model": model["name"], "messages": messages, "temperature": 0.2, "max_tokens": 800}
    with parent.step(model["op"], request) as call:
        if hangs:
            raise StillRunning
        if call.rng.random() < _MODEL_FAILS:
            failures = COMPANY["model_failures"]
            [failure] = call.rng.choices(failures, [each["weight"] for each in failures])
            raise call.failure(failure["traceback"], failure["seconds"])
        taken, given = sum(_tokens(each["content"]) + 4 for each in messages) + 3, _tokens(reply)
        usage = {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}
        call.work(model["first_token"] + given * model["token"])
        call.tokens = model["name"], usage
        call.output = {
            "id": f"chatcmpl-{call.rng.getrandbits(116):029x}",
            "object": "chat.completion",
            "created": call.started_at // SECOND,
            "model": model["version"],
            "choices": [
                {"index": 0, "message": message("assistant", reply), "finish_reason": "stop", "logprobs": None}
            ],
            "usage": usage,
        }
    return reply


def _tokens(text: str) -> int:
    """Estimate the number of tokens, with 4.5 bytes of UTF-8 in each."""
    return 1 + len(text.encode()) * 2 // 9


def retrieve(parent: Span, topic: Topic, question: str) -> list[str]:
    """Return the titles of retrieved articles, best first: embed the question, search the index, sometimes rerank.

    If the index or the reranking model fails, there are none.
    """
    inputs = {"query": question, "area": topic.area, "language": topic.language}
    with parent.step("retrieve", inputs, optional=True) as call:
        with call.step("embed", {"model": "bge-m3", "texts": [question]}) as embed:
            embed.work(0.035)
            start = [round(call.rng.gauss(0, 0.04), 6) for _ in range(8)]
            embed.output = {"dimensions": 1024, "vectors_start_with": [start]}
        hits = _search(call, topic)
        if call.rng.random() < _RANKS_AGAIN:
            hits = _rank(call, question, hits)
        call.output = hits
    return [hit["title"] for hit in call.output or []]


def _search(parent: Span, topic: Topic) -> list[Json]:
    rng = parent.rng
    with parent.step("vector_search", {"index": "help-centre", "top_k": 4, "filter": {"area": topic.area}}) as call:
        if rng.random() < _SEARCH_FAILS:
            raise call.failure(**COMPANY["search_failure"])
        call.work(0.06)
        titles = rng.sample(topic.articles, rng.randint(2, min(4, len(topic.articles))))
        scores = sorted((round(rng.uniform(0.42, 0.93), 4) for _ in titles), reverse=True)
        hits = [{"title": title, "score": score} for title, score in zip(titles, scores, strict=True)]
        call.output = hits
    return hits


def _rank(parent: Span, question: str, hits: list[Json]) -> list[Json]:
    order = parent.rng.sample(range(len(hits)), len(hits))
    with parent.step("rerank", {"query": question, "passages": [hit["title"] for hit in hits]}) as call:
        passages = "\n".join(f"[{number}] {hit['title']}" for number, hit in enumerate(hits))
        prompt = f"{question}\n\n{passages}"
        chat(call, "small", COMPANY["prompts"]["reranker"], prompt, orjson.dumps(order).decode())
        call.output = order
    return [hits[number] for number in order]


def use_tool(parent: Span, tool: str, case: Case, *, hangs: bool = False) -> Json | None:
    """Record a call to a tool and return its result; None if the tool, or the model that it calls, fails.

    Raises:
        StillRunning: the call hangs and has no result yet.
    """
    facts = COMPANY["tools"][tool]
    arguments, result = _tool_call(tool, case, parent.rng)
    with parent.step(f"tools.{tool}", arguments, optional=True) as call:
        if tool == "refund":
            _check_policy(call, case)
        if hangs:
            raise StillRunning
        if call.rng.random() < _TOOL_FAILS:
            error = facts["error"].format_map(case)
            traceback = _TRACEBACK.format(tool=tool, line=facts["line"], code=facts["code"], error=error)
            raise call.failure(traceback, facts["fails_after"])
        call.work(facts["seconds"])
        call.output = result
    return None if call.exception else result


def _check_policy(refund: Span, case: Case) -> None:
    with refund.step("check_policy", {"order_id": case["order"], "reason": case["reason"]}) as check:
        request = "Order {order}, {product}, {amount:.2f} EUR, {days} days old: {reason}.".format_map(case)
        rule, days = f"R{case['days']}", case["days"]
        reply = f'{{"allowed":true,"rule":"{rule}","reason":"{days} days are within the 60 allowed"}}'
        chat(check, "small", COMPANY["prompts"]["policy"], request, reply)
        check.output = {"allowed": True, "rule": rule}


def _tool_call(tool: str, facts: Case, rng: Random) -> tuple[Json, Json]:
    """Return the arguments of a tool and its result."""
    order, customer, product = {"order_id": facts["order"]}, {"customer": facts["customer"]}, facts["product"]
    match tool:
        case "order_status":
            state = rng.choice(("packed", "in_transit", "in_transit", "out_for_delivery", "delivered"))
            sku = text_digest(product)[:8].upper()
            items = [{"sku": sku, "name": product, "quantity": rng.randint(1, 3)}]
            parcel = {"carrier": facts["carrier"], "last_scan": facts["city"]}
            return order, {**order, "state": state, "items": items, **parcel}
        case "refund":
            refund = {**order, "amount": facts["amount"], "currency": "EUR", "reason": facts["reason"]}
            return refund, {"refund_id": f"R-{rng.randint(10_000, 99_999)}", "state": "accepted", **refund}
        case "billing_history":
            invoices = []
            for _ in range(rng.randint(1, 4)):
                invoice = {"number": f"2026-{rng.randint(1000, 9999)}", "amount": facts["amount"]}
                invoices.append({**invoice, "plan": facts["tier"], "paid": rng.random() < _PAID})
            return {**customer, "months": 6}, {"invoices": invoices}
        case "device_diagnostics":
            report = {
                "firmware": f"4.{facts['days']}.{rng.randint(0, 4)}",
                "signal_dbm": -rng.randint(38, 86),
                "battery": round(rng.uniform(0.08, 1.0), 2),
                "reboots_today": rng.choice((0, 0, 0, 1, 3)),
            }
            return {"product": product, "serial": f"LQ{rng.randint(10**8, 10**9 - 1)}"}, report
        case "subscription_change":
            change = {"from": facts["tier"], "to": rng.choice(("cancelled", "paused", "family"))}
            return {**customer, **change}, {"effective_in_days": facts["days"], "credit": facts["amount"]}
        case "replacement":
            shipment = {"shipment_id": f"S-{rng.randint(10**6, 10**7 - 1)}", "carrier": facts["carrier"]}
            return {**order, "product": product}, {**shipment, "ships_to": facts["city"]}
        case "stock_level":
            return {"product": product, "warehouse": facts["city"]}, {"available": rng.randint(0, 240)}
        case _:  # ask_colleague
            message = {"channel": "support-leads", "case": facts["case_number"], **customer, "reason": facts["reason"]}
            answer = rng.choice(COMPANY["colleague_answers"])
            return message, {"answer": answer, "by": rng.choice(COMPANY["developers"])}
