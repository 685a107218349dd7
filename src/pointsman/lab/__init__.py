"""The lab: simulated providers and offline tools; never imported by the gateway."""
