"""Hamiltonians by name, file or what CLEASE makes: whatever stands for an expansion becomes one here."""

from __future__ import annotations

import os
from typing import Any

from alloygen.errors import AlloygenError
from alloygen.hamiltonian.expansion import ClusterExpansion
from alloygen.types import PathLike


def expansion_from(spec: ClusterExpansion | PathLike | tuple[Any, Any] | Any) -> ClusterExpansion:
    """A ClusterExpansion from what stands for one.

    spec : the expansion itself; "cuau", "ising"; the name of a law that was trained for an own alloy; the path of a file in alloygen's JSON format; CLEASE's (settings, ECIs), objects or
        files as :func:`alloygen.hamiltonian.clease.from_clease` takes them; a Clease calculator; or a folder with ATAT's files

    Examples
    --------
    >>> expansion_from("ising").elements
    ('-', '+')
    """
    if isinstance(spec, ClusterExpansion):
        return spec
    if isinstance(spec, tuple) and len(spec) == 2:
        from alloygen.hamiltonian.clease import from_clease

        return from_clease(*spec)
    if hasattr(spec, "settings") and hasattr(spec, "eci"):
        from alloygen.hamiltonian.clease import from_clease

        return from_clease(spec)
    if isinstance(spec, str) and spec == "cuau":
        from alloygen import data

        return data.cuau()
    if isinstance(spec, str) and spec == "ising":
        from alloygen.hamiltonian.ising import ising_expansion

        return ising_expansion()
    if isinstance(spec, str) and "." not in spec and not os.path.exists(spec):
        from alloygen.data import own_alloys

        if spec in (own := own_alloys()):
            return own[spec]
    if isinstance(spec, (str, os.PathLike)) and os.path.isfile(os.path.join(spec, "lat.in")):
        from alloygen.hamiltonian.atat import from_atat

        return from_atat(spec)
    if isinstance(spec, (str, os.PathLike)) and os.path.isfile(spec):
        return ClusterExpansion.read(spec)
    raise AlloygenError(
        f"expected a Hamiltonian: 'cuau', 'ising', the name of an own law, a ClusterExpansion, the path of its JSON file, CLEASE's (settings, ECIs), a Clease "
        f"calculator or a folder with ATAT's lat.in, got {spec!r}; alloygen.from_icet and from_smol make one of theirs"
    )
