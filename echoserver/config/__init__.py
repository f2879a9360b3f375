"""The configuration: kinds of value, the declared options, and how flags, environment and file are loaded."""

from echoserver.config.loading import LoadedConfig, check_effect, flag_of, load_config
from echoserver.config.schema import ServerConfig, default_of, options
from echoserver.rates import Amount, Rate

__all__ = [
    "Amount",
    "LoadedConfig",
    "Rate",
    "ServerConfig",
    "check_effect",
    "default_of",
    "flag_of",
    "load_config",
    "options",
]
