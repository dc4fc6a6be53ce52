"""The edge: what callers give becomes a lattice and integers once, here, and results become Atoms again.

    problem          Hamiltonian on a supercell, the map to the caller's Atoms, held sites: which alloy is meant
    match            Atoms onto a lattice: which supercell, and which atom on which site
    atoms_map        what ``match`` finds: occupations to Atoms in the caller's order, and back
    one_law          Atoms that fit in several ways whose energies differ are refused
    structures       Atoms, pymatgen Structures and files of one in; Atoms as pymatgen has them
    structure_files  extxyz, trajectories, POSCARs, CIFs, databases and JSON out, and back in
    computed         energies by a calculator, what fails kept with its reason
    primitive        a primitive cell from Atoms
    graph            the lattice as a graph of torch-geometric
    prototypes       what crystal a primitive cell makes (fcc, rocksalt, ...) and its conventional cell
    supercell        which integer supercell a cell is; ``fits`` the ways to lay atoms there. Arrays only

Nothing else of the package reads Atoms: beyond this room there are occupations (n, N) of species numbers.
"""
