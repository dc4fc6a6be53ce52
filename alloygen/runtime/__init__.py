"""How a run is run, whatever it works out.

* :mod:`~alloygen.runtime.job`       Job (threads, checkpoint, progress) and the one loop that stops, saves and goes on
* :mod:`~alloygen.runtime.resume`    what fixes a run, and the file that holds it
* :mod:`~alloygen.runtime.seal`      checksums that files carry inside
* :mod:`~alloygen.runtime.tensors`   files of tensors with metadata
* :mod:`~alloygen.runtime.documents` JSON and TOML files; :mod:`~alloygen.runtime.tables` labelled tables as netCDF
* :mod:`~alloygen.runtime.lock`      one writer of a file at a time
* :mod:`~alloygen.runtime.atomic`    files that are the old ones or the new ones
* :mod:`~alloygen.runtime.progress`, :mod:`~alloygen.runtime.interrupt`   bars, and Ctrl-C that waits for a safe moment
"""
