"""Subcommands of `loomql`: one module per concept, with its flags, actions and output.

Each module has functions that add parsers. The parser's default `command` runs the subcommand and returns the exit
code.
"""
