# SPDX-License-Identifier: Apache-2.0
"""Make the Debian packages of a release from what pip has installed for it, in a tree of it.

usage: assemble.py SOURCE SITE OUT, by the release's own python3: SOURCE is the source tree, SITE a
folder that holds the runtime libraries and Isthmus itself as pip installs them. Called by
packaging/build-packages.

The package `isthmus` is a virtual environment without pip, /usr/lib/isthmus. Its bin/python3 is the
release's own interpreter, and its libraries are the pinned ones, compiled for that minor version;
the distribution's Python packages are not seen from it, and do not see it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.parser import Parser
from email.utils import formatdate
from pathlib import Path

HERE = Path(__file__).parent

PREFIX = Path("usr/lib/isthmus")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SITE_PACKAGES = PREFIX / "lib" / PYTHON / "site-packages"
UNITS = Path("usr/lib/systemd/system")
OVERRIDES = Path("usr/share/lintian/overrides/isthmus")
DOCUMENTS = ("operators.md", "api.md", "resources.md", "security.md", "examples")

SCRIPTS = ("postinst", "prerm", "postrm")
DAEMONS = {"isthmus-agent": "agent", "isthmus-controller": "controller"}

COMMAND = """\
#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# -I: neither the environment nor the folder one is in says which libraries are used.
exec /usr/lib/isthmus/bin/python3 -I /usr/lib/isthmus/bin/isthmus "$@"
"""
ENTRY = """\
# SPDX-License-Identifier: Apache-2.0
from isthmus.cli.start import main

main()
"""


def main(arguments: Sequence[str]) -> None:
    source, site, out = (Path(argument) for argument in arguments)
    work = out / "work"
    roots = {name: work / name for name in stanzas()}
    lay_out_libraries(roots["isthmus"], roots["isthmus-lab"], site)
    lay_out_command(roots["isthmus"])
    lay_out_documents(roots["isthmus"], source)
    write(roots["isthmus"] / OVERRIDES, (HERE / "isthmus.lintian-overrides").read_text())
    for package, daemon in DAEMONS.items():
        lay_out_unit(roots[package], daemon, site)
    values = {
        "version": package_version(site),
        "python": PYTHON,
        "libraries": ", ".join(libraries(roots["isthmus"])),
        "maintainer": maintainer(),
    }
    for name, root in roots.items():
        lay_out_notices(root, name, values, site)
        print(build(name, root, values, out).name)
    shutil.rmtree(work)


# -- what goes where -------------------------------------------------------------------------------


def lay_out_libraries(library: Path, lab: Path, site: Path) -> None:
    shutil.copytree(site, library / SITE_PACKAGES, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(library / SITE_PACKAGES / "bin", ignore_errors=True)  # scripts of pip's
    (lab / SITE_PACKAGES).mkdir(parents=True)
    (library / SITE_PACKAGES / "isthmus_lab").rename(lab / SITE_PACKAGES / "isthmus_lab")


def lay_out_command(root: Path) -> None:
    """A virtual environment, as Python's module venv defines it, and the command on the path."""
    write(root / PREFIX / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    (root / PREFIX / "bin").mkdir()
    (root / PREFIX / "bin/python3").symlink_to(f"../../../bin/{PYTHON}")
    write(root / PREFIX / "bin/isthmus", ENTRY)
    write(root / "usr/bin/isthmus", COMMAND, mode=0o755)


def lay_out_documents(root: Path, source: Path) -> None:
    folder = root / "usr/share/doc/isthmus"
    folder.mkdir(parents=True)
    shutil.copy(source / "README.md", folder)
    for name in DOCUMENTS:
        copy = shutil.copytree if (source / "docs" / name).is_dir() else shutil.copy
        copy(source / "docs" / name, folder / name)


def lay_out_unit(root: Path, daemon: str, site: Path) -> None:
    """The unit's text is the product's own: `isthmus init` writes the same from a source tree."""
    sys.path.insert(0, str(site))
    from isthmus.cli import units

    sys.path.remove(str(site))
    write(root / UNITS / units.file_name(daemon), units.text(daemon, "/usr/bin/isthmus"))


def lay_out_notices(root: Path, name: str, values: Mapping[str, str], site: Path) -> None:
    """The licence, the licences of what the package carries, and the changelog."""
    folder = root / "usr/share/doc" / name
    carried = [f"  {line}\n" for line in carried_libraries(site)] if name == "isthmus" else []
    write(
        folder / "copyright",
        "Copyright: the authors of Isthmus\n\n"
        "Isthmus is licensed under the Apache License, version 2.0:\n"
        "/usr/share/common-licenses/Apache-2.0\n"
        + (
            "\nThe libraries in this package have licences of their own. Their texts are\n"
            f"in /{SITE_PACKAGES}/*.dist-info:\n\n{''.join(carried)}"
            if carried
            else ""
        ),
    )
    entry = (
        f"{name} ({values['version']}) stable; urgency=medium\n\n"
        "  * See the history of the source tree.\n\n"
        f" -- {values['maintainer']}  {formatdate(build_time())}\n"
    )
    with gzip.GzipFile(folder / "changelog.gz", "wb", mtime=0) as file:
        file.write(entry.encode())


# -- what the control files say --------------------------------------------------------------------


def stanzas(file: Path = HERE / "control") -> dict[str, str]:
    """The paragraphs of the control file, by package (deb-control(5))."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    paragraphs = [part.strip() + "\n" for part in "\n".join(lines).split("\n\n") if part.strip()]
    return {str(Parser().parsestr(part)["Package"]): part for part in paragraphs}


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with each ``${name}`` as `values` has it. Raises KeyError for one that is not."""
    return re.sub(r"\$\{([a-z]+)\}", lambda found: values[found[1]], text)


def script(package: str, kind: str) -> str | None:
    """A maintainer script: that of the daemons with what the package adds, or the package's own."""
    python = {"isthmus": SITE_PACKAGES, "isthmus-lab": SITE_PACKAGES / "isthmus_lab"}.get(package)
    parts = [f"daemon.{kind}"] if package in DAEMONS else []
    if python and kind != "postrm":
        parts.append(f"python.{kind}")
    parts.append(f"{package}.{kind}")
    text = "".join((HERE / part).read_text() for part in parts if (HERE / part).exists())
    return text.replace("@UNIT@", f"{package}.service").replace("@FOLDER@", f"/{python}") or None


def package_version(site: Path) -> str:
    """That of the wheel, and of which release it is: a newer release's replaces an older one's."""
    (metadata,) = site.glob("isthmus-*.dist-info/METADATA")
    release = platform.freedesktop_os_release()["VERSION_ID"]
    return f"{Parser().parsestr(metadata.read_text())['Version']}+deb{release}"


def libraries(root: Path) -> list[str]:
    """The distribution's packages that the compiled modules load libraries of, as dependencies."""
    modules = sorted(root.rglob("*.so*"))
    packages = {package_of(file) for module in modules for file in loaded(module)}
    versions = [
        tuple(map(int, version.split(b".")))
        for module in modules
        for version in re.findall(rb"GLIBC_(\d+\.\d+)", module.read_bytes())
    ]
    libc = f"libc6 (>= {'.'.join(map(str, max(versions)))})"
    return sorted(libc if package == "libc6" else package for package in packages)


def loaded(module: Path) -> Iterator[Path]:
    """The distribution's libraries that a module loads (ldd(1))."""
    lines = subprocess.run(["ldd", module], check=True, capture_output=True, text=True).stdout
    for found in re.finditer(r"(?:=> |^\s+)(/\S+) \(0x", lines, re.MULTILINE):
        if not Path(found[1]).is_relative_to(module.parents[-2]):
            yield Path(found[1])


def package_of(library: Path) -> str:
    """Which package brings a library. /lib is a link to usr/lib, and dpkg may know either name."""
    bare = library if library.parts[1] != "usr" else Path("/", *library.parts[2:])
    names = [str(library), str(bare), f"/usr{bare}"]
    listing = subprocess.run(["dpkg-query", "-S", *names], capture_output=True, text=True).stdout
    # Debian 13 has diverted names of the loader: "diversion by base-files from: ...".
    owners = [line.partition(":")[0] for line in listing.splitlines() if " by " not in line]
    if not owners:
        raise SystemExit(f"assemble: no package of this release brings {library}")
    return owners[0]


def carried_libraries(site: Path) -> Iterator[str]:
    for file in sorted(site.glob("*.dist-info/METADATA")):
        found = Parser().parsestr(file.read_text(encoding="utf-8"))
        classifiers = [str(one) for one in found.get_all("Classifier", [])]
        licences = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License")]
        licence = found["License-Expression"] or ", ".join(licences) or found["License"]
        if found["Name"] != "isthmus":
            yield f"{found['Name']} {found['Version']}: {licence}"


def maintainer() -> str:
    """Whoever builds it, as debchange(1) finds who that is, or nobody in particular."""
    name = os.environ.get("DEBFULLNAME") or "Isthmus developers"
    return f"{name} <{os.environ.get('DEBEMAIL') or 'isthmus@packages.invalid'}>"


def build_time() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))


# -- files -----------------------------------------------------------------------------------------


def build(package: str, root: Path, values: Mapping[str, str], out: Path) -> Path:
    """Write the package file. Its content is `root`; returns its path."""
    settle_modes(root)
    files = [file for file in sorted(root.rglob("*")) if file.is_file() and not file.is_symlink()]
    stanza = filled(stanzas()[package], values)
    fields = [
        f"Version: {values['version']}",
        f"Installed-Size: {sum(kibibytes(file) for file in root.rglob('*'))}",
    ]
    if "Architecture:" not in stanza:
        fields.append(f"Architecture: {output('dpkg', '--print-architecture')}")
    first, _, rest = stanza.partition("\n")
    write(root / "DEBIAN/control", "\n".join([first, *fields, rest]))
    write(root / "DEBIAN/md5sums", "".join(checksums(root, files)))
    for kind in SCRIPTS:
        if text := script(package, kind):
            write(root / "DEBIAN" / kind, text, mode=0o755)
    architecture = re.search(r"^Architecture: (\S+)", "\n".join([stanza, *fields]), re.MULTILINE)
    assert architecture
    file = out / f"{package}_{values['version']}_{architecture[1]}.deb"
    output("dpkg-deb", "--root-owner-group", "--build", str(root), str(file))
    return file


def settle_modes(root: Path) -> None:
    """Nobody's umask: folders and programs 0755, other files 0644."""
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or path.read_bytes()[:2] == b"#!"
            path.chmod(0o755 if runs else 0o644)


def kibibytes(path: Path) -> int:
    """As deb-substvars(5) counts Installed-Size: folders and links as one."""
    return 1 if path.is_symlink() or not path.is_file() else -(-path.stat().st_size // 1024)


def checksums(root: Path, files: Iterable[Path]) -> Iterator[str]:
    for file in files:
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        yield f"{digest}  {file.relative_to(root)}\n"


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1:])
