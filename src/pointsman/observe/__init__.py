"""Observers of finished requests: metrics and logs."""
