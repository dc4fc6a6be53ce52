"""What samplers give back, and what is made of it.

``Ensemble`` (``ensemble``) holds configurations at one condition, ``Scan`` (``scan``) at many, and ``adaptive`` chooses the
conditions of neural scans. ``canonical`` makes F(T, x) of the samples of a scan, ``phase_diagram`` the diagram of a binary from such a
table, ``hull`` the ground states and their convex hull, and ``plot`` pictures of all of these.
"""
