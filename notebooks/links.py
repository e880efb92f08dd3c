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
from collector_ext.analysis.finding import so_many
from collector_ext.analysis.tables import shown
from collector_ext.lake.reader import Lake

opened = Lake(lake)
first, last = datetime.fromisoformat(begin), datetime.fromisoformat(end)
hours = (last - first).total_seconds() / 3600
span = f"{round(hours, 1):g} hours"
carried = links.by_purpose(opened, first, last)
bill = links.bill(carried, hours * 3600, budget_mb, links.Tariff(base, included_mb, per_mb))
cause = links.cause(carried, bill)
print(f"{carried.sum().sum():.1f} MB on {len(carried)} links in {span}; {bill.price.sum():.2f} EUR a month")
print(f"Over the budget: {so_many((bill.of_budget > 1).sum())}. First: {cause}")

# %% [markdown]
# ## By purpose

# %%
plots.purposes(carried, f"MB in {span}")

# %%
total = carried.sum().sort_values(ascending=False).to_frame("mb")
total["part"] = 100 * total.mb / total.mb.sum()
shown(total, {"mb": f"MB in {span}", "part": "part (%)"})

# %% [markdown]
# ## Against the budget, and in money

# %%
over = list(bill.index[bill.of_budget > 1])
limit = (budget_mb, f"the budget, {budget_mb:.0f} MB")
plots.bars(bill.mb_a_month, "MB a month at this rate", over, ("over the budget", "within it"), limit)

# %%
shown(bill.head(), {"mb_a_month": "MB a month", "of_budget": "budgets", "price": "EUR a month"})

# %% [markdown]
# ## Who exceeds it the most, over time

# %%
whose = f"{cause.subject or 'the fleet'} (MB an hour)"
plots.purposes_over_time(links.over_time(opened, first, last, cause.subject), whose)

# %%
if lake == "data":
    assert (cause.subject, cause.cause) == ("acme.gate-11", "refetched")
