"""Progress bars: tqdm in terminals, its widget in notebooks where ipywidgets is installed."""

from __future__ import annotations

import warnings


def tqdm(*args, **kwargs):
    """``tqdm.auto.tqdm`` without its warning about missing widgets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm as bar
    return bar(*args, **kwargs)
