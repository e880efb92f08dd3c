"""Where the operating system is touched: clock, files, the MQTT link, processes. Knows no stage of either side."""
