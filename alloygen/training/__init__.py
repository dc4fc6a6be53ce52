"""Training of models, and how good they are.

config      a TOML file as records, checked before any work is done
dataset     Monte Carlo samples over a grid of conditions, as batches
tasks       what one step draws and minimises: likelihood, reinforce, marginal
loop        the one training loop: ``loop.train``, which is ``alloygen.train``
evaluate    a model over a grid of conditions: NESS, forward NESS, free energies, distances of histograms
"""
