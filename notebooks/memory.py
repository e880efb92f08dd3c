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
from collector_ext.lake.reader import Lake

opened = Lake(lake)
first, last = datetime.fromisoformat(begin), datetime.fromisoformat(end)
told = rollouts.known(opened).loc[rollout]
print(f"{rollout}: release {told.release} on {told.boards} boards from {told.began:%Y-%m-%d %H:%M} UTC")

# %% [markdown]
# ## The whole day

# %%
trends = memory.trends(opened, rollout, first, last)
canaries = list(trends.index[trends.part == "canary"])
since = datetime.combine(first.date(), datetime.min.time())
day = memory.available(opened, since, last)
plots.lines(day, "memory available (MiB)", canaries, ("canary", "control"), (told.began, "the rollout began"))

# %% [markdown]
# ## Canary against control
#
# The slope of a straight line through each board's window; `straight` is the part of the variance that the line
# explains. A leak falls by more than 3 MiB/h, and its line explains more than 0.9.

# %%
columns = ["available_mib", "mib_per_hour", "straight"]
trends.groupby("part")[columns].median().join(trends.groupby("part").leaks.agg(["sum", "size"])).round(2)

# %%
plots.bars(trends.sort_values("mib_per_hour"), "mib_per_hour", "trend of memory available (MiB/h)", canaries)

# %% [markdown]
# ## Who runs out when

# %%
trends[trends.leaks].sort_values("out_at").round({"available_mib": 0, "mib_per_hour": 1, "straight": 2})

# %% [markdown]
# ## The cause

# %%
cause = memory.cause(trends, rollout)
print(cause)

# %%
if lake == "data":
    assert (cause.subject, cause.cause) == ("r-000042", "a release leaks")
    assert canaries == list(trends.index[trends.leaks])
