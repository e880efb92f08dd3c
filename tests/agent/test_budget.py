"""What may still be spent this month, by calculation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesync.agent import budget as rules
from edgesync.agent.budget import left, refusal
from edgesync.agent.month import Month, begin_of

NOW = 1_796_000_000
"""Seconds: late in November 2026."""
MB = 1_000_000
BUDGETS = st.integers(1, 1 << 40)
SPENT = st.integers(0, 1 << 40)
SIZES = st.integers(0, 1 << 40)


def spent(total: int) -> Month:
    return Month(begin_of(NOW), total)


def test_a_fetch_that_does_not_fit_is_refused_with_all_its_figures() -> None:
    error = refusal(MB, spent(700_000), 300_000, firmware=True)
    assert error is not None
    assert error.name == "BudgetSpent"
    for figure in (f"{330_000 + rules.EXTRA} bytes are needed", "200000 of", "1000000", "100000 for", "2026-12-01"):
        assert figure in str(error)


def test_config_may_spend_what_firmware_may_not() -> None:
    assert refusal(MB, spent(899_000), 3000, firmware=True)
    assert refusal(MB, spent(899_000), 3000, firmware=False) is None
    assert refusal(MB, spent(999_000), 3000, firmware=False)


@given(BUDGETS, SPENT, SIZES, st.booleans(), st.booleans())
def test_what_is_let_through_fits_with_the_reserve_kept(
    budget: int, total: int, size: int, firmware: bool, begun: bool
) -> None:
    if refusal(budget, spent(total), size, firmware=firmware, begun=begun) is None:
        cost = rules.cost_of(size)
        assert cost >= size
        assert total + cost <= budget or cost == 0
        if firmware and cost:
            assert total + cost <= budget * (1 - rules.RESERVE)


@given(BUDGETS, SPENT, SIZES, st.booleans())
def test_a_larger_budget_never_refuses_what_a_smaller_one_lets_through(
    budget: int, total: int, size: int, firmware: bool
) -> None:
    if refusal(budget, spent(total), size, firmware=firmware) is None:
        assert refusal(2 * budget, spent(total), size, firmware=firmware) is None
        assert refusal(0, spent(total), size, firmware=firmware) is None, "0 is no budget"


@given(BUDGETS, SPENT, SIZES)
def test_when_the_month_turns_only_a_fetch_that_no_month_can_hold_is_refused(
    budget: int, total: int, size: int
) -> None:
    turned = spent(total).at(begin_of(NOW) + 40 * 86400)
    assert turned.total == 0
    fits = rules.cost_of(size) + rules.EXTRA <= left(budget, turned, firmware=True)
    assert (refusal(budget, turned, size, firmware=True) is None) == fits


@pytest.mark.parametrize("firmware", [True, False])
def test_what_is_left_is_never_below_nothing(firmware: bool) -> None:
    assert left(MB, spent(5 * MB), firmware=firmware) == 0
