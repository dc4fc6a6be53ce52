"""Compiled search for the occupations whose correlation functions are nearest to given ones, by exchanges; :mod:`alloygen.generate.representative`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alloygen.compiled import njit
from alloygen.montecarlo.rng import below, below_low, mix, step, uniform

MATCHES = 1e-6  # difference of a correlation function that is none
PILOT = 200  # exchanges that tell how hot to begin
COLDEST = 1e-3  # of the temperature at the beginning


class Figures(NamedTuple):
    """The clusters of a supercell, and which of them each site is in.

    members, functions : (C, n) sites and site functions, -1 beyond the last; orbit, weight : (C,)
    start, found : clusters of site i are found[start[i]:start[i + 1]]
    values : (F, N, S) of the site functions
    """

    members: np.ndarray
    functions: np.ndarray
    orbit: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    found: np.ndarray
    values: np.ndarray


class Places(NamedTuple):
    """Which sites may be exchanged: those of one group (N,) with each other, of the sites (M,)."""

    group: np.ndarray
    sites: np.ndarray


@njit()
def put(occ, i, species, change, figures):
    """Put a species on a site, and add to ``change`` (K,) what that does to the correlation functions."""
    members = figures.members
    for sign in (-1.0, 1.0):
        if sign > 0:
            occ[i] = species
        for t in range(figures.start[i], figures.start[i + 1]):
            c = figures.found[t]
            product = figures.weight[c] * sign
            for m in range(members.shape[1]):
                if members[c, m] < 0:
                    break
                product *= figures.values[figures.functions[c, m], members[c, m], occ[members[c, m]]]
            change[figures.orbit[c]] += product


@njit()
def misfit(rho, change, target, length):
    """(sum of the differences, length up to which all match) of correlation functions ``rho + change``; the figures rise in their lengths."""
    total, reach, match = 0.0, 0.0, True
    for k in range(len(rho)):
        off = abs(rho[k] + change[k] - target[k])
        total += off
        if off > MATCHES:
            match = False
        elif match and (k + 1 == len(rho) or length[k + 1] > length[k] + 1e-6):
            reach = length[k]
    return total, reach


@njit()
def search(occ, rho, target, length, figures, places, sweeps, state):
    """Anneal ``occ`` (N,) by exchanges and leave the best there; returns its Q. ``rho`` (K,) are its correlation functions.

    The sum of the differences is annealed, which is smoother than Q; Q says which is the best.
    """
    group, sites = places.group, places.sites
    change, s = np.zeros(len(rho)), state
    here, reach = misfit(rho, change, target, length)
    best, best_occ = here - reach, occ.copy()
    if len(sites) == 0:
        return best
    total, hot, seen = sweeps * len(sites), 0.0, 0
    for attempt in range(-PILOT, total):
        s = step(s)
        bits = mix(s)
        i, j = sites[below(bits, len(sites))], sites[below_low(bits, len(sites))]
        a, b = occ[i], occ[j]
        if a == b or group[i] != group[j]:
            continue
        change[:] = 0.0
        put(occ, i, b, change, figures)
        put(occ, j, a, change, figures)
        there, reach = misfit(rho, change, target, length)
        s = step(s)
        if there - reach < best - 1e-12:
            best, best_occ = there - reach, occ.copy()
        if attempt < 0:  # all are taken, to see how much exchanges change
            hot, seen = hot + abs(there - here), seen + 1
            take = True
        else:
            kT = hot / max(seen, 1) * COLDEST ** (attempt / total)
            take = there <= here or uniform(mix(s)) < np.exp((here - there) / max(kT, 1e-300))
        if take:
            rho += change
            here = there
        else:
            occ[i], occ[j] = a, b
    occ[:] = best_occ
    return best
