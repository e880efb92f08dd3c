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
from collector_ext.analysis.finding import so_many
from collector_ext.analysis.tables import shown
from collector_ext.lake.reader import Lake

opened = Lake(lake)
boards = rollouts.boards(opened, rollout)
cause = rollouts.cause(opened, rollout)
print(f"{rollout}: {(boards.status == 'confirmed').sum()} of {so_many(len(boards))} confirmed. First failure: {cause}")

# %% [markdown]
# ## The commit
#
# The server tells it when the rollout is over; until then there is no row.

# %%
times = {"began": "began (UTC)", "ended": "ended (UTC)"}
commit = rollouts.commit(opened, rollout).set_index("revision")
shown(commit, {"subject": "subject", "author": "author", **times})

# %% [markdown]
# ## The timeline

# %%
plots.timeline(boards)

# %%
waves = boards.groupby(["wave", "status"], sort=False).minutes.agg(["size", "median", "max"]).reset_index("status")
shown(waves, {"status": "status", "size": "boards", "median": "median (min)", "max": "slowest (min)"})

# %% [markdown]
# ## Where the time went

# %%
phases = rollouts.phases(opened, rollout)
spent = phases[phases.phase != "update"].groupby("phase", sort=False).seconds.agg(["size", "median", "max"])
shown(spent, {"size": "boards", "median": "median (s)", "max": "slowest (s)"})

# %% [markdown]
# ## One board's trace

# %%
traced = board or cause.subject or boards.minutes.idxmax()
print(traced)
plots.waterfall(rollouts.phases(opened, rollout, traced))

# %% [markdown]
# ## Who failed, and why

# %%
columns = {"wave": "wave", "error": "error", "offered": "offered (UTC)", "ended": "ended (UTC)", "minutes": "min"}
shown(boards[boards.error != ""], columns)

# %% [markdown]
# ## Every rollout in this lake

# %%
shown(rollouts.known(opened), {"release": "release", **times, "boards": "boards", "failed": "failed"})

# %%
if lake == "data" and rollout == "r-000041":
    assert (cause.subject, cause.cause) == ("acme.gate-15", "BootFailed")
