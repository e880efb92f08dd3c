"""What a board may still spend of its link this month. Pure; bytes at IP level, both ways.

Firmware may spend all but `RESERVE` of the budget; config and reports may spend that as well, so that a board whose
firmware ate its month can still be talked to. A fetch that does not fit is not begun, for half a blob is of no use
before the month turns.
"""

from __future__ import annotations

from edgesync.agent.month import Month, day_of, end_of
from edgesync.wire.errors import BudgetSpentError

RESERVE = 0.1
"""Part of the budget that is kept for reports and config."""
SHARE, EXTRA = 1.1, 20 * 1024
"""All bytes of an update, handshakes and reports included, are at most so many times its blob, and so many more: what
`make bench` holds the agent to.
"""


def cost_of(size: int) -> int:
    """What fetching `size` bytes of a blob takes of the budget."""
    return int(SHARE * size)


def left(budget: int, month: Month, *, firmware: bool) -> int:
    """Bytes that may still be spent, 0 when there are none. `budget` is not 0."""
    return max(0, int(budget * (1 - RESERVE) if firmware else budget) - month.total)


def refusal(budget: int, month: Month, size: int, *, firmware: bool, begun: bool = False) -> BudgetSpentError | None:
    """Why `size` bytes of a blob are not fetched now, if they are not. `begun`: the update is under way, and what it
    needs besides its blob is spent already. A `budget` of 0 is none.
    """
    if not budget:
        return None
    needed = cost_of(size) + (0 if begun else EXTRA if firmware else 0)
    there = left(budget, month, firmware=firmware)
    if needed <= there:
        return None
    kept = f", besides {budget - int(budget * (1 - RESERVE))} for reports and config" if firmware else ""
    return BudgetSpentError(
        f"{needed} bytes are needed, {there} of the month's {budget} are left{kept}; it turns on "
        f"{day_of(end_of(month.begin))}"
    )
