"""Tokens that calls use: the classes that providers price apart, and how each sender's counts are read into them."""
