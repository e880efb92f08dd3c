"""`mqtt`: what boards tell over the broker, acknowledged when it is taken care of."""
