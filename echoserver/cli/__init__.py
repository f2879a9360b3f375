"""The command line, one module per command. This is the only package that prints and exits."""
