"""The company's support agent: threads of turns; each turn is a trace that plans, looks things up and answers."""

from collections.abc import Iterator
from typing import Final

import orjson

from app.demo.company import COMPANY, FOREIGN_TOPICS, TOPICS, Exchange, Json, draw_case
from app.demo.library import ASSISTANT, PROMPT
from app.demo.simulation import Span, StepError, Trace, World
from app.demo.steps import chat, message, retrieve, use_tool
from stores.times import SECOND

_FOREIGN: Final = 0.2
_STAGING: Final = 0.12
_ESCALATED: Final = 0.08
_LONG: Final = (4, 7)
"""Minimum number of turns in an escalated thread, drawn from this range."""

_NO_FALLBACK_RATE: Final = 0.35
_LENGTHS: Final = (24, 26, 20, 12, 8, 5, 3, 2)
"""Weights of threads with one, two, ... eight turns."""


def thread(world: World) -> Iterator[Span]:
    """Yield the turns of a conversation of one to eight turns at a random time in the two weeks."""
    length = world.rng.choices(range(1, len(_LENGTHS) + 1), _LENGTHS)[0]
    escalates = world.rng.random() < _ESCALATED
    length = max(length, world.rng.randint(*_LONG)) if escalates else length
    conversation = Conversation(world)
    yield from conversation.turns(length, world.busy_moment(), escalated=length - 2 if escalates else None)


def live_thread(world: World) -> Iterator[Span]:
    """Yield the turns of a conversation whose last turn started a minute or two ago and waits for a tool or a model."""
    conversation = Conversation(world)
    yield from conversation.turns(world.rng.randint(1, 2), world.now - 20 * 60 * SECOND)
    yield conversation.hanging_turn()


class Conversation:
    """A thread: the customer, the topic, and the messages so far."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = rng = world.rng
        self.topic = rng.choice(FOREIGN_TOPICS if rng.random() < _FOREIGN else TOPICS)
        self.region = rng.choice(COMPANY["regions"])
        self.is_staging = rng.random() < _STAGING
        service_user = COMPANY["service_users"][self.region]
        self.wb_user_id = rng.choice(COMPANY["developers"]) if self.is_staging else service_user
        self.case = draw_case(rng)
        self.thread_id = f"chat-{world.new_id()[:13]}"
        self.history: list[Json] = []

    def turns(self, length: int, started_at: int, *, escalated: int | None = None) -> Iterator[Span]:
        """Yield consecutive turns; the turn of the number `escalated` asks a colleague."""
        for number in range(length):
            exchange = self._opening() if number == 0 else self._next(last=number == length - 1)
            turn = self._turn(exchange, started_at, escalated=number == escalated)
            yield turn
            started_at = turn.clock + self.rng.randint(15, 240) * SECOND

    def hanging_turn(self) -> Span:
        """Return a turn that has not ended yet."""
        exchange = self._opening()
        return self._turn(exchange, self.world.now - self.rng.randint(60, 150) * SECOND, hangs=True)

    def _opening(self) -> Exchange:
        rng, topic = self.rng, self.topic
        question, answer = rng.choice(topic.exchanges)
        asked = f"{rng.choice(topic.greetings)}{question}{rng.choice(topic.sign_offs)}"
        return asked, f"{rng.choice(topic.openings)} {answer} {rng.choice(topic.closings)}".strip()

    def _next(self, *, last: bool) -> Exchange:
        rng, topic = self.rng, self.topic
        said = " ".join(each["content"] for each in self.history)
        fresh = [exchange for exchange in topic.follow_ups if exchange[0].format_map(self.case) not in said]
        if fresh and not (last and rng.random() < 1 / 2):
            question, answer = rng.choice(fresh)
            return f"{rng.choice(topic.lead_ins)}{question}", f"{answer} {rng.choice(topic.closings)}".strip()
        return rng.choice(topic.thanks) if last else self._opening()

    def _turn(self, exchange: Exchange, started_at: int, *, escalated: bool = False, hangs: bool = False) -> Span:
        question, reply = (text.format_map(self.case) for text in exchange)
        trace = self._trace(started_at)
        inputs = {"self": trace.ref(ASSISTANT), "question": question, "history": list(self.history)}
        with Span(trace, "assistant.answer", inputs, started_at) as turn:
            if escalated:
                turn.display_name = "Escalated: {case_number} {customer}".format_map(self.case)
            steps = self._plan(turn, question, is_smalltalk=exchange in self.topic.thanks, escalated=escalated)
            articles = retrieve(turn, self.topic, question) if "retrieve" in steps else []
            tools = [step for step in steps if step != "retrieve"]
            results = [use_tool(turn, tool, self.case, hangs=hangs and tool == tools[-1]) for tool in tools]
            if None in results:
                reply = self.topic.apology.format_map(self.case)
            self._answer(turn, _system_prompt(turn, articles, results), question, reply, hangs=hangs)
            turn.output = {"answer": reply, "sources": articles, "intent": self.topic.intent}
            self.history += [message("user", question), message("assistant", reply)]
        return turn

    def _trace(self, started_at: int) -> Trace:
        customer = {"name": self.case["customer"], "tier": self.case["tier"], "language": self.topic.language}
        return Trace(
            self.world,
            started_at,
            self.wb_user_id,
            "staging" if self.is_staging else "production",
            self.region,
            {"area": self.topic.area, "customer": customer},
            thread_id=self.thread_id,
        )

    def _plan(self, turn: Span, question: str, *, is_smalltalk: bool, escalated: bool) -> list[str]:
        steps = [] if is_smalltalk else ["retrieve", *(tool for tool in self.topic.tools if self.rng.random() < 2 / 3)]
        steps += ["ask_colleague"] if escalated else []
        plan = {"intent": self.topic.intent, "steps": steps, "confidence": round(self.rng.uniform(0.55, 0.99), 2)}
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
            if self.rng.random() < _NO_FALLBACK_RATE:
                raise
            chat(turn, "open", system, question, reply, history=self.history)


def _system_prompt(turn: Span, articles: list[str], results: list[Json | None]) -> str:
    prompt = COMPANY["prompts"][PROMPT][turn.trace.release["name"]]
    known = "".join(f"\n- {article}" for article in articles) or "\n(none)"
    found = orjson.dumps([result or {"error": "unavailable"} for result in results]).decode()
    return f"{prompt}\n\nArticles:{known}\n\nTool results: {found}"
