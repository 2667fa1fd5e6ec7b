// Rows of a list that are read in pages as somebody scrolls, in both directions.

import { signal } from "@preact/signals";

import { ApiError } from "./errors";

export const PAGE = 100;

/** Arguments of a page. */
export interface PageArguments {
  first?: number;
  after?: string;
  last?: number;
  before?: string;
  offset?: number;
}

export interface Page<Row> {
  nodes: readonly Row[];
  pageInfo: { startCursor?: string | null; endCursor?: string | null; hasNextPage: boolean };
}

type Read<Row> = (page: PageArguments, abort: AbortSignal) => Promise<Page<Row>>;

/**
 * A list of rows by index. A page beside one that is known is read by cursor; one that is far away is read by offset,
 * which costs more the farther it is.
 */
export class Rows<Row> {
  /** Changes whenever rows arrive. */
  readonly version = signal(0);
  readonly error = signal<ApiError | null>(null);
  /** Number of rows as far as the pages tell: the end of the list once a page was the last one. */
  readonly end = signal<number | null>(null);

  private readonly pages = new Map<number, Page<Row>>();
  private readonly running = new Map<number, AbortController>();

  constructor(
    private readonly read: Read<Row>,
    private readonly options = { hasOffset: true },
  ) {}

  /** Return a row; undefined if it is not read yet. */
  at(index: number): Row | undefined {
    return this.pages.get(Math.floor(index / PAGE))?.nodes[index % PAGE];
  }

  /** Return a row that was read and passes a test; undefined if there is none. */
  find(test: (row: Row) => boolean): Row | undefined {
    for (const { nodes } of this.pages.values()) {
      const found = nodes.find(test);
      if (found) return found;
    }
    return undefined;
  }

  /** True if some rows were read, or the list is known to be empty. */
  get isRead(): boolean {
    return this.pages.size > 0;
  }

  /** Number of rows up to the last one that is known. */
  get known(): number {
    const last = Math.max(-1, ...this.pages.keys());
    return last < 0 ? 0 : last * PAGE + (this.pages.get(last)?.nodes.length ?? 0);
  }

  /** Read the rows of a range, and the page after it; requests for other pages end. */
  need(from: number, to: number): void {
    const last = this.end.value === null ? Infinity : Math.max(0, Math.ceil(this.end.value / PAGE) - 1);
    const [low, high] = [
      Math.max(0, Math.floor(from / PAGE)),
      Math.min(last, Math.floor(Math.max(from, to - 1) / PAGE)),
    ];
    for (const [page, abort] of this.running) {
      if (page < low - 1 || page > high + 1) {
        abort.abort();
        this.running.delete(page);
      }
    }
    if (this.error.value) return;
    for (let page = low; page <= high; page++) this.load(page);
    if (this.pages.has(high) && high + 1 <= last) this.load(high + 1);
  }

  /** Read again after an error. */
  retry(): void {
    this.error.value = null;
    this.version.value++;
  }

  /** End all requests. */
  stop(): void {
    for (const abort of this.running.values()) abort.abort();
    this.running.clear();
  }

  private load(page: number): void {
    if (this.pages.has(page) || this.running.has(page)) return;
    // The page before comes soon and has the cursor.
    if (this.running.has(page - 1)) return;
    const [previous, next] = [this.pages.get(page - 1), this.pages.get(page + 1)];
    let asked: PageArguments = { first: PAGE };
    if (previous?.pageInfo.endCursor) asked = { first: PAGE, after: previous.pageInfo.endCursor };
    else if (page > 0 && next?.pageInfo.startCursor) asked = { last: PAGE, before: next.pageInfo.startCursor };
    else if (page > 0 && this.options.hasOffset) asked = { first: PAGE, offset: page * PAGE };
    else if (page > 0) return;
    const abort = new AbortController();
    this.running.set(page, abort);
    this.read(asked, abort.signal).then(
      (found) => {
        if (abort.signal.aborted) return;
        this.running.delete(page);
        this.pages.set(page, found);
        if (!("last" in asked) && !found.pageInfo.hasNextPage) this.end.value = page * PAGE + found.nodes.length;
        this.version.value++;
      },
      (error: unknown) => {
        // The page may be on its way again, for another request.
        if (abort.signal.aborted) return;
        this.running.delete(page);
        this.error.value = error instanceof ApiError ? error : new ApiError(String(error), "INTERNAL");
      },
    );
  }
}
