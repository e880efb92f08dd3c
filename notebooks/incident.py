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
# # An update stood still for an hour: what came first?
#
# Everything that one board told, side by side: metrics, log, trace and network. What left its usual course first names
# the cause: `link`, `memory`, `software` or `update`.

# %% tags=["parameters"]
lake = "data"
board = "acme.gate-09"
begin = "2026-03-02 12:30"  # UTC
end = "2026-03-02 14:45"

# %%
from datetime import datetime

from collector_ext.analysis import incident, plots
from collector_ext.analysis.tables import shown
from collector_ext.lake.reader import Lake

opened = Lake(lake)
first, last = datetime.fromisoformat(begin), datetime.fromisoformat(end)
beginnings = incident.beginnings(opened, board, first, last)
cause = incident.cause(board, beginnings)
print(cause)

# %% [markdown]
# ## What left its usual course, in order
#
# By more than six times its usual spread in the three hours before, twice in a row.

# %%
shown(beginnings.set_index("signal"), {"time": "since (UTC)", "value": "what"})

# %% [markdown]
# ## Side by side

# %%
numbers = incident.numbers(opened, board, first, last)
said = incident.logs(opened, board, first, last)
done = incident.spans(opened, board, first, last)
units = {signal: unit for signal, (unit, _) in incident.SIGNALS.items()}
plots.incident(numbers, units, said, done, (first, last))

# %% [markdown]
# ## What the board said

# %%
warned = said[said.severity_number >= incident.WARN].set_index("severity")
shown(warned, {"time": "time (UTC)", "body": "what"})

# %%
if lake == "data":
    assert (cause.subject, cause.cause) == ("acme.gate-09", "link")
