"""Any order at work: out-painting to larger supercells, regeneration of blocks, and weights that annealing improves."""
