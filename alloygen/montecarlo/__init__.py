"""Monte Carlo samplers on compiled kernels.

    sampling.metropolis           independent chains: semigrand flips, or swaps at fixed composition
    sampling.replica_exchange     over a grid of T and mu; ``tempering.ladder`` chooses the temperatures
    sampling.cluster_moves        Swendsen-Wang and Wolff, for ferromagnetic pairs
    wang_landau                   a room of its own: density of states; ``multicanonical`` samples flat in energy from it
    metadynamics                  a room of its own: free energy against composition
    annealing.anneal              simulated annealing, by a ``Cooling`` schedule
    ground_states.ground_states   the convex hull at 0 K
    sampling.packed_flips         the square-lattice Ising model, 64 chains in a machine word (``multispin``)

Those of ``sampling`` return a :class:`alloygen.results.scan.Scan` of ensembles, as neural samples do. Below them: ``chains`` (many
chains at once), ``walkers`` (their state, made the same way for all), ``single_moves`` (what a chain attempts, as an object), ``moves`` (compiled flips, swaps, exchange) on the tables of
``alloygen.hamiltonian.flips``, and ``rng``.
"""
