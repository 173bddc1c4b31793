"""Generates the Python stubs and the descriptor set into protos/gen/.

One protoc run writes messages, gRPC stubs, their types and `sluice.binpb`, the descriptor set that
Envoy, buf and reflection read; `requirements.txt` and `version.txt` are for the wheel of the stubs.
The folder is built aside and then replaces the old one, so a removed .proto leaves no stale stub.
Run it as `python protos/generate.py`.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import tomllib
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).parent
GENERATED = PROTOS / "gen"

# Named to protoc although nothing imports it: Envoy can only turn an error detail into JSON when
# its type is in the descriptor set (envoyproxy/envoy#9796).
ERROR_DETAILS = "google/rpc/error_details.proto"


def generate(target: Path, protos: Path = PROTOS) -> None:
    """Write stubs, types and descriptor set of the contracts under `protos` into `target`.

    Raises SystemExit when protoc refuses a .proto; protoc has then printed why.
    """
    ours = sorted(str(path.relative_to(protos)) for path in protos.glob("sluice/**/*.proto"))
    includes = [protos, files("grpc_tools") / "_proto", files("google.rpc") / "../.."]
    include_flags = [f"-I{Path(str(path)).resolve()}" for path in includes]
    # The plugins of this very environment, wherever PATH points.
    scripts = Path(sys.executable).parent
    plugins = [f"--plugin={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    outputs = ["python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out"]
    _protoc([*include_flags, *plugins, *(f"--{out}={target}" for out in outputs), *ours])
    _protoc(
        [
            *include_flags,
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={target / 'sluice.binpb'}",
            *ours,
            ERROR_DETAILS,
        ]
    )
    # A wheel without __init__.py in every folder imports, but fails type checking.
    for folder in (path for path in target.glob("**/") if path != target):
        (folder / "__init__.py").touch()
    (target / "sluice" / "py.typed").touch()
    (target / "requirements.txt").write_text(_requirements())
    project = tomllib.loads((PROTOS.parent / "pyproject.toml").read_text())["project"]
    (target / "version.txt").write_text(project["version"])


def _requirements() -> str:
    """Return what the stubs need: runtimes as new as their generator, and what they import."""
    protobuf = re.search(r"protobuf [^;]*>=([\d.]+)", ";".join(requires("grpcio-tools") or ()))
    if protobuf is None:
        sys.exit("grpcio-tools no longer tells which protobuf its stubs need: see its metadata")
    # Stubs of one major version of protobuf run on the next.
    next_but_one = int(protobuf[1].split(".")[0]) + 2
    return (
        f"grpcio>={version('grpcio-tools')}\n"
        f"protobuf>={protobuf[1]},<{next_but_one}\n"
        "googleapis-common-protos>=1.70\n"
    )


def _protoc(arguments: list[str]) -> None:
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc refused the contracts: correct what it names above")


def main() -> None:
    """Replace protos/gen/ by freshly generated files."""
    with tempfile.TemporaryDirectory(dir=PROTOS) as scratch:
        fresh = Path(scratch) / "gen"
        fresh.mkdir()
        generate(fresh)
        shutil.rmtree(GENERATED, ignore_errors=True)
        fresh.rename(GENERATED)


if __name__ == "__main__":
    main()
