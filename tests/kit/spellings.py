"""The spellings in which a secret could be left somewhere."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus


def spellings(secret: str) -> dict[str, bytes]:
    """Return what to look for, by the name of the spelling.

    Base64 spells a text in three ways, depending on where it begins; of each only the part that
    does not depend on the neighbours is looked for.
    """
    data = secret.encode()
    spelled = {
        "raw": data,
        "URL": quote(secret, safe="").encode(),
        "form": quote_plus(secret).encode(),
        "URL, all of it": "".join(f"%{byte:02X}" for byte in data).encode(),
        "JSON escapes": "".join(f"\\u{ord(each):04x}" for each in secret).encode(),
        "hex": data.hex().encode(),
        "hex in capitals": data.hex().upper().encode(),
        "hex escapes": "".join(f"\\x{byte:02x}" for byte in data).encode(),
    }
    for before in range(3):
        whole = base64.b64encode(bytes(before) + data + bytes(-(before + len(data)) % 3))
        spelled[f"base64, {before} before"] = whole[4 if before else 0 : -4]
    return spelled
