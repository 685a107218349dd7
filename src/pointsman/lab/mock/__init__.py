"""The scripted provider server: plays the openai, anthropic and gemini wires over real sockets, and their faults."""

from pointsman.lab.mock.config import MockConfig, MockConfigError, load_mock_config, mock_config
from pointsman.lab.mock.log import Entry, MockLog
from pointsman.lab.mock.server import MockServer

__all__ = ["Entry", "MockConfig", "MockConfigError", "MockLog", "MockServer", "load_mock_config", "mock_config"]
