"""The options of the server, a module for each group of them.

The groups only declare fields, which `ServerConfig` inherits. So no methods are generated for them: that takes a
millisecond for each class, at every start.
"""
