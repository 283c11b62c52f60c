"""Copies of this tree with everything built, and make in them: for tests of the make targets. And
what an administrator has on his machine beside the configuration."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from httpd import BUILD, MODULE, PATIENCE, ROOT

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
    for built in MODULE, BUILD / "b24bgctl":
        shutil.copy(built, folder / "build")  # newer than its sources
    if owner:
        for path in [folder, *folder.rglob("*")]:
            shutil.chown(path, owner)
    return folder


def make(*arguments, cwd=ROOT, **more):
    """(exit code, what it printed)"""
    run = subprocess.run([*MAKE, *arguments], cwd=cwd, env=environment(**more), text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
    return run.returncode, run.stdout


@pytest.fixture
def here():
    """A function that turns the paths in documented text into those of a temporary folder, which
    the server's User can reach; what an administrator puts there by hand is there."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="b24bg-machine-"))
    places = {"/etc/apache2/b24bg": folder / "etc", "/var/lib/b24bg": folder / "state",
              "/var/backups": folder / "backups"}

    def translate(text):
        for place, own in places.items():
            text = text.replace(place, str(own))
        return text

    folder.chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "backups").mkdir()
    for name, text in {"telephony.secret": "secret\n", "proxy-ca.pem": ""}.items():
        path = folder / "etc" / name
        path.write_text(text)
        path.chmod(0o600)
    yield translate
    shutil.rmtree(folder)
