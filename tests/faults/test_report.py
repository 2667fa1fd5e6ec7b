"""The documentation's table of faults lists every fault and reports no losses."""

import re
from collections import Counter
from pathlib import Path

from tests.faults import faults
from tests.faults.report import HEAD, line
from tests.faults.trial import Row

PAGE = (Path(__file__).parents[2] / "app/docs/explanation/fault-tolerance.md").read_text()
FAULTS = (*faults.ON_THE_WIRE, *faults.ON_REPLICA_SETS, *faults.OF_SERVERS, *faults.OF_A_SINGLE_MONGOD)


def test_table_has_every_fault_at_full_length_without_losses() -> None:
    assert HEAD in PAGE
    table = PAGE.partition(HEAD)[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \| .*? \| (.*?) \|$", table, re.MULTILINE)

    lengths = {fault.name: f"{fault.full_seconds:g} s" for fault in FAULTS}
    assert {name: seconds for name, seconds, _, _ in rows} == lengths
    assert {lost for *_, lost in rows} == {"nothing"}
    assert not [seen for _, _, seen, _ in rows if "WRONG" in seen]


def test_page_states_the_version_and_the_date_of_the_table() -> None:
    before = " ".join(PAGE.partition(HEAD)[0].split())

    assert re.search(r"The table shows LoomQL \d+\.\d+\.\d+ at [0-9a-f]{8} \(\d{4}-\d\d-\d\d\)", before)


def test_row_states_errors_and_losses() -> None:
    seen = Counter({"acknowledged": 1_200, "UNAVAILABLE": 3})

    text = line(Row("a flood", 5, seen, Counter({"status 500": 2}), 1.25, ["a call", "a file"]))

    assert text == "| a flood | 5 s | 1,200 acknowledged, 3 UNAVAILABLE, WRONG: 2 status 500 | 1.2 s | 2: a call |"
