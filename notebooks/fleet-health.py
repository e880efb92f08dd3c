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
# Each board's last numbers at one moment. Point `lake` at your own lake (the `parquet` exporter's directory) and leave
# `moment` empty for the newest that it has.

# %% tags=["parameters"]
lake = "data"
moment = ""  # UTC, "2026-03-02 12:00"

# %%
from datetime import datetime

from collector_ext.analysis import health, plots
from collector_ext.analysis.finding import so_many
from collector_ext.analysis.tables import shown
from collector_ext.lake.reader import Lake

opened = Lake(lake)
at = datetime.fromisoformat(moment) if moment else health.newest(opened)
fleet = health.now(opened, at)
worst = health.worst(fleet)
troubled = fleet[fleet.trouble != ""]
print(f"{len(troubled)} of {so_many(len(fleet))} in trouble at {at:%Y-%m-%d %H:%M} UTC. First: {worst}")

# %% [markdown]
# ## Who is in trouble
#
# `silent`: no number for half an hour. `short of memory`: less than 15 % available. `update failed`: the last one.
# `bad link`: more than a tenth of an hour's TCP segments sent again.

# %%
columns = {
    "trouble": "trouble",
    "last_heard": "last heard (UTC)",
    "silent_minutes": "silent (min)",
    "release": "release",
    "available_mib": "memory left (MiB)",
    "sent_again": "sent again (part)",
    "update_error": "update's error",
}
shown(troubled, columns)

# %% [markdown]
# ## How many have which trouble

# %%
fleet.trouble.replace("", "well").value_counts().to_frame("boards").rename_axis(index=None, columns="trouble")

# %% [markdown]
# ## What runs where, and how much memory is left

# %%
parts = fleet.assign(release=fleet.release.replace("", "unknown"), left=100 * fleet.available_part)
releases = parts.groupby("release").left.agg(["size", "min", "median"])
shown(releases, {"size": "boards", "min": "least memory left (%)", "median": "median (%)"})

# %%
memory_left = fleet.available_mib.sort_values()
plots.bars(memory_left, "memory available (MiB)", list(troubled.index), ("in trouble", "well"))

# %%
if lake == "data" and not moment:
    assert (worst.subject, worst.cause) == ("acme.gate-07", "silent")
