"""Imports: configurations of others become one of ours, and a report of what came along and what did not."""
