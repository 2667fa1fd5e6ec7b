// How values appear: durations, money, counts, sizes, times and ids.

const NUMBER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const NONE = "–";

/** Return a duration: 850 ms, 1.24 s, 2 m 03 s, 1 h 05 m. */
export function duration(milliseconds: number | null | undefined): string {
  if (milliseconds == null) return NONE;
  if (milliseconds < 0) return `-${duration(-milliseconds)}`;
  if (milliseconds < 999.5) {
    return milliseconds > 0 && milliseconds < 9.95
      ? `${+milliseconds.toFixed(1)} ms`
      : `${Math.round(milliseconds)} ms`;
  }
  if (milliseconds < 59_995) return `${(milliseconds / 1_000).toFixed(2)} s`;
  const seconds = Math.round(milliseconds / 1_000);
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3_600), Math.floor(seconds / 86_400)];
  const two = (value: number) => String(value).padStart(2, "0");
  if (minutes < 60) return `${minutes} m ${two(seconds % 60)} s`;
  return hours < 24 ? `${hours} h ${two(minutes % 60)} m` : `${days} d ${two(hours % 24)} h`;
}

/** Return an amount in US dollars: <$0.0001, $0.0042, $12.40, $1,234. */
export function money(dollars: number | null | undefined): string {
  if (dollars == null) return NONE;
  if (dollars < 0) return `-${money(-dollars)}`;
  if (dollars === 0) return "$0";
  if (dollars < 0.0001) return "<$0.0001";
  if (dollars < 0.09995) return `$${dollars.toFixed(4)}`;
  return dollars < 999.995 ? `$${dollars.toFixed(2)}` : `$${NUMBER.format(dollars)}`;
}

/** Return a count: 1,234, and from 10,000 on 12.3 k, 4.56 M. */
export function count(value: number | null | undefined): string {
  if (value == null) return NONE;
  return Math.abs(value) < 10_000 ? NUMBER.format(value) : scaled(value, ["k", "M", "G", "T"]);
}

/** Return a whole count with all digits. */
export const exactCount = (value: number) => NUMBER.format(value);

/** Return a size: 512 B, 1.5 kB, 2.25 MB. */
export function bytes(value: number | null | undefined): string {
  if (value == null) return NONE;
  return value < 1_000 ? `${value} B` : scaled(value, ["kB", "MB", "GB", "TB"]);
}

/** Return a share: 0 %, 0.4 %, 12 %. */
export function percent(share: number | null | undefined): string {
  if (share == null) return NONE;
  const value = 100 * share;
  return `${value === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} %`;
}

function scaled(value: number, units: readonly string[]): string {
  let rest = value;
  let unit = "";
  for (const each of units) {
    // 999.5 k would round to 1000 k.
    if (Math.abs(rest) < 999.5) break;
    rest /= 1_000;
    unit = each;
  }
  return `${rest.toPrecision(3)} ${unit}`;
}

/** Return a time by the clock of a zone; with milliseconds if `isExact`. */
export function absoluteTime(time: string | number | Date, isUtc: boolean, { isExact = false } = {}): string {
  const at = new Date(time);
  const shift = isUtc ? 0 : at.getTimezoneOffset() * 60_000;
  const text = new Date(at.getTime() - shift).toISOString();
  return `${text.slice(0, 10)} ${text.slice(11, isExact ? 23 : 19)}${isUtc ? " UTC" : ""}`;
}

/** Return a time relative to now within a day, such as 5 m ago; else the absolute one. */
export function relativeTime(time: string | number | Date, now: number, isUtc: boolean): string {
  const seconds = Math.floor((now - new Date(time).getTime()) / 1_000);
  if (seconds < -1 || seconds >= 86_400) return absoluteTime(time, isUtc);
  if (seconds < 60) return `${Math.max(seconds, 0)} s ago`;
  return seconds < 3_600 ? `${Math.floor(seconds / 60)} m ago` : `${Math.floor(seconds / 3_600)} h ago`;
}

/** Return an id shortened in the middle. */
export const shortId = (id: string) => (id.length <= 14 ? id : `${id.slice(0, 6)}…${id.slice(-6)}`);
