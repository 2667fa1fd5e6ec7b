"""The table of faults, as the README has it."""

from tests.faults.bench import Row

HEAD = (
    "| Fault | For | What clients saw | Longest answer | Writing again after | Lost |\n"
    "| --- | ---: | --- | ---: | ---: | --- |"
)


def line(row: Row) -> str:
    """One fault as a line of the table."""
    told = [f"{row.acknowledged:,} acknowledged", *(f"{count:,} {code}" for code, count in sorted(row.seen.items()))]
    told += [f"WRONG: {count:,} {what}" for what, count in row.wrong.items()]
    lost = "nothing" if not row.lost else f"{len(row.lost)}: {row.lost[0]}"
    return (
        f"| {row.fault} | {row.seconds:g} s | {', '.join(told)} | {row.longest_seconds:.1f} s "
        f"| {row.recovered_seconds:.1f} s | {lost} |"
    )
