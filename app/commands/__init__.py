"""The subcommands of `loomql`: a file has those of one concept, with their flags and what they do and say.

Each has a function that adds their parsers; a parser's default `command` is what runs, and gives the exit code.
"""
