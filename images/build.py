#!/usr/bin/env python3
"""Builds the example and test images from Debian packages, as OCI archives.

Each image is one row of IMAGES: packages, configuration, and a function that trims or adds files.
An archive is rebuilt when this file is newer. No container engine and no registry is involved:
mmdebstrap makes the root file system, the rest is tar, sha256 and JSON (OCI image layout 1.0).
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
SUITE = "bookworm"
# Documentation and translations are of no use in a container.
EXCLUDED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*"]


def applets(root: Path) -> None:
    """Links every busybox applet, so that the image has a shell and its tools."""
    binary = root / "bin/busybox"
    for path in subprocess.run([binary, "--list-full"], check=True, capture_output=True, text=True).stdout.split():
        link = root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")
    for folder in ["tmp", "etc", "root", "var", "proc", "sys", "dev"]:
        (root / folder).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")


def nginx_port(root: Path) -> None:
    """Serves on 8080 so that no privilege is needed, and logs to the container's streams."""
    site = root / "etc/nginx/sites-available/default"
    site.write_text("server { listen 8080 default_server; root /var/www/html; location / { try_files $uri $uri/ =404; } }\n")
    for name, target in [("access.log", "/dev/stdout"), ("error.log", "/dev/stderr")]:
        log = root / "var/log/nginx" / name
        log.unlink(missing_ok=True)
        log.symlink_to(target)


def postgres_start(root: Path) -> None:
    """Makes the database on first start, in a folder of its own below the volume, and then serves it."""
    start = root / "usr/local/bin/postgres-start"
    start.write_text("""#!/bin/sh
set -e
export PATH=$(echo /usr/lib/postgresql/*/bin):$PATH PGDATA=/data/database
[ -s $PGDATA/PG_VERSION ] || initdb --username=postgres --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 >/dev/null
exec postgres -c listen_addresses=* -c unix_socket_directories=/tmp "$@"
""")
    start.chmod(0o755)


def nothing(_root: Path) -> None:
    pass


# name: (Debian packages, whole base system?, OCI configuration, finish)
IMAGES = {
    "busybox": (["busybox-static"], False, {"Cmd": ["sh"]}, applets),
    "python3": (["python3-minimal", "python3-redis", "ca-certificates"], True, {"Cmd": ["python3"]}, nothing),
    "redis": (["redis-server"], True, {"Cmd": ["redis-server"], "WorkingDir": "/data", "ExposedPorts": {"6379/tcp": {}}, "User": "redis"}, nothing),
    "postgres": (["postgresql-15"], True, {"Cmd": ["postgres-start"], "WorkingDir": "/data", "ExposedPorts": {"5432/tcp": {}}, "User": "postgres"}, postgres_start),
    "nginx": (["nginx-light"], True, {"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"8080/tcp": {}}}, nginx_port),
}


def root_file_system(packages: list[str], whole: bool, root: Path) -> None:
    """Unpacks the packages (with a base system when asked) into `root`."""
    if whole:
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED]
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}", *options, SUITE, str(root)], check=True)
        for leftover in ["var/cache/apt", "var/lib/apt", "var/log/apt"]:
            shutil.rmtree(root / leftover, ignore_errors=True)
        return
    with tempfile.TemporaryDirectory() as downloads:
        os.chmod(downloads, 0o777)  # apt downloads as a user of its own
        subprocess.run(["apt-get", "-qq", "download", *packages], check=True, cwd=downloads)
        for package in Path(downloads).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", str(package), str(root)], check=True)
    shutil.rmtree(root / "usr/share", ignore_errors=True)


def layer_of(root: Path) -> bytes:
    """The tree as an uncompressed tar with stable times; device nodes are left to the runtime."""
    buffer = io.BytesIO()

    def stable(member: tarfile.TarInfo):
        member.mtime = 0
        return None if member.isdev() and not member.isfifo() else member

    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(root.iterdir()):
            tar.add(entry, arcname=entry.name, filter=stable)
    return buffer.getvalue()


def archive(name: str, layer: bytes, config: dict, target: Path) -> None:
    """Writes an OCI image layout with one image, named knarr.local/NAME:SUITE."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, media_type: str) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    packed = gzip.compress(layer, compresslevel=3, mtime=0)
    description = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": f"debian {SUITE} packages"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(description).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip")],
    }
    entry = blob(json.dumps(manifest).encode(), manifest["mediaType"])
    entry["annotations"] = {"io.containerd.image.name": f"knarr.local/{name}:{SUITE}", "org.opencontainers.image.ref.name": SUITE}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode()}
    files |= {f"blobs/sha256/{digest}": data for digest, data in blobs.items()}
    partial = target.with_suffix(".part")
    with tarfile.open(partial, "w") as tar:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    partial.rename(target)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "target/images")
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or IMAGES:
        target = folder / f"{name}.tar"
        if target.exists() and target.stat().st_mtime > HERE.stat().st_mtime:
            continue
        print(f"building {target} from Debian packages", flush=True)
        packages, whole, config, finish = IMAGES[name]
        with tempfile.TemporaryDirectory() as scratch:
            root = Path(scratch) / "root"
            root.mkdir()
            root_file_system(packages, whole, root)
            finish(root)
            archive(name, layer_of(root), config, target)


if __name__ == "__main__":
    main()
