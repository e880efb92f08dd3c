"""`health_check`: the health of the whole collector over HTTP, in healthcheckv2's codes and body."""
