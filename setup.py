"""Packages are found here, so that none is forgotten; all other metadata is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["alloygen", "alloygen.*"]), "alloygen.data"],
    package_dir={"alloygen.data": "data"},  # what ships lies at the top of a checkout, where it is seen
)
