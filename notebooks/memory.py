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
# # Does the new release leak memory, and who runs out when?
#
# What is available on the boards that run what `rollout` brought (canary), against all others (control). The window
# begins after the reboot of the update, so that the line through it is not bent.

# %% tags=["parameters"]
lake = "data"
rollout = "r-000042"
begin = "2026-03-02 09:00"  # UTC
end = "2026-03-03 00:00"

# %%
from datetime import datetime

from collector_ext.analysis import memory, plots, rollouts
from collector_ext.analysis.finding import so_many
from collector_ext.analysis.tables import shown
from collector_ext.lake.reader import Lake

opened = Lake(lake)
first, last = datetime.fromisoformat(begin), datetime.fromisoformat(end)
told = rollouts.known(opened).loc[rollout]
trends = memory.trends(opened, rollout, first, last)
cause = memory.cause(trends, rollout)
print(f"{rollout} brought {told.release} to {so_many(told.boards)}, from {told.began:%Y-%m-%d %H:%M} UTC on")
print(cause)

# %% [markdown]
# ## The whole day

# %%
canaries = list(trends.index[trends.part == "canary"])
since = datetime.combine(first.date(), datetime.min.time())
day = memory.available(opened, since, last)
plots.lines(day, "memory available (MiB)", canaries, ("canary", "control"), (told.began, "the rollout began"))

# %% [markdown]
# ## Who runs out when

# %%
columns = {
    "part": "part",
    "available_mib": "memory left (MiB)",
    "mib_per_hour": "trend (MiB/h)",
    "straight": "straight",
    "out_at": "out at (UTC)",
}
shown(trends[trends.leaks].sort_values("out_at"), columns)

# %% [markdown]
# ## Canary against control
#
# The slope of a straight line through each board's window; `straight` is the part of the variance that the line
# explains. A leak falls by more than 3 MiB/h, and its line explains more than 0.9.

# %%
parts = trends.groupby("part")
medians = parts[["mib_per_hour", "straight"]].median().assign(boards=parts.size(), leaks=parts.leaks.sum())
names = {"boards": "boards", "leaks": "leak", "mib_per_hour": "median trend (MiB/h)", "straight": "median of straight"}
shown(medians, names)

# %%
slopes = trends.mib_per_hour.sort_values()
plots.bars(slopes, "trend of memory available (MiB/h)", canaries, ("canary", "control"))

# %%
if lake == "data":
    assert (cause.subject, cause.cause) == ("r-000042", "a release leaks")
    assert canaries == list(trends.index[trends.leaks])
