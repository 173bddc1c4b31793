"""Envoy's configuration for this machine, rendered from api_gateway/envoy.yaml. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HOST = "127.0.0.1"

TRANSCODER = "envoy.filters.http.grpc_json_transcoder"


def render(
    config: Any,
    *,
    admin: int,
    listeners: Mapping[str, int],
    clusters: Mapping[str, Sequence[int]],
    descriptors: str,
) -> Any:
    """Return `config` with everything on loopback, at the ports given by name.

    Changes addresses and the path of the descriptor set, and nothing else. Raises KeyError when
    the configuration has a listener or a cluster that no port was given for.
    """
    return config | {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [
                _with_descriptors(
                    listener | {"address": _address(listeners[listener["name"]])}, descriptors
                )
                for listener in config["static_resources"]["listeners"]
            ],
            "clusters": [
                cluster | {"load_assignment": _endpoints(cluster["name"], clusters)}
                for cluster in config["static_resources"]["clusters"]
            ],
        },
    }


def _endpoints(name: str, clusters: Mapping[str, Sequence[int]]) -> Any:
    endpoints = [{"endpoint": {"address": _address(port)}} for port in clusters[name]]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _address(port: int) -> Any:
    return {"socket_address": {"address": HOST, "port_value": port}}


def _with_descriptors(node: Any, descriptors: str) -> Any:
    """Return `node` with every transcoder reading `descriptors`."""
    if isinstance(node, list):
        return [_with_descriptors(each, descriptors) for each in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _with_descriptors(value, descriptors) for key, value in node.items()}
    if changed.get("name") == TRANSCODER:
        changed["typed_config"] = changed["typed_config"] | {"proto_descriptor": descriptors}
    return changed
