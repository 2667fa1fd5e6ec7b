"""The traces of the demo: conversations with the support assistant, its evaluations, and a nightly summary of tickets.

Each turn of a conversation plans, looks things up, uses tools and answers. The evaluations use rows of the dataset, and
have the structure of those of Weave's client.
"""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from statistics import fmean
from typing import Final

import orjson

from app.demo.library import (
    ASSISTANT,
    CHANCES,
    COMPANY,
    EVALUATION,
    FOREIGN_TOPICS,
    JUDGE,
    JUDGE_PROMPT,
    PROMPT,
    SAMPLE,
    TOPICS,
    Json,
    draw_case,
)
from app.demo.simulation import HOUR, Span, StepError, StillRunning, Trace, World, chat, message
from stores.digests import text_digest
from stores.files import NewFile
from stores.files.data_urls import METADATA_NAME, content_value
from stores.times import SECOND

Exchange = Sequence[str]
"""A message of the customer and the assistant's answer."""

_TRACEBACK: Final = """\
Traceback (most recent call last):
  File "assistant/tools/{tool}.py", line {line}, in {tool}
    {code}
{error}"""


def thread(world: World) -> Iterator[Span]:
    """Yield the turns of a conversation of one to eight turns at a random time in the two weeks.

    Some have four turns or more, and are escalated to a colleague in the last but one.
    """
    rng, weights = world.rng, COMPANY["turns"]
    length = rng.choices(range(1, len(weights) + 1), weights)[0]
    is_escalated = rng.random() < CHANCES["is_escalated"]
    length = max(length, rng.randint(4, 7)) if is_escalated else length
    conversation = Conversation(world)
    yield from conversation.turns(length, world.busy_moment(), escalated=length - 2 if is_escalated else None)


def live_thread(world: World) -> Iterator[Span]:
    """Yield the turns of a conversation whose last turn started a minute or two ago and waits for a tool or a model."""
    conversation = Conversation(world)
    yield from conversation.turns(world.rng.randint(1, 2), world.now - 20 * 60 * SECOND)
    exchange = conversation.opening()
    yield conversation.turn(exchange, world.now - world.rng.randint(60, 150) * SECOND, hangs=True)


class Conversation:
    """A thread: the customer, the topic, and the messages so far."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = rng = world.rng
        self.topic = rng.choice(FOREIGN_TOPICS if rng.random() < CHANCES["is_foreign"] else TOPICS)
        self.region = rng.choice(COMPANY["regions"])
        self.environment, user = "production", COMPANY["service_users"][self.region]
        if rng.random() < CHANCES["is_staging"]:
            self.environment, user = "staging", rng.choice(COMPANY["developers"])
        self.case = case = draw_case(rng)
        customer = {"name": case["customer"], "tier": case["tier"], "language": self.topic["language"]}
        user_id = f"customer-{COMPANY['customers'].index(case['customer']) + 1:02}"
        self.details = {"area": self.topic["area"], "customer": customer, "user_id": user_id}
        is_premium, is_foreign = case["tier"] != "basic", self.topic["language"] != "en"
        self.tags = ["chat", *["premium"] * is_premium, *["multilingual"] * is_foreign]
        self.ids = {"wb_user_id": user, "thread_id": f"chat-{world.new_id()[:13]}"}
        self.history: list[Json] = []

    def turns(self, length: int, started_at: int, *, escalated: int | None = None) -> Iterator[Span]:
        """Yield consecutive turns; the turn of the number `escalated` asks a colleague."""
        for number, exchange in enumerate(self.exchanges(length)):
            turn = self.turn(exchange, started_at, escalated=number == escalated)
            yield turn
            started_at = turn.clock + self.rng.randint(15, 240) * SECOND

    def exchanges(self, length: int) -> Iterator[Exchange]:
        """Draw the exchange of each turn, after the one before was recorded."""
        for number in range(length):
            yield self.opening() if number == 0 else self._next(last=number == length - 1)

    def opening(self) -> Exchange:
        """Draw a question on the topic with its answer."""
        rng, topic = self.rng, self.topic
        question, answer = rng.choice(topic["exchanges"])
        asked = f"{rng.choice(topic['greetings'])}{question}{rng.choice(topic['sign_offs'])}"
        return asked, f"{rng.choice(topic['openings'])} {answer} {rng.choice(topic['closings'])}".strip()

    def _next(self, *, last: bool) -> Exchange:
        rng, topic = self.rng, self.topic
        said = " ".join(each["content"] for each in self.history)
        fresh = [exchange for exchange in topic["follow_ups"] if exchange[0].format_map(self.case) not in said]
        if fresh and not (last and rng.random() < CHANCES["says_thanks"]):
            question, answer = rng.choice(fresh)
            return f"{rng.choice(topic['lead_ins'])}{question}", f"{answer} {rng.choice(topic['closings'])}".strip()
        thanks: Exchange = rng.choice(topic["thanks"]) if last else self.opening()
        return thanks

    def turn(self, exchange: Exchange, started_at: int, *, escalated: bool = False, hangs: bool = False) -> Span:
        """Record the trace of another turn; with `hangs`, the last tool or the large model does not return."""
        question, reply = (text.format_map(self.case) for text in exchange)
        tags = [*self.tags, *["escalated"] * escalated]
        trace = Trace(self.world, started_at, self.environment, self.region, self.ids, **self.details, tags=tags)
        inputs = {"self": trace.ref(ASSISTANT), "question": question, "history": list(self.history)}
        with Span(trace, "assistant.answer", inputs, started_at) as turn:
            if escalated:
                turn.display_name = "Escalated: {case_number} {customer}".format_map(self.case)
            steps = self._plan(turn, question, is_smalltalk=exchange in self.topic["thanks"], escalated=escalated)
            articles = _retrieve(turn, self.topic, question) if "retrieve" in steps else []
            tools = [step for step in steps if step != "retrieve"]
            results = [_use_tool(turn, tool, self.case, hangs=hangs and tool == tools[-1]) for tool in tools]
            if None in results:
                reply = self.topic["apology"].format_map(self.case)
            self._answer(turn, _system_prompt(turn, articles, results), question, reply, hangs=hangs)
            turn.output = {"answer": reply, "sources": articles, "intent": self.topic["intent"]}
            self.history += [message("user", question), message("assistant", reply)]
        return turn

    def _plan(self, turn: Span, question: str, *, is_smalltalk: bool, escalated: bool) -> list[str]:
        steps: list[str] = []
        if not is_smalltalk:
            used = [tool for tool in self.topic["tools"] if self.rng.random() < CHANCES["uses_tool"]]
            steps += ["retrieve", *used]
        if escalated:
            steps.append("ask_colleague")
        plan = {"intent": self.topic["intent"], "steps": steps, "confidence": round(self.rng.uniform(0.55, 0.99), 2)}
        with turn.step("plan", {"question": question, "turns_before": len(self.history) // 2}) as call:
            model, prompt = turn.trace.release["planner"], COMPANY["prompts"]["planner"]
            chat(call, model, prompt, question, orjson.dumps(plan).decode(), history=self.history[-4:])
            call.output = plan
        return steps

    def _answer(self, turn: Span, system: str, question: str, reply: str, *, hangs: bool) -> None:
        """Write the reply with the large model; if it fails, usually with another one."""
        try:
            chat(turn, "large", system, question, reply, history=self.history, hangs=hangs)
        except StepError:
            if self.rng.random() < CHANCES["has_no_fallback"]:
                raise
            chat(turn, "open", system, question, reply, history=self.history)


def _system_prompt(turn: Span, articles: list[str], results: list[Json | None]) -> str:
    prompt = turn.trace.prompt(PROMPT)
    known = "".join(f"\n- {article}" for article in articles) or "\n(none)"
    found = orjson.dumps([result or {"error": "unavailable"} for result in results]).decode()
    return f"{prompt}\n\nArticles:{known}\n\nTool results: {found}"


def _retrieve(parent: Span, topic: Json, question: str) -> list[str]:
    """Return the titles of retrieved articles, best first: embed the question, search the index, sometimes rerank.

    If the index or the reranking model fails, there are none.
    """
    inputs = {"query": question, "area": topic["area"], "language": topic["language"]}
    with parent.step("retrieve", inputs, optional=True) as call:
        with call.step("embed", {"encoder": "bge-m3", "texts": [question]}) as embed:
            embed.work(0.035)
            start = [round(call.rng.gauss(0, 0.04), 6) for _ in range(8)]
            embed.output = {"dimensions": 1024, "vectors_start_with": [start]}
        hits = _search(call, topic)
        if call.rng.random() < CHANCES["reranks"]:
            hits = _rank(call, question, hits)
        call.output = hits
    return [hit["title"] for hit in call.output or []]


def _search(parent: Span, topic: Json) -> list[Json]:
    rng = parent.rng
    with parent.step("vector_search", {"index": "help-centre", "top_k": 4, "filter": {"area": topic["area"]}}) as call:
        if rng.random() < CHANCES["search_fails"]:
            raise call.failure(**COMPANY["search_failure"])
        call.work(0.06)
        titles = rng.sample(topic["articles"], rng.randint(2, min(4, len(topic["articles"]))))
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


def _use_tool(parent: Span, tool: str, case: Json, *, hangs: bool = False) -> Json | None:
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
        if call.rng.random() < CHANCES["tool_fails"]:
            error = facts["error"].format_map(case)
            traceback = _TRACEBACK.format(tool=tool, line=facts["line"], code=facts["code"], error=error)
            raise call.failure(traceback, facts["fails_after"])
        call.work(facts["seconds"])
        call.output = result
    return None if call.exception else result


def _check_policy(refund: Span, case: Json) -> None:
    with refund.step("check_policy", {"order_id": case["order"], "reason": case["reason"]}) as check:
        request = "Order {order}, {product}, {amount:.2f} EUR, {days} days old: {reason}.".format_map(case)
        rule, days = f"R{case['days']}", case["days"]
        reply = f'{{"allowed":true,"rule":"{rule}","reason":"{days} days are within the 60 allowed"}}'
        chat(check, "small", COMPANY["prompts"]["policy"], request, reply)
        check.output = {"allowed": True, "rule": rule}


def _tool_call(tool: str, facts: Json, rng: Random) -> tuple[Json, Json]:
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
                invoices.append({**invoice, "plan": facts["tier"], "paid": rng.random() < CHANCES["invoice_is_paid"]})
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


_AT_ONCE: Final = 4


def examples(world: World) -> list[Json]:
    """Return the rows of the dataset that both evaluation runs use, each with its ref and an evasive answer."""
    rows = world.rng.sample(list(zip(world.library.row_refs(), world.library.rows, strict=True)), SAMPLE)
    evasions = COMPANY["evaluation"]["evasions"]
    return [{**row, "ref": ref, "evasion": world.rng.choice(evasions)} for ref, row in rows]


def evaluate(world: World, data: list[Json], started_at: int) -> Span:
    """Run one evaluation over all examples, four at a time; an example whose model fails has no scores."""
    trace = Trace(world, started_at, "staging", "eu-central-1", {"wb_user_id": "mara.lind"})
    inputs = {"self": trace.ref(EVALUATION), "model": trace.ref(ASSISTANT)}
    with Span(trace, "Evaluation.evaluate", inputs, started_at) as run:
        run.display_name = f"support quality: release {trace.release['name']}"
        lanes = [run.clock] * _AT_ONCE
        for example in data:
            lanes.sort()
            lanes[0] = _predict_and_score(run, example, lanes[0])
        run.output = _summarise(run, [call.output for call in run.children])
    return run


def _predict_and_score(run: Span, example: Json, at: int) -> int:
    """Return the time of the end."""
    with run.step("Evaluation.predict_and_score", {**run.inputs, "example": example["ref"]}, at) as call:
        answer = _predict(call, example)
        seconds = round((call.clock - call.started_at) / SECOND, 3)
        scores = {
            "answer_overlap": answer and _overlap(call, example["expected"], answer),
            "helpfulness": answer and _judge(call, example, answer),
        }
        call.output = {"output": answer, "scores": scores, "model_latency": seconds}
    return call.clock


def _predict(parent: Span, example: Json) -> str | None:
    trace, question = parent.trace, example["question"]
    answer: str = example["expected" if parent.rng.random() < trace.release["good_answers"] else "evasion"]
    inputs = {"self": parent.inputs["model"], "question": question}
    with parent.step("SupportAssistant.predict", inputs, optional=True) as call:
        call.output = chat(call, "large", trace.prompt(PROMPT), question, answer)
    return None if call.exception else answer


def _overlap(parent: Span, expected: str, answer: str) -> Json:
    """Score the fraction of expected words in the answer, from 0 to 1."""
    with parent.step("answer_overlap", {"expected": expected, "output": answer}) as call:
        call.work(0.0008)
        words = set(expected.lower().split())
        recall = round(len(words & set(answer.lower().split())) / len(words), 3)
        score = {"recall": recall, "passed": recall > 1 / 2}
        call.output = score
    return score


def _judge(parent: Span, example: Json, answer: str) -> Json | None:
    grade = parent.rng.choice((4, 5, 5) if answer == example["expected"] else (1, 2, 2, 3))
    verdict = {"grade": grade, "reason": f"The answer {COMPANY['evaluation']['grades'][grade - 1]}."}
    inputs = {"self": parent.trace.ref(JUDGE), "question": example["question"], "output": answer}
    with parent.step("HelpfulnessScorer.score", inputs, optional=True) as call:
        asked = f"Question: {example['question']}\nAnswer: {answer}"
        chat(call, "small", parent.trace.prompt(JUDGE_PROMPT), asked, orjson.dumps(verdict).decode())
        call.output = verdict
    return None if call.exception else verdict


def _summarise(run: Span, results: list[Json]) -> Json:
    with run.step("Evaluation.summarize", {"self": run.inputs["self"], "rows": len(results)}) as call:
        call.work(0.004)
        overlaps = [overlap for result in results if (overlap := result["scores"]["answer_overlap"])]
        grades = [verdict["grade"] for result in results if (verdict := result["scores"]["helpfulness"])]
        passed = sum(overlap["passed"] for overlap in overlaps)
        means = {
            "answer_overlap": {
                "recall": {"mean": fmean(overlap["recall"] for overlap in overlaps)},
                "passed": {"true_count": passed, "true_fraction": passed / len(overlaps)},
            },
            "helpfulness": {"grade": {"mean": fmean(grades)}},
            "model_latency": {"mean": fmean(result["model_latency"] for result in results)},
        }
        call.output = means
    return means


_WIDTH, _HEIGHT, _BAR, _GAP = 320, 120, 24, 12
_COLOURS: Final = bytes.fromhex("ffffff 6b4eff 00a38d f2a541 e4572e 3d5a80 9c89b8 7a9e7e b56576 4f6d7a")
"""RGB colours of the background, then of the bars in order."""
_BAR_COLOURS: Final = len(_COLOURS) // 3 - 1


def night(world: World, days_ago: int) -> Span:
    """Record the run of one night, at 02:00 UTC."""
    rng = world.rng
    started_at = world.timestamp(days_ago, 2 * HOUR + rng.randrange(HOUR // 60))
    run_id = f"{world.library.project_id}/nightly-{rng.getrandbits(32):08x}"
    ids = {"wb_user_id": "nightly-jobs", "wb_run_id": run_id}
    trace = Trace(world, started_at, "production", "eu-central-1", ids, tags=["nightly"])
    topics = rng.choices(TOPICS, k=rng.randint(9, 17))
    with Span(trace, "tickets.summarise_night", {"queue": "support", "tickets": len(topics)}, started_at) as batch:
        lines = [_summarise_ticket(batch, topic) for topic in topics]
        areas = Counter(sorted(topic["area"] for topic in topics))
        batch.output = {
            "summaries": [line for line in lines if line],
            "failed": lines.count(None),
            "areas": dict(areas),
            "chart": _chart(world, areas),
        }
    return batch


def _summarise_ticket(batch: Span, topic: Json) -> Json | None:
    """Return one line for the meeting; None if the summary fails, so that the ticket waits for the next night."""
    rng = batch.rng
    case = draw_case(rng)
    ticket = rng.choice(topic["exchanges"])[0].format_map(case)
    opening = "{first_name} ({city}): {product}.".format_map(case)
    line = f"{opening} {topic['area']}, priority {rng.randint(1, 3)}, {rng.choice(COMPANY['moods'])}"
    summary = {"ticket_id": case["case_number"], "summary": line}
    with batch.step("summarise_ticket", {"ticket_id": case["case_number"], "text": ticket}, optional=True) as call:
        chat(call, "open", COMPANY["prompts"]["summary"], ticket, line)
        call.output = summary
    return None if call.exception else summary


def _chart(world: World, areas: Counter[str]) -> Json:
    """Return a bar chart of the areas as Weave's client represents a picture, and add its files to the library."""
    picture = NewFile.of(bar_chart(list(areas.values())), "tickets-by-area.png")
    known = {
        "id": world.new_id(),
        "size": picture.size_bytes,
        "mimetype": "image/png",
        "digest": picture.digest,
        "filename": picture.name,
        "content_type": "bytes",
        "input_type": "bytes",
        "encoding": "utf-8",
        "metadata": None,
        "extension": ".png",
    }
    metadata = NewFile.of(orjson.dumps(known), METADATA_NAME)
    world.library.files += [picture, metadata]
    return content_value(picture, metadata)


def bar_chart(counts: Sequence[int]) -> bytes:
    """Return a PNG with one bar for each count; the highest bar has the height of the picture."""
    tops = [_HEIGHT - (_HEIGHT - _GAP) * count // max([*counts, 1]) for count in counts]
    lines = b""
    for y in range(_HEIGHT):
        line = b""
        for number, top in enumerate(tops):
            colour = 1 + number % _BAR_COLOURS if y >= top else 0
            line += bytes(_GAP) + bytes([colour]) * _BAR
        lines += b"\0" + line.ljust(_WIDTH, b"\0")[:_WIDTH]  # the first byte of a line says that it is unfiltered
    return _png(lines)


def _png(lines: bytes) -> bytes:
    """Encode lines of pixels as a PNG; each byte is an index into the colours."""
    png = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">2I5B", _WIDTH, _HEIGHT, 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": _COLOURS, b"IDAT": zlib.compress(lines, 9), b"IEND": b""}
    for kind, data in chunks.items():
        png += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png
