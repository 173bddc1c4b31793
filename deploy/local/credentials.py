"""Who may do what in InfluxDB: one file for each credential, readable by its owner only.

The InfluxDB started here has three users whose passwords are made before it is started for the
first time. For one that was named the files hold the tokens of the settings.
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
    """Return where the credentials lie: a folder each for our own InfluxDB and for a named one."""
    whose = "named-influxdb" if settings.influx_url else "influxdb"
    return settings.state / "credentials" / whose


def credential_file(settings: LocalSettings, role: Role) -> Path:
    """Return the file that holds a token, or `user:password`. A named 1.8 may ask for none."""
    return credentials_folder(settings) / role


def keep_credentials(settings: LocalSettings) -> None:
    """Make the passwords of our own InfluxDB once, or write down the tokens of a named one."""
    folder = credentials_folder(settings)
    for each in (settings.state, folder.parent, folder):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
    if settings.influx_url:
        # The latest names count, or that there are none.
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
    """Return the HTTP header that lets one in as `role`, or none where nothing is asked for."""
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
