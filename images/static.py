#!/usr/bin/env python3
"""Packs one statically linked program as an OCI archive.

Usage: static.py PROGRAM TARGET NAME   (the program becomes /NAME-OF-FILE and is what the image starts)
"""

import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import build


def renamed(target: Path, name: str) -> None:
    """Calls the one image in the archive `name`."""
    with tarfile.open(target) as packed:
        files = {member.name: packed.extractfile(member).read() for member in packed.getmembers()}
    index = json.loads(files["index.json"])
    tag = name.rpartition(":")[2]
    index["manifests"][0]["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
    files["index.json"] = json.dumps(index).encode()
    with tarfile.open(target, "w") as packed:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            packed.addfile(member, io.BytesIO(data))


def main() -> None:
    program, target, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for folder in ["etc", "tmp", "root", "proc", "sys", "dev"]:
            (root / folder).mkdir()
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text("root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\n")
        inside = root / program.name
        inside.write_bytes(program.read_bytes())
        inside.chmod(0o755)
        # An image has one name on our node: the label makes images of the same program different ones.
        config = {"Entrypoint": [f"/{program.name}"], "Labels": {"org.opencontainers.image.ref.name": name}}
        build.archive(program.name, build.layer_of(root), config, target)
    renamed(target, name)


if __name__ == "__main__":
    main()
