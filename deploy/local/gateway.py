"""Envoy's configuration for this machine, rendered from api_gateway/envoy.yaml. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"

OWN_NAME = "api_gateway"
"""The gateway's name in a container network, which the names of SLUICE_HOSTS replace."""

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"


def render(
    config: Any,
    *,
    admin: Path,
    hosts: Sequence[str],
    listeners: Mapping[str, int],
    clusters: Mapping[str, Sequence[int]],
    descriptors: str,
) -> Any:
    """Return `config` with everything on loopback, at the ports given by name.

    `admin` is the path of the admin socket, `hosts` are the host names of the gateway besides those
    of loopback, `descriptors` is the path of the descriptor set. Nothing else changes. Raises
    KeyError for a listener or a cluster without a port.
    """
    socket = {"pipe": config["admin"]["address"]["pipe"] | {"path": str(admin)}}
    addresses = {name: [_address(port) for port in ports] for name, ports in clusters.items()}
    addresses["admin"] = [socket]
    return config | {
        "admin": {"address": socket},
        "static_resources": {
            "listeners": [
                _rendered(
                    listener | {"address": _address(listeners[listener["name"]])},
                    hosts,
                    descriptors,
                )
                for listener in config["static_resources"]["listeners"]
            ],
            "clusters": [
                cluster | {"load_assignment": _endpoints(cluster["name"], addresses)}
                for cluster in config["static_resources"]["clusters"]
            ],
        },
    }


def _endpoints(name: str, addresses: Mapping[str, Sequence[Any]]) -> Any:
    endpoints = [{"endpoint": {"address": address}} for address in addresses[name]]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _address(port: int) -> Any:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _rendered(node: Any, hosts: Sequence[str], descriptors: str) -> Any:
    """Return `node` with `descriptors` in every transcoder, and `hosts` for OWN_NAME."""
    if isinstance(node, list):
        return [_rendered(each, hosts, descriptors) for each in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _rendered(value, hosts, descriptors) for key, value in node.items()}
    if changed.get("name") == TRANSCODER:
        changed["typed_config"] = changed["typed_config"] | {"proto_descriptor": descriptors}
    if OWN_NAME in changed.get("domains", ()):
        ours = [each for each in changed["domains"] if each != OWN_NAME]
        # Envoy refuses a name that is given twice.
        changed["domains"] = [*{each.lower(): each for each in (*ours, *hosts)}.values()]
    if f"|{OWN_NAME})" in str(changed.get("regex")):
        names = "".join(f"|{re.escape(host)}" for host in hosts)
        changed["regex"] = changed["regex"].replace(f"|{OWN_NAME})", f"{names})")
    return changed
