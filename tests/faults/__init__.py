"""Faults: a real `loomql serve` over real mongods; whatever goes wrong in the world does so while clients write."""
