"""A server with a mongod of its own loses that, or its disk, and has it again without being started again."""

import pytest

from tests.faults import deeds
from tests.faults.bench import Bench
from tests.faults.deeds import Alone, Fault
from tests.faults.test_three_members import check, short


@pytest.mark.parametrize("fault", [fault for fault in deeds.OF_A_SINGLE_MONGOD if fault.is_short], ids=str)
async def test_it_fails(single: tuple[Alone, Bench], fault: Fault) -> None:
    alone, bench = single
    pid = alone.server.pid

    row = await short(bench, fault, alone)

    check(row)
    assert fault.server_may_go or alone.server.pid == pid
