"""`memory_health`: is this board's memory short, judged on change, told as status, over HTTP and to the agent."""
