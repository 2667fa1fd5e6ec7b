"""The client in TypeScript that README shows: generated from the committed schema, type-checked, and run."""

import json

from stores.calls import CallsStore
from tests.clients.built import Built, end_call, log_and_find, see_end
from tests.clients.readme import TYPESCRIPT
from tests.installation import ROOT
from tests.stores.calls.builders import PROJECT

# tsc complains of each line that is wrong, and of each that is marked as wrong and is not.
TYPED = """
import type { CallBatchMode, FoundQuery, QueryInput, WatchSubscription } from "./gql/graphql.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Call = FoundQuery["calls"]["nodes"][number];
type Event = WatchSubscription["callEvents"];

export const types: [
  Equal<Call["id"], string>,
  Equal<Call["startedAt"], string>,
  Equal<Call["latencyMs"], number | null>,
  Equal<Call["question"], unknown>,
  Equal<FoundQuery["calls"]["totalCount"], number>,
  Equal<Event["type"], "DELETED" | "ENDED" | "STARTED" | "UPDATED">,
] = [true, true, true, true, true, true];

declare const { start, end }: { start: NonNullable<CallBatchMode["start"]>; end: NonNullable<CallBatchMode["end"]> };
export const batch: CallBatchMode[] = [{ start }, { end }];
// @ts-expect-error Exactly one of them.
export const both: CallBatchMode = { start, end };
// @ts-expect-error One of them.
export const none: CallBatchMode = {};
// @ts-expect-error Two literals in one operand.
export const query: QueryInput = { expr: { eq: [{ literal: 1, getField: "status" }, { literal: 2 }] } };
// @ts-expect-error A literal is no object.
export const literal: QueryInput = { expr: { eq: [{ literal: {} }, { literal: 2 }] } };
"""


def test_the_packages_that_the_readme_installs_are_those_of_the_tests() -> None:
    locked = json.loads((ROOT / "tests" / "package.json").read_text())["dependencies"]

    words = set(TYPESCRIPT.packages) - {"npm", "install"}
    assert len(words) == 5
    assert words <= locked.keys()


async def test_scalars_and_one_of_inputs_are_typed(typescript_client: Built) -> None:
    (typescript_client.folder / "typed.ts").write_text(TYPED)
    options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022", "--ignoreConfig"]

    code, said = await typescript_client.outcome("npx", "tsc", *options, "typed.ts")

    assert code == 0, said


async def test_the_program_logs_finds_and_watches(typescript_client: Built, url: str, calls: CallsStore) -> None:
    async with typescript_client.program(url, PROJECT) as program:
        call = await log_and_find(program)
        await end_call(calls, call)
        await see_end(program)
