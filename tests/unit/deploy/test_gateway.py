"""The gateway's own configuration, rendered for this machine."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import gateway

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="config")
def _config() -> Any:
    return yaml.safe_load((ROOT / "api_gateway" / "envoy.yaml").read_text())


def rendered(config: Any, ingest: range = range(7000, 7001)) -> Any:
    return gateway.render(
        config,
        admin=9000,
        listeners={"gateway": 8000, "alert_door": 5000},
        clusters={"ingest_service": ingest, "alert_service": [7100]},
        descriptors="/here/sluice.binpb",
    )


def addresses(node: Any) -> list[tuple[str, int]]:
    """Return every socket address in a configuration."""
    if isinstance(node, list):
        return [each for child in node for each in addresses(child)]
    if not isinstance(node, dict):
        return []
    own = node.get("socket_address")
    found = [(own["address"], own["port_value"])] if own else []
    return found + [each for child in node.values() for each in addresses(child)]


def test_everything_is_on_loopback_at_the_ports_given(config: Any) -> None:
    assert sorted(addresses(rendered(config))) == [
        ("127.0.0.1", port) for port in (5000, 7000, 7100, 8000, 9000)
    ]


def test_every_ingest_process_is_in_the_cluster(config: Any) -> None:
    found = addresses(rendered(config, range(7000, 7003)))
    assert [port for _, port in found if 7000 <= port < 7100] == [7000, 7001, 7002]


def test_every_transcoder_reads_the_descriptors_given(config: Any) -> None:
    text = json.dumps(rendered(config))
    assert "/etc/envoy" not in text
    assert text.count('"proto_descriptor": "/here/sluice.binpb"') == 2


def test_nothing_else_changes(config: Any) -> None:
    before = copy.deepcopy(config)
    after = rendered(config)
    assert config == before
    for each in (before, after):
        each.pop("admin")
        for listener in each["static_resources"]["listeners"]:
            listener.pop("address")
        for cluster in each["static_resources"]["clusters"]:
            cluster.pop("load_assignment")
    text = json.dumps(after).replace("/here/sluice.binpb", "/etc/envoy/contracts/sluice.binpb")
    assert json.loads(text) == before


def test_a_listener_that_is_not_known_is_an_error(config: Any) -> None:
    config["static_resources"]["listeners"][0]["name"] = "another"
    with pytest.raises(KeyError):
        rendered(config)
