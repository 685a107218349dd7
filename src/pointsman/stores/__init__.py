"""Stores: where state is kept; one back end a file, chosen by URL scheme; and the journal."""
