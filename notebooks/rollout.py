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
# # How did one rollout go, from the commit to the last confirmation?
#
# The server tells what it offered to whom and what came of it; each board tells its own phases, in a trace of its own
# whose id follows from the rollout and the board.

# %% tags=["parameters"]
lake = "data"
rollout = "r-000041"
board = ""  # whose trace is shown; "" is the one that failed, or else the slowest

# %%
from collector_ext.analysis import plots, rollouts
from collector_ext.lake.reader import Lake

opened = Lake(lake)
rollouts.known(opened)

# %% [markdown]
# ## The commit
#
# The server tells it when the rollout is over; until then there is no row.

# %%
rollouts.commit(opened, rollout)

# %% [markdown]
# ## The timeline

# %%
boards = rollouts.boards(opened, rollout)
plots.timeline(boards)

# %%
boards.groupby(["wave", "status"], sort=False)["minutes"].agg(["size", "median", "max"]).round(1)

# %% [markdown]
# ## Where the time went

# %%
phases = rollouts.phases(opened, rollout)
phases[phases.phase != "update"].groupby("phase", sort=False)["seconds"].describe()[["count", "50%", "max"]].round(0)

# %% [markdown]
# ## One board's trace

# %%
cause = rollouts.cause(opened, rollout)
shown = board or cause.subject or boards.minutes.idxmax()
print(shown)
plots.waterfall(rollouts.phases(opened, rollout, shown))

# %% [markdown]
# ## Who failed, and why

# %%
print(cause)
boards[boards.error != ""]

# %%
if lake == "data" and rollout == "r-000041":
    assert (cause.subject, cause.cause) == ("acme.gate-15", "BootFailed")
