"""A small project with every kind of link, and another project that no link may reach."""

from typing import TYPE_CHECKING

from graphql_schema.context import Stores
from stores.costs.store import NewCost
from tests.stores.calls.builders import PROJECT, call_id, end, start, trace_id
from tests.stores.feedback.builders import call_ref, note
from tests.stores.objects.builders import version

if TYPE_CHECKING:
    from stores.calls import CallEnd, CallStart

OTHER = "acme/other"
OP = {"_type": "CustomWeaveType", "weave_type": {"type": "Op"}}


async def build(stores: Stores, count: int = 12) -> None:
    """Create calls with all their links: four in each trace, and a thread for every two traces."""
    table, _ = await stores.tables.create(PROJECT, [{"q": "a"}, {"q": "b"}])
    dataset = await stores.objects.create(version({"rows": f"weave:///{PROJECT}/table/{table}"}, object_id="data"))
    digests = [
        await stores.objects.create(version(OP | {"n": n, "files": {"obj.py": "none"}}, object_id="answer"))
        for n in range(3)
    ]
    parts: list[CallStart | CallEnd] = []
    for number in range(count):
        root = number - number % 4
        parts.append(
            start(
                number,
                trace_id=trace_id(root),
                parent_id=None if number == root else call_id(root + (number % 4) // 2),
                thread_id=f"t{root // 8}" if number % 3 else None,
                turn_id=call_id(root),
                op_name=f"weave:///{PROJECT}/op/answer:{digests[number % 3]}" if number % 5 else "plain",
                inputs={"data": f"weave:///{PROJECT}/object/data:{dataset}", "q": [1, {"a": number}]},
            )
        )
        if number % 7:
            used = {"usage": {"priced": {"prompt_tokens": number}}} if number % 2 else {}
            parts.append(end(number, summary=used, exception="no" if number % 6 == 0 else None))
    await stores.calls.write(parts)
    await stores.calls.write([start(1, project_id=OTHER, parent_id=call_id(0)), end(1, project_id=OTHER)])
    await stores.costs.create(PROJECT, [NewCost("priced", 0.5, 1.0)])
    await stores.feedback.create([note(str(n), weave_ref=call_ref(n)) for n in range(0, count, 2)])
    await stores.feedback.create_one(note("foreign", weave_ref=call_ref(1, OTHER)))
    await stores.feedback.create_one(note("on a trace", weave_ref=f"weave:///{PROJECT}/trace/{trace_id(0)}"))
