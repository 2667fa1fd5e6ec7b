"""Systems that the assistant queries and changes: orders, refunds, invoices, devices, plans, the warehouse."""

from collections.abc import Callable
from random import Random
from typing import Final

from app.demo import failures, models, vocabulary
from app.demo.cases import Case
from app.demo.span import Json, Span, StillRunning
from stores.digests import text_digest

_FAILS: Final = 0.09
_PAID: Final = 0.9

Answer = tuple[Json, Json, float]
"""A tool's arguments, its result, and its median seconds."""


def run(parent: Span, tool: str, case: Case, *, hangs: bool = False) -> Json:
    """Record a call to a tool and return its result; some calls fail.

    Raises:
        StepError: the tool failed, or the model that it calls.
        StillRunning: the call hangs and has no result yet.
    """
    arguments, result, seconds = _TOOLS[tool](case, parent.trace.rng)
    with parent.step(f"tools.{tool}", arguments) as call:
        if tool == "refund":
            _check_policy(call, case)
        if hangs:
            raise StillRunning
        if call.trace.rng.random() < _FAILS:
            raise failures.of_tool(tool, case).strike(call)
        call.work(seconds)
        call.output = result
    return result


def _check_policy(refund: Span, case: Case) -> None:
    with refund.step("check_policy", {"order_id": case.order, "reason": case.reason}) as check:
        request = f"Order {case.order}, {case.product}, {case.amount:.2f} EUR, {case.days} days old: {case.reason}."
        messages = [models.message("system", vocabulary.POLICY_PROMPT), models.message("user", request)]
        reply = f'{{"allowed":true,"rule":"R{case.days}","reason":"{case.days} days are within the 60 allowed"}}'
        models.chat(check, models.SMALL, messages, reply)
        check.output = {"allowed": True, "rule": f"R{case.days}"}


def _order_status(case: Case, rng: Random) -> Answer:
    state = rng.choice(("packed", "in_transit", "in_transit", "out_for_delivery", "delivered"))
    result = {
        "order_id": case.order,
        "state": state,
        "items": [{"sku": text_digest(case.product)[:8].upper(), "name": case.product, "quantity": rng.randint(1, 3)}],
        "carrier": case.carrier,
        "last_scan": case.city,
    }
    return {"order_id": case.order}, result, 0.18


def _refund(case: Case, rng: Random) -> Answer:
    arguments = {"order_id": case.order, "amount": case.amount, "currency": "EUR", "reason": case.reason}
    return arguments, {"refund_id": f"R-{rng.randint(10_000, 99_999)}", "state": "accepted", **arguments}, 0.6


def _billing_history(case: Case, rng: Random) -> Answer:
    invoices = [
        {
            "number": f"2026-{rng.randint(1000, 9999)}",
            "amount": case.amount,
            "plan": case.tier,
            "paid": rng.random() < _PAID,
        }
        for _ in range(rng.randint(1, 4))
    ]
    return {"customer": case.customer, "months": 6}, {"invoices": invoices}, 0.3


def _device_diagnostics(case: Case, rng: Random) -> Answer:
    result = {
        "firmware": f"4.{case.days}.{rng.randint(0, 4)}",
        "signal_dbm": -rng.randint(38, 86),
        "battery": round(rng.uniform(0.08, 1.0), 2),
        "reboots_today": rng.choice((0, 0, 0, 1, 3)),
    }
    return {"product": case.product, "serial": f"LQ{rng.randint(10**8, 10**9 - 1)}"}, result, 1.4


def _subscription_change(case: Case, rng: Random) -> Answer:
    arguments = {"customer": case.customer, "from": case.tier, "to": rng.choice(("cancelled", "paused", "family"))}
    return arguments, {"effective_in_days": case.days, "credit": case.amount}, 0.4


def _replacement(case: Case, rng: Random) -> Answer:
    shipment = {"shipment_id": f"S-{rng.randint(10**6, 10**7 - 1)}", "carrier": case.carrier, "ships_to": case.city}
    return {"order_id": case.order, "product": case.product}, shipment, 0.5


def _stock_level(case: Case, rng: Random) -> Answer:
    return {"product": case.product, "warehouse": case.city}, {"available": rng.randint(0, 240)}, 0.07


def _ask_colleague(case: Case, rng: Random) -> Answer:
    answer = rng.choice(("Go ahead, I have approved it.", "Yes, but only this once.", "I'll call the customer myself."))
    arguments = {"channel": "support-leads", "case": case.case_number, "customer": case.customer, "reason": case.reason}
    return arguments, {"answer": answer, "by": rng.choice(vocabulary.DEVELOPERS)}, 55.0


_TOOLS: Final[dict[str, Callable[[Case, Random], Answer]]] = {
    "order_status": _order_status,
    "refund": _refund,
    "billing_history": _billing_history,
    "device_diagnostics": _device_diagnostics,
    "subscription_change": _subscription_change,
    "replacement": _replacement,
    "stock_level": _stock_level,
    "ask_colleague": _ask_colleague,
}
