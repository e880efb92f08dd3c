"""The MQTT link against a real mosquitto, and against peers that lie, flood and break off."""
