"""
Build the Debian package: `python tools/deb.py [--version VERSION] [DIRECTORY]` prints the path of the file it made.

Needs dpkg-deb and nothing from the network. The package holds the modules for the system's Python 3, the configuration
under /etc/banguard as files that dpkg asks about before it replaces a changed one, and once more under
/usr/share/banguard as it came; service files, manual pages and completion.
"""

from __future__ import annotations

import argparse
import datetime as dt
import email.utils
import gzip
import os
import shutil
import subprocess
import sys
import tempfile

import manpages

import banguard
from banguard.cli.completion import SCRIPTS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODULES = "usr/lib/python3/dist-packages"

PROGRAM = """\
#!/usr/bin/python3 -I
import sys

from banguard.cli.{name} import main

sys.exit(main())
"""

METADATA = """\
Metadata-Version: 2.1
Name: banguard
Version: {version}
Summary: Watch logs, count failures, ban hosts.
License: MIT
Requires-Python: >=3.11
"""


CHANGELOG = """\
banguard ({version}) unstable; urgency=medium

  * What is new stands in CHANGELOG.md.

 -- {maintainer}  {when}
"""

MAINTAINER = "The banguard authors <maintainers@banguard.example>"


class Tree:
    """The files of the package, as they will lie below `/`."""

    def __init__(self, root: str, date: float) -> None:
        self.root = root
        self._date = date
        self.conffiles: list[str] = []

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Make the file *path*, its directories included; those under /etc are configuration files."""
        target = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(target, mode)
        if path.startswith("etc/"):
            self.conffiles.append(f"/{path}")

    def copy(self, source: str, path: str, mode: int = 0o644) -> None:
        """Copy a file of the checkout."""
        with open(os.path.join(ROOT, source), "rb") as file:
            self.write(path, file.read(), mode)

    def copy_all(self, source: str, path: str) -> None:
        """Copy a directory of the checkout, without what Python left in it."""
        for directory, folders, files in os.walk(os.path.join(ROOT, source)):
            folders[:] = [folder for folder in folders if folder not in ("__pycache__", "_config")]
            for name in files:
                full = os.path.join(directory, name)
                mode = 0o755 if os.access(full, os.X_OK) else 0o644
                self.copy(full, os.path.join(path, os.path.relpath(full, os.path.join(ROOT, source))), mode)

    def compress(self, path: str, content: str) -> None:
        """Make a gzip file that is the same each time."""
        self.write(path, gzip.compress(content.encode(), 9, mtime=0))

    def settle(self) -> int:
        """Give everything the same date and plain rights; return the size in KiB."""
        size = 0
        for directory, _, files in os.walk(self.root):
            os.chmod(directory, 0o755)  # noqa: S103  what everybody may read
            for name in files:
                full = os.path.join(directory, name)
                size += os.lstat(full).st_size
                os.utime(full, (self._date, self._date), follow_symlinks=False)
            os.utime(directory, (self._date, self._date))
        return size // 1024 + 1


def fill(tree: Tree, version: str, date: float) -> None:
    """Put all files of the package into *tree*."""
    tree.copy_all("src/banguard", f"{MODULES}/banguard")
    tree.write(f"{MODULES}/banguard-{version}.dist-info/METADATA", METADATA.format(version=version))
    tree.copy_all("config", "usr/share/banguard")
    tree.copy_all("config", "etc/banguard")
    os.symlink("../../../../share/banguard", os.path.join(tree.root, MODULES, "banguard/_config"))
    tree.copy("packaging/debian/defaults-debian.conf", "etc/banguard/jail.d/defaults-debian.conf")
    for name in ("server", "client", "regex"):
        tree.write(f"usr/bin/banguard-{name}", PROGRAM.format(name=name), 0o755)
    tree.copy("packaging/systemd/banguard.service", "lib/systemd/system/banguard.service")
    tree.copy("packaging/sysusers.d/banguard.conf", "usr/lib/sysusers.d/banguard.conf")
    tree.copy("packaging/tmpfiles.d/banguard.conf", "usr/lib/tmpfiles.d/banguard.conf")
    tree.copy("packaging/logrotate.d/banguard", "etc/logrotate.d/banguard")
    tree.copy("packaging/init.d/banguard", "etc/init.d/banguard", 0o755)
    for page in manpages.PAGES:
        tree.compress(f"usr/share/man/man{page[-1]}/{page}.gz", manpages.page(page))
    tree.write("usr/share/bash-completion/completions/banguard-client", SCRIPTS["bash"])
    for name in ("server", "regex"):
        link = os.path.join(tree.root, f"usr/share/bash-completion/completions/banguard-{name}")
        os.symlink("banguard-client", link)
    tree.write("usr/share/zsh/vendor-completions/_banguard", SCRIPTS["zsh"])
    tree.write("usr/share/fish/vendor_completions.d/banguard.fish", SCRIPTS["fish"])
    document = "usr/share/doc/banguard"
    tree.copy("packaging/systemd/unprivileged.conf", f"{document}/examples/unprivileged.conf")
    tree.copy_all("docs", f"{document}/docs")
    tree.copy("README.md", f"{document}/README.md")
    tree.copy("CHANGELOG.md", f"{document}/CHANGELOG.md")
    when = email.utils.format_datetime(dt.datetime.fromtimestamp(date, dt.UTC))
    tree.compress(f"{document}/changelog.gz", CHANGELOG.format(version=version, maintainer=MAINTAINER, when=when))
    tree.copy("LICENSE", f"{document}/copyright")


def build(directory: str, version: str) -> str:
    """Build the package of *version* into *directory* and return its path."""
    date = float(os.environ.get("SOURCE_DATE_EPOCH") or os.path.getmtime(os.path.join(ROOT, "CHANGELOG.md")))
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)  # noqa: S103  dpkg wants it so
        tree = Tree(root, date)
        fill(tree, version, date)
        size = tree.settle()
        for name in ("postinst", "prerm", "postrm"):
            tree.copy(f"packaging/debian/{name}", f"DEBIAN/{name}", 0o755)
        with open(os.path.join(ROOT, "packaging/debian/control"), encoding="utf-8") as file:
            control = (
                file.read()
                .replace("@VERSION@", version)
                .replace("@SIZE@", str(size))
                .replace("@MAINTAINER@", MAINTAINER)
            )
        tree.write("DEBIAN/control", control)
        tree.write("DEBIAN/conffiles", "".join(f"{path}\n" for path in sorted(tree.conffiles)))
        tree.settle()
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, f"banguard_{version}_all.deb")
        environ = {**os.environ, "SOURCE_DATE_EPOCH": f"{date:.0f}"}
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environ)
    return path


def main(arguments: list[str]) -> int:
    """Build, and print the path."""
    parser = argparse.ArgumentParser(prog="deb.py", description="Build the Debian package.")
    parser.add_argument("--version", default=banguard.__version__)
    parser.add_argument("directory", nargs="?", default=os.path.join(ROOT, "dist"))
    options = parser.parse_args(arguments)
    if shutil.which("dpkg-deb") is None:
        print("deb.py: dpkg-deb is missing; it comes with the package dpkg", file=sys.stderr)
        return 1
    print(build(options.directory, options.version))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
