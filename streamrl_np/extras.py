"""Packages that only some parts need, asked for where they are used."""

import importlib


class MissingPackage(ImportError):
    """A package that this part needs is not installed; the message says how to get it."""


def require(package, install=None):
    """Import a package, or say in one sentence what to install.

    Parameters
    ----------
    package : str
        Name to import.
    install : str, optional
        Name to install, where it differs.

    Raises
    ------
    MissingPackage
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.split(".")[0]:
            raise
        command = f"python -m pip install '{install or package}'"
        raise MissingPackage(f"{package} is not installed; get it with: {command}") from None
