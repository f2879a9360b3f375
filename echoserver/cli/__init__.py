"""The command line: one module a command. The only package that prints and exits."""
