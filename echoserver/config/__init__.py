"""The configuration: value types, the schema, and loading it from flags, environment and file."""

from echoserver.config.schema import LoadedConfig, ServerConfig, default_of, flag_of, load_config, options

__all__ = ["LoadedConfig", "ServerConfig", "default_of", "flag_of", "load_config", "options"]
