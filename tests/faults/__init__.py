"""Faults: a real `loomql serve` over real mongods, to which what goes wrong in the world is done while clients write."""
