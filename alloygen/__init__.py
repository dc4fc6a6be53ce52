"""alloygen: equilibrium configurations, free energies and phase diagrams of lattice alloys from one any-order model."""
