"""Where a package is: a folder, or a repository of the hub. What is none is said without PyTorch, which takes long to load."""

from __future__ import annotations

from pathlib import Path

from engine.errors import PackageError

STATE_FILE = "state_dict.bin"
SPEC_FILE = "spec.json"
HUB_ERRORS = (OSError, ValueError, RuntimeError)
"""What huggingface_hub raises for a missing repository, a missing file or no network: all of them are one of these."""


def check_source(source: str) -> None:
    """Raises PackageError for what is neither there nor the name of a repository, which may be anywhere."""
    if not Path(source).exists() and (source.count("/") != 1 or source.startswith((".", "/"))):
        raise PackageError(f"{source}: no such folder, and not a hub id of the form org/model")


def check_package(source: str, codec: str | None = None) -> None:
    """The same of a package and of the codec that is given with it; and for a folder that is no package."""
    check_source(source)
    folder = Path(source)
    if folder.exists() and not any((folder / name).is_file() for name in (STATE_FILE, SPEC_FILE)):
        raise no_package(source)
    if codec not in (None, "none"):
        check_source(codec)


def no_package(source: str) -> PackageError:
    return PackageError(f"{source}: expected {STATE_FILE} (published) or {SPEC_FILE} (converted)")


def fetch(source: str, name: str) -> Path | None:
    """A file of a package: from a folder, or from the hub when `source` is an id such as `org/model`."""
    folder = Path(source)
    if folder.exists():
        found = folder / name
        return found if found.is_file() else None
    check_source(source)
    return _download(source, name)


def _download(repository: str, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub import logging as hub_logging
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hub_logging.set_verbosity_error()  # its retries are no news; the error that ends them is raised
    try:
        return Path(hf_hub_download(repository, name, library_name="cuestream"))
    except LocalEntryNotFoundError as error:
        raise PackageError(
            f"{repository}: not in the local hub cache, and the hub is out of reach"
        ) from error
    except EntryNotFoundError:
        return None
    except HUB_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PackageError(f"{repository}: the hub gave no {name}: {reason}") from error
