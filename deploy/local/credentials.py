"""The credentials for InfluxDB: a file for each role, readable by its owner only.

The InfluxDB started here has three users whose passwords are generated before its first start. For
an InfluxDB that the settings name, the files hold the tokens of the settings.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

from deploy.local.settings import LocalSettings

Role = Literal["admin", "writer", "reader"]

OWN_ROLES: tuple[Role, ...] = ("admin", "writer", "reader")


def credentials_folder(settings: LocalSettings) -> Path:
    """Return the folder with the credentials: one for our own InfluxDB, another for a named one."""
    name = "named-influxdb" if settings.influx_url else "influxdb"
    return settings.state / "credentials" / name


def credential_file(settings: LocalSettings, role: Role) -> Path:
    """Return the file with a token or `user:password`. A named InfluxDB 1.8 may need none."""
    return credentials_folder(settings) / role


def keep_credentials(settings: LocalSettings) -> None:
    """Generate the passwords of our own InfluxDB once, or store the tokens of a named one."""
    folder = credentials_folder(settings)
    for each in (settings.state, folder.parent, folder):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.influx_url:
        # Tokens of earlier settings no longer count.
        writing = settings.influx_token.get_secret_value()
        reading = settings.influx_read_token.get_secret_value() or writing
        for role, token in (("writer", writing), ("reader", reading)):
            (folder / role).unlink(missing_ok=True)
            if token:
                _write(folder / role, token)
        return
    for role in OWN_ROLES:
        if not (folder / role).exists():
            with suppress(FileExistsError):
                _write(folder / role, f"{role}:{secrets.token_urlsafe(32)}")


def authorization(settings: LocalSettings, role: Role) -> dict[str, str]:
    """Return the HTTP header to authenticate as `role`, none where no credential is needed."""
    path = credential_file(settings, role)
    return {"Authorization": f"Token {path.read_text()}"} if path.exists() else {}


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all, never readable by others. Raises FileExistsError."""
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        path.hardlink_to(fresh)
    finally:
        Path(fresh).unlink()
