"""The configuration: kinds of value, the declared options, and how flags, environment and file are loaded."""

from echoserver.config.loading import LoadedConfig, flag_of, load_config
from echoserver.rates import Amount, Rate
from echoserver.config.schema import ServerConfig, default_of, options

__all__ = ["Amount", "LoadedConfig", "Rate", "ServerConfig", "default_of", "flag_of", "load_config", "options"]
