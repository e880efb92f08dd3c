"""edgesync: firmware and config for fleets of ARM boards on bad links. Imports nothing: the agent stays light."""

__version__ = "0.1.0"
