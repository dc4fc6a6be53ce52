"""Training of models, and how good they are.

    sections    the sections of a TOML file, each a frozen record that is checked when it is made
    numbers     lists, tables and ranges of numbers as such a file writes them
    config      all of them together, read from a file or a dict before any work is done
    dataset     Monte Carlo samples over a grid of conditions, as batches
    tasks       what one step draws and minimises: likelihood, reinforce, marginal
    loop        the one training loop: ``loop.train``, which is ``alloygen.train``
    reference   where a model is judged, and the Monte Carlo samples that it is judged by
    evaluate    a model over a grid of conditions: NESS, forward NESS, free energies, distances of histograms

An objective is a function in :mod:`alloygen.objectives`; a task draws its batches.
"""
