// A virtual table: only the rows on the screen exist. Rows have one height, so a row's place is its index times that.

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";

import { onDrag, useKeys, useSize, useStored } from "./components";
import { type Page, type PageArguments, Rows } from "./rows";

export const ROW = 28;

/** Pixels that a browser surely lays out; a longer list is scaled to it. */
const MAX_HEIGHT = 8_000_000;

export interface Column<Row> {
  id: string;
  title: ComponentChildren;
  /** Width in pixels; the first column without one takes the rest. */
  width: number;
  isNumber?: boolean;
  /** Field by which the API sorts; none if it does not. */
  sort?: string;
  cell: (row: Row) => ComponentChildren;
  text?: (row: Row) => string | undefined;
}

interface Props<Row> {
  label: string;
  columns: readonly Column<Row>[];
  count: number;
  at: (index: number) => Row | undefined;
  need: (from: number, to: number) => void;
  href: (row: Row) => string;
  id: (row: Row) => string;
  selected: string | null;
  onSelect: (row: Row) => void;
  onOpen: (row: Row) => void;
  sort: string | null;
  onSort: (sort: string | null) => void;
  /** True if a checkbox stands before each row. */
  marked?: ReadonlySet<string>;
  onMark?: (row: Row, isMarked: boolean) => void;
}

export function Grid<Row>(props: Props<Row>) {
  const { count, at, need, id, selected } = props;
  const [widths, setWidths] = useStored<Record<string, number>>(`widths of ${props.label}`, {});
  const columns = props.columns.map((column) => ({ ...column, width: widths[column.id] ?? column.width }));
  const [scroller, { height }] = useSize<HTMLDivElement>();
  const [top, setTop] = useState(0);
  const frame = useRef(0);
  const total = count * ROW;
  const shownHeight = Math.min(total, MAX_HEIGHT);
  // Beyond the limit of browsers, one pixel of the scroll bar stands for several of the list.
  const scale = shownHeight > height ? Math.max(1, (total - height) / (shownHeight - height)) : 1;
  const offset = top * scale;
  const first = Math.max(0, Math.floor(offset / ROW) - 4);
  const last = Math.min(count, Math.ceil((offset + height) / ROW) + 4);
  useEffect(() => need(first, last));
  useEffect(() => () => cancelAnimationFrame(frame.current), []);

  const cursor = useRef(-1);
  const indexOfSelected = () => {
    if (cursor.current >= 0 && at(cursor.current) && id(at(cursor.current) as Row) === selected) return cursor.current;
    for (let index = first; index < last; index++) {
      const row = at(index);
      if (row && id(row) === selected) return index;
    }
    return -1;
  };
  const move = (by: number) => {
    const index = Math.min(count - 1, Math.max(0, indexOfSelected() + by));
    const row = at(index);
    if (!row) return need(index, index + 1);
    cursor.current = index;
    props.onSelect(row);
    const element = scroller.current;
    if (!element) return;
    const [from, to] = [index * ROW, (index + 1) * ROW];
    if (from < offset) element.scrollTop = from / scale;
    else if (to > offset + height) element.scrollTop = (to - height) / scale;
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Enter: () => {
      const row = at(indexOfSelected());
      if (row) props.onOpen(row);
    },
  });

  const template = `${props.marked ? "28px " : ""}${columns.map(({ width }, at) => (at === 1 ? `minmax(${width}px, 1fr)` : `${width}px`)).join(" ")}`;
  const least = columns.reduce((sum, { width }) => sum + width, props.marked ? 28 : 0);
  const onScroll = (event: Event) => {
    const element = event.currentTarget as HTMLElement;
    cancelAnimationFrame(frame.current);
    frame.current = requestAnimationFrame(() => setTop(element.scrollTop));
  };
  // While somebody scrolls, the cells of a row stay the nodes that they were, so that Preact skips them.
  const known = useMemo(() => new Map<number, ComponentChildren>(), [props]);
  for (const index of known.keys()) if (index < first || index >= last) known.delete(index);
  const cellsOf = (row: Row, index: number) => (
    <>
      {props.marked && (
        <span role="cell" class="mark">
          <input
            type="checkbox"
            aria-label="Select this row"
            checked={props.marked.has(id(row))}
            onChange={(event) => props.onMark?.(row, event.currentTarget.checked)}
          />
        </span>
      )}
      {columns.map((column, at) => (
        <span key={column.id} role="cell" class={column.isNumber ? "number" : undefined} title={column.text?.(row)}>
          {at === 1 ? (
            <a
              href={props.href(row)}
              onClick={(event) => {
                if (event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
                event.preventDefault();
                cursor.current = index;
                props.onSelect(row);
              }}
              onDblClick={() => props.onOpen(row)}
            >
              {column.cell(row)}
            </a>
          ) : (
            column.cell(row)
          )}
        </span>
      ))}
    </>
  );
  const rows: ComponentChildren[] = [];
  for (let index = first; index < last; index++) {
    const row = at(index);
    if (row && !known.has(index)) known.set(index, cellsOf(row, index));
    const y = index * ROW - offset + top;
    rows.push(
      <div
        key={index}
        role="row"
        aria-rowindex={index + 2}
        aria-selected={row !== undefined && id(row) === selected}
        class={row ? "row" : "row loading"}
        style={{ transform: `translateY(${y}px)`, gridTemplateColumns: template }}
      >
        {known.get(index)}
      </div>,
    );
  }
  return (
    <div
      class="grid"
      role="table"
      aria-label={props.label}
      aria-rowcount={count + 1}
      ref={scroller}
      onScroll={onScroll}
      tabIndex={0}
    >
      <div class="head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template, minWidth: least }}>
        {props.marked && (
          <span role="columnheader" class="mark">
            <span class="unseen">Marked</span>
          </span>
        )}
        {columns.map((column) => (
          <Head
            key={column.id}
            column={column}
            sort={props.sort}
            onSort={props.onSort}
            onResize={(width) => setWidths({ ...widths, [column.id]: width })}
          />
        ))}
      </div>
      <div class="body" role="rowgroup" style={{ height: shownHeight, minWidth: least }}>
        {rows}
      </div>
    </div>
  );
}

function Head<Row>({
  column,
  sort,
  onSort,
  onResize,
}: {
  column: Column<Row>;
  sort: string | null;
  onSort: Props<Row>["onSort"];
  onResize: (width: number) => void;
}) {
  const cell = useRef<HTMLSpanElement>(null);
  const isSorted = column.sort !== undefined && sort?.replace(/^-/, "") === column.sort;
  const isDescending = isSorted && sort?.startsWith("-");
  // The greatest come first, then the least, then the default order.
  const next = !isSorted ? `-${column.sort}` : isDescending ? (column.sort as string) : null;
  const drag = (event: PointerEvent) => {
    const [from, width] = [event.clientX, cell.current?.offsetWidth ?? column.width];
    onDrag(event, (x) => onResize(Math.max(40, width + x - from)));
  };
  return (
    <span
      ref={cell}
      role="columnheader"
      class={column.isNumber ? "number" : undefined}
      aria-sort={isSorted ? (isDescending ? "descending" : "ascending") : undefined}
    >
      {column.sort ? (
        <button type="button" onClick={() => onSort(next)} title="Sort">
          {column.title}
          {isSorted && <span aria-hidden="true">{isDescending ? " ↓" : " ↑"}</span>}
        </button>
      ) : (
        column.title
      )}
      <span class="resize" aria-hidden="true" onPointerDown={drag} />
    </span>
  );
}

/** Read a list in pages; another `identity` begins a new one. A page is null if the list does not exist. */
export function useRows<Row>(
  read: (page: PageArguments, abort: AbortSignal) => Promise<Page<Row> | null>,
  identity: readonly unknown[],
  options?: { hasOffset: boolean },
): Rows<Row> {
  const rows = useMemo(() => {
    const nothing = { nodes: [], pageInfo: { hasNextPage: false } };
    return new Rows<Row>(async (page, abort) => (await read(page, abort)) ?? nothing, options);
  }, identity);
  useEffect(() => () => rows.stop(), [rows]);
  void rows.version.value;
  return rows;
}
