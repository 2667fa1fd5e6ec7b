"""The results, as a table for people or as JSON for programs."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

_MUST: Final = ("seen", "must", "met")


@dataclass(frozen=True, slots=True)
class Must:
    """A bound that a measured number must keep."""

    what: str
    limit: float
    at_least: bool = False

    def met(self, seen: float) -> bool:
        """Return whether the number keeps the bound."""
        return seen >= self.limit if self.at_least else seen <= self.limit

    def __str__(self) -> str:
        return f"{self.what} {'>=' if self.at_least else '<='} {self.limit:g}"


@dataclass(slots=True)
class Row:
    """The numbers of one case, None if not measured.

    `ratio` compares with the floor, `stock_cpu_ratio` with stock, `growth` with the same case on fewer calls.
    """

    loomql_ms: float | None = None
    floor_ms: float | None = None
    ratio: float | None = None
    loomql_cpu_ms: float | None = None
    floor_cpu_ms: float | None = None
    stock_ms: float | None = None
    stock_cpu_ms: float | None = None
    stock_cpu_ratio: float | None = None
    a_second: float | None = None
    growth: float | None = None
    seen: float | None = None
    must: str | None = None
    met: bool | None = None

    def held_to(self, must: Must | None, seen: float | None) -> "Row":
        """Record the bound and the measured number, and return the row; of several bounds, it shows a missed one."""
        if must is not None and seen is not None and self.met is not False:
            self.seen, self.must, self.met = seen, str(must), must.met(seen)
        return self


HEADINGS: Final = {
    "loomql_ms": "LoomQL ms",
    "floor_ms": "floor ms",
    "ratio": "ratio",
    "loomql_cpu_ms": "LoomQL CPU ms",
    "floor_cpu_ms": "floor CPU ms",
    "stock_ms": "stock ms",
    "stock_cpu_ms": "stock CPU ms",
    "stock_cpu_ratio": "stock/LoomQL CPU",
    "a_second": "LoomQL/s",
    "growth": "growth",
    "seen": "seen",
    "must": "bound",
    "met": "met",
}

Section = dict[str, Row]
Report = dict[str, Section]


def is_met(report: Report) -> bool:
    """Return whether the results keep all bounds."""
    return all(row.met is not False for section in report.values() for row in section.values())


def as_json(report: Report, title: str) -> str:
    """Return the results as JSON: sections of cases with their numbers; infinite numbers become null."""
    sections = {
        name: {
            case: {key: _finite(value) for key, value in asdict(row).items() if value is not None}
            for case, row in section
        }
        for name, section in ((name, section.items()) for name, section in report.items())
    }
    return json.dumps({"title": title, "met": is_met(report), "report": sections}, indent=2, allow_nan=False)


def _finite(value: float | str) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_markdown(report: Report) -> str:
    """Return the table of `app/docs/explanation/benchmarks.md`: no floor CPU; the last column has bound and result."""
    names = [name for name in _measured(report) if name not in ("floor_cpu_ms", *_MUST)]
    lines = [("", *(HEADINGS[name] for name in names), HEADINGS["must"]), ("---", *("---:" for _ in names), "---")]
    for section, rows in report.items():
        lines.append((f"**{section}**", *("" for _ in names), ""))
        lines += [(case, *(cell(getattr(row, name)) for name in names), _verdict(row)) for case, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _measured(report: Report) -> list[str]:
    """Return the names of the columns that at least one row has."""
    rows = [row for section in report.values() for row in section.values()]
    return [name for name in HEADINGS if any(getattr(row, name) is not None for row in rows)]


def _verdict(row: Row) -> str:
    return cell(row.seen) if row.must is None else f"{row.must}: {cell(row.seen)}, {'met' if row.met else '**missed**'}"


def print_table(report: Report, title: str) -> None:
    """Print the results as a table."""
    table = Table(title=title)
    table.add_column(no_wrap=True)
    names = _measured(report)
    for name in names:
        table.add_column(HEADINGS[name], justify="left" if name in _MUST[1:] else "right")
    for title_of_section, section in report.items():
        table.add_section()
        table.add_row(f"[bold]{title_of_section}")
        for case, row in section.items():
            table.add_row(
                case, *(cell(getattr(row, name)) for name in names), style="red" if row.met is False else None
            )
    Console(width=240).print(table)


def cell(value: object) -> str:
    """Format a number or a verdict as text."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "NO"
        case float():
            return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
        case _:
            return str(value)
