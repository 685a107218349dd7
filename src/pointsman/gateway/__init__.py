"""The data plane: an asyncio shell around the functional core."""
