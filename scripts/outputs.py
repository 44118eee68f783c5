"""What scripts write: whole or not at all, and never over anything else. Nothing but Python's standard library is needed.

A file is written beside its place and put there by a rename; a folder likewise. A run that fails leaves nothing behind.
"""

import contextlib
import os
import pathlib
import shutil
import stat
import sys
import tempfile


def write_file(path, text, beginning):
    """Makes the file, or replaces one that is empty or begins as what is written does: with `beginning`. A link stays and
    leads to what is written; a pipe or a device is written to."""
    place = pathlib.Path(os.path.realpath(path))
    mode = None
    if os.path.exists(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            pathlib.Path(path).write_text(text, encoding="utf-8")
            return
        with open(path, "r+b") as file:  # for writing, too: a file that is protected against that stays
            found = file.read(len(beginning.encode()))
        if found and found != beginning.encode():
            sys.exit(f"{path} holds something else, which would be lost; name a new file")
        mode = stat.S_IMODE(os.stat(path).st_mode)
    descriptor, beside = tempfile.mkstemp(prefix=".sluice-", dir=place.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(beside, 0o666 & ~umask() if mode is None else mode)
        os.replace(beside, place)
    except BaseException:
        os.unlink(beside)
        raise


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextlib.contextmanager
def new_folder(path):
    """Gives a folder to fill, which lies at `path` at the end. There may be nothing yet, or an empty folder."""
    place = pathlib.Path(os.path.realpath(path))
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        sys.exit(f"{path} is there already, and would be lost; name a new folder, or remove it")
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=".sluice-", dir=place.parent))
    try:
        yield beside
        beside.chmod(0o777 & ~umask())
        os.rename(beside, place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
