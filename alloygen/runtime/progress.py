"""Progress bars: tqdm in terminals, its widget in notebooks where ipywidgets is installed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm as Bar


def tqdm(*args: Any, **kwargs: Any) -> Bar:
    """``tqdm.auto.tqdm`` without its warning about missing widgets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm as bar
    return bar(*args, **kwargs)
