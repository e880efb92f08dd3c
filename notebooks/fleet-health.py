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
# # Is the fleet well, and who needs somebody first?
#
# Each board's last numbers at one moment, the worst board first. Point `lake` at your own lake
# (the `parquet` exporter's directory) and leave `moment` empty for the newest that it has.

# %% tags=["parameters"]
lake = "data"
moment = ""  # UTC, "2026-03-02 12:00"

# %%
from datetime import datetime

from collector_ext.analysis import health, plots
from collector_ext.lake.reader import Lake

opened = Lake(lake)
at = datetime.fromisoformat(moment) if moment else health.newest(opened)
fleet = health.now(opened, at)
print(f"{len(fleet)} boards at {at:%Y-%m-%d %H:%M} UTC")

# %% [markdown]
# ## How many have which trouble

# %%
fleet["trouble"].replace("", "well").value_counts().to_frame("boards")

# %% [markdown]
# ## Who
#
# `silent`: no number for half an hour. `short of memory`: less than 15 % available. `update failed`: the last one.
# `bad link`: more than a tenth of an hour's TCP segments sent again.

# %%
fleet[fleet["trouble"] != ""].round({"available_mib": 1, "available_part": 2, "sent_again": 2})

# %% [markdown]
# ## What runs where, and how much memory is left

# %%
fleet.groupby("release")["available_part"].agg(["size", "min", "median"]).rename(columns={"size": "boards"}).round(2)

# %%
troubled = list(fleet.index[fleet["trouble"] != ""])
plots.bars(fleet.sort_values("available_part"), "available_mib", "memory available (MiB)", troubled)

# %%
plots.bars(fleet, "silent_minutes", "since the last number (min)", troubled, (30, "silent from here on"))

# %% [markdown]
# ## Who first

# %%
worst = health.worst(fleet)
print(worst)

# %%
if lake == "data" and not moment:
    assert (worst.subject, worst.cause) == ("acme.gate-07", "silent")
