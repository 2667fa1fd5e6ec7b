// Tests of lists that are read in pages, with a reader that answers when the test says so.

import { expect, test } from "vitest";

import { ApiError } from "../../app/explorer/errors";
import { PAGE, type Page, type PageArguments, Rows } from "../../app/explorer/rows";

interface Request {
  asked: PageArguments;
  abort: AbortSignal;
  answer: () => Promise<void>;
  fail: (error: unknown) => Promise<void>;
}

/** Return the page of a list of the numbers from 0; a cursor is the number of its row. */
function pageOf(number: number, { first, after, last, before, offset }: PageArguments): Page<number> {
  const from = last ? Number(before) - last : after === undefined ? (offset ?? 0) : Number(after) + 1;
  const nodes = Array.from({ length: Math.max(0, Math.min(first ?? last ?? 0, number - from)) }, (_, at) => from + at);
  const [start, end] = [nodes[0], nodes.at(-1)];
  const cursors = start === undefined ? {} : { startCursor: String(start), endCursor: String(end) };
  return { nodes, pageInfo: { ...cursors, hasNextPage: from + nodes.length < number } };
}

/** Return rows of a list of some length, and the requests that they made. */
function listOf(number: number, options?: { hasOffset: boolean }): { rows: Rows<number>; requests: Request[] } {
  const requests: Request[] = [];
  const rows = new Rows<number>(
    (asked, abort) =>
      new Promise((resolve, reject) => {
        abort.addEventListener("abort", () => reject(abort.reason as Error));
        // Answers arrive in a later turn; a macrotask follows all of them.
        const arrived = () => new Promise<void>((done) => setTimeout(done));
        const answer = () => (resolve(pageOf(number, asked)), arrived());
        const fail = (error: unknown) => (reject(error as Error), arrived());
        requests.push({ asked, abort, answer, fail });
      }),
    options,
  );
  return { rows, requests };
}

const asked = (requests: readonly Request[]) => requests.map((request) => request.asked);
const turn = () => new Promise<void>((done) => setTimeout(done));

test("the first page is read once, and then the next one by cursor", async () => {
  const { rows, requests } = listOf(250);
  expect([rows.isRead, rows.at(0), rows.known]).toEqual([false, undefined, 0]);

  rows.need(0, 30);
  rows.need(0, 40);
  expect(asked(requests)).toEqual([{ first: PAGE }]);
  await requests[0]?.answer();

  expect([rows.isRead, rows.at(0), rows.at(99), rows.at(100)]).toEqual([true, 0, 99, undefined]);
  expect([rows.known, rows.end.value]).toEqual([PAGE, null]);
  rows.need(0, 30);
  expect(asked(requests).slice(1)).toEqual([{ first: PAGE, after: "99" }]);
});

test("the end is known once the last page was read", async () => {
  const { rows, requests } = listOf(250);
  for (let at = 0; at < 3; at++) {
    rows.need(100 * at, 100 * at + 30);
    await requests[at]?.answer();
  }

  expect([rows.end.value, rows.known, rows.at(249), rows.at(250)]).toEqual([250, 250, 249, undefined]);
  rows.need(200, 1_000);
  expect(requests.length).toBe(3);
});

test("an empty list has an end", async () => {
  const { rows, requests } = listOf(0);
  rows.need(0, 30);
  await requests[0]?.answer();
  rows.need(0, 30);

  expect([rows.isRead, rows.end.value, rows.known, requests.length]).toEqual([true, 0, 0, 1]);
});

test("a list of exactly one page has no next one", async () => {
  const { rows, requests } = listOf(PAGE);
  rows.need(0, 30);
  await requests[0]?.answer();
  rows.need(70, 100);

  expect([rows.end.value, requests.length]).toEqual([PAGE, 1]);
});

test("a far page is read by offset, and pages around it by cursor in both directions", async () => {
  const { rows, requests } = listOf(100_000);
  rows.need(50_000, 50_040);
  await requests[0]?.answer();
  expect([rows.at(50_000), rows.at(49_999), rows.known]).toEqual([50_000, undefined, 50_100]);

  rows.need(49_990, 50_030);
  await requests[1]?.answer();
  await requests[2]?.answer();

  expect(asked(requests)).toEqual([
    { first: PAGE, offset: 50_000 },
    { last: PAGE, before: "50000" },
    { first: PAGE, after: "50099" },
  ]);
  expect([rows.at(49_900), rows.at(49_999), rows.at(50_199)]).toEqual([49_900, 49_999, 50_199]);
  expect(rows.end.value).toBeNull();
});

test("a list without offsets reads a far page only from its neighbour", async () => {
  const { rows, requests } = listOf(1_000, { hasOffset: false });
  rows.need(500, 530);
  expect(requests).toEqual([]);

  rows.need(0, 30);
  await requests[0]?.answer();
  rows.need(100, 130);

  expect(asked(requests)).toEqual([{ first: PAGE }, { first: PAGE, after: "99" }]);
});

test("requests for pages that nobody needs any more end, and are made again when needed", async () => {
  const { rows, requests } = listOf(100_000);
  rows.need(0, 30);
  rows.need(50_000, 50_030);

  expect(requests.map(({ abort }) => abort.aborted)).toEqual([true, false]);
  rows.need(0, 30);
  expect(requests.map(({ abort }) => abort.aborted)).toEqual([true, true, false]);
  await turn();

  // The end of the first request does not hide the third, which is for the same page.
  rows.need(0, 30);
  expect(asked(requests)).toEqual([{ first: PAGE }, { first: PAGE, offset: 50_000 }, { first: PAGE }]);
  expect(rows.error.value).toBeNull();
  rows.need(70_000, 70_030);
  expect(requests[2]?.abort.aborted).toBe(true);
});

test("the answer to a superseded request changes nothing", async () => {
  const late: ((page: Page<number>) => void)[] = [];
  const rows = new Rows<number>(() => new Promise((resolve) => late.push(resolve)));
  rows.need(0, 30);
  rows.stop();
  late[0]?.(pageOf(250, { first: PAGE }));
  await turn();

  expect([rows.isRead, rows.version.value]).toEqual([false, 0]);
});

test("an error ends reading until a retry", async () => {
  const { rows, requests } = listOf(250);
  rows.need(0, 30);
  const error = new ApiError("no", "FORBIDDEN", "r1");
  await requests[0]?.fail(error);

  expect(rows.error.value).toBe(error);
  rows.need(0, 30);
  expect(requests.length).toBe(1);
  const before = rows.version.value;
  rows.retry();
  expect([rows.error.value, rows.version.value]).toEqual([null, before + 1]);
  rows.need(0, 30);
  await requests[1]?.answer();
  expect(rows.at(99)).toBe(99);
});

test("an unexpected error is an internal one", async () => {
  const { rows, requests } = listOf(250);
  rows.need(0, 30);
  await requests[0]?.fail(new TypeError("x is not a function"));

  expect([rows.error.value?.code, rows.error.value?.message]).toEqual(["INTERNAL", "TypeError: x is not a function"]);
});

test("stopping ends all requests", async () => {
  const { rows, requests } = listOf(100_000);
  rows.need(50_000, 50_250);
  rows.stop();
  await turn();

  expect(requests.length).toBeGreaterThan(0);
  expect(requests.every(({ abort }) => abort.aborted)).toBe(true);
  expect(rows.error.value).toBeNull();
});
