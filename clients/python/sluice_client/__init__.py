"""The client of Sluice: submits events, each to one row in the database, and loses none in silence.

::

    with Client("localhost:8001", source="web") as sluice:
        receipt = sluice.submit({"event": "signup", "plan": "team"})
        print(receipt.result().task_id)
"""

from sluice_client.async_client import AsyncClient
from sluice_client.client import Client
from sluice_client.core import Options
from sluice_client.errors import (
    CallFailed,
    Closed,
    Dropped,
    InvalidValue,
    QueueFull,
    Refused,
    RefusedField,
    SluiceError,
    SpoolFailed,
    Unanswered,
)
from sluice_client.logs import SluiceHandler, SluiceProcessor
from sluice_client.outcomes import Receipt
from sluice_client.pieces import Counts

__all__ = [
    "AsyncClient",
    "CallFailed",
    "Client",
    "Closed",
    "Counts",
    "Dropped",
    "InvalidValue",
    "Options",
    "QueueFull",
    "Receipt",
    "Refused",
    "RefusedField",
    "SluiceError",
    "SluiceHandler",
    "SluiceProcessor",
    "SpoolFailed",
    "Unanswered",
]
