# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What do the links carry, who exceeds the budget, and what does it cost?
#
# Bytes at IP level, both ways, as each board counts them by purpose. A month is reckoned from the window.

# %% tags=["parameters"]
lake = "data"
begin = "2026-03-02 00:00"  # UTC
end = "2026-03-03 00:00"
budget_mb = 200.0  # a board and month
base, included_mb, per_mb = 2.0, 100.0, 0.08  # the tariff, in euros a board and month

# %%
from datetime import datetime

from collector_ext.analysis import links, plots
from collector_ext.lake.reader import Lake

opened = Lake(lake)
first, last = datetime.fromisoformat(begin), datetime.fromisoformat(end)
seconds = (last - first).total_seconds()
carried = links.by_purpose(opened, first, last)
print(f"{carried.sum().sum():.1f} MB on {len(carried)} links in {seconds / 3600:.0f} hours")

# %% [markdown]
# ## By purpose

# %%
plots.purposes(carried, f"MB in {seconds / 3600:.0f} hours")

# %%
carried.sum().sort_values(ascending=False).to_frame("MB").assign(part=lambda frame: frame.MB / frame.MB.sum()).round(3)

# %% [markdown]
# ## Against the budget, and in money

# %%
bill = links.bill(carried, seconds, budget_mb, links.Tariff(base, included_mb, per_mb))
over = list(bill.index[bill.of_budget > 1])
plots.bars(bill, "mb_a_month", "MB a month at this rate", over, (budget_mb, "budget"))

# %%
print(f"{bill.price.sum():.2f} EUR a month for {len(bill)} boards")
bill.head().rename(columns={"price": "EUR a month"}).round(2)

# %% [markdown]
# ## Who exceeds it, and with what

# %%
cause = links.cause(carried, bill)
print(cause)

# %%
plots.purposes_over_time(
    links.over_time(opened, first, last, cause.subject), f"{cause.subject or 'the fleet'} (MB an hour)"
)

# %%
if lake == "data":
    assert (cause.subject, cause.cause) == ("acme.gate-11", "refetched")
