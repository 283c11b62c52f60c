"""Copies of this tree with the module built, and make in them: for tests of the make targets."""

import os
import pathlib
import shutil
import subprocess

from httpd import MODULE, PATIENCE, ROOT

MAKE = ["make", "-f", "Makefile.apxs"]
PARTS = ["Makefile.apxs", "conf", "include", "mod_b24bg", "tests"]
NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


def environment(**more):
    """Ours without what a make around us has left there, which would reach the next make."""
    inherited = {name: value for name, value in os.environ.items()
                 if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PORT",
                                 "DESTDIR")}
    return {**inherited, **more}


def copy_tree(folder, owner=None):
    """A copy that make finds up to date; `owner` owns all of it."""
    folder = pathlib.Path(folder)
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part,
                            ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
        else:
            shutil.copy2(ROOT / part, folder / part)
    (folder / "build").mkdir()
    shutil.copy(MODULE, folder / "build")  # newer than its sources
    if owner:
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, owner)
    return folder


def make(*arguments, cwd=ROOT, **more):
    """(exit code, what it printed)"""
    run = subprocess.run([*MAKE, *arguments], cwd=cwd, env=environment(**more), text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
    return run.returncode, run.stdout
