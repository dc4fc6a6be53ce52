"""Linear algebra on one thread, so that its sums round the same way everywhere."""

from __future__ import annotations

import scipy.linalg  # noqa: F401  its BLAS must be there when the libraries are listed
from threadpoolctl import ThreadpoolController

_libraries = ThreadpoolController()

one_thread = _libraries.wrap(limits=1, user_api="blas")
"""Decorator: BLAS works on one thread within the function, and on as many as before afterwards. A product or a factorisation
that threads share rounds differently for each number of them."""
