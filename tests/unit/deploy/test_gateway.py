"""The gateway's own configuration, rendered for this machine."""

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import gateway

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="config")
def _config() -> Any:
    return yaml.safe_load((ROOT / "api_gateway" / "envoy.yaml").read_text())


def rendered(
    config: Any, ingest: range = range(7000, 7001), hosts: Sequence[str] = ("api_gateway",)
) -> Any:
    return gateway.render(
        config,
        admin=Path("/here/admin.sock"),
        hosts=hosts,
        listeners={"gateway": 8000, "alert_door": 5000, "admin": 9000},
        clusters={"ingest_service": ingest, "ingest_refusals": ingest, "alert_service": [7100]},
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
        ("127.0.0.1", port) for port in (5000, 7000, 7000, 7100, 8000, 9000)
    ]


def test_every_ingest_process_is_in_both_of_its_clusters(config: Any) -> None:
    found = addresses(rendered(config, range(7000, 7003)))
    assert [port for _, port in found if 7000 <= port < 7100] == 2 * [7000, 7001, 7002]


def test_every_transcoder_reads_the_descriptors_given(config: Any) -> None:
    text = json.dumps(rendered(config))
    assert "/etc/envoy" not in text
    assert text.count('"proto_descriptor": "/here/sluice.binpb"') == 2


def pipes(node: Any) -> list[Any]:
    """Return every socket in the file system in a configuration."""
    if isinstance(node, list):
        return [each for child in node for each in pipes(child)]
    if not isinstance(node, dict):
        return []
    own = [node["pipe"]] if "pipe" in node else []
    return own + [each for child in node.values() for each in pipes(child)]


def test_the_admin_interface_is_a_socket_of_its_owner(config: Any) -> None:
    found = rendered(config)
    assert pipes(found["admin"]) == [{"path": "/here/admin.sock", "mode": 0o600}]
    assert pipes(found) == 2 * pipes(found["admin"])


def domains(config: Any) -> list[list[str]]:
    return [
        host["domains"]
        for listener in config["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        for each in chain["filters"]
        for host in each["typed_config"]["route_config"]["virtual_hosts"]
    ]


def regexes(node: Any) -> list[str]:
    """Return every regular expression over origins in a configuration."""
    if isinstance(node, list):
        return [each for child in node for each in regexes(child)]
    if not isinstance(node, dict):
        return []
    own = [node["regex"]] if "https?" in str(node.get("regex")) else []
    return own + [each for child in node.values() for each in regexes(child)]


def test_the_gateway_goes_by_the_names_given(config: Any) -> None:
    for hosts in ([], ["sluice.example", "box"]):
        found = rendered(config, hosts=hosts)
        ours = ["localhost", "127.0.0.1", "[::1]", *hosts]
        assert sorted(domains(found)) == sorted(3 * [["*"], ours])
        assert len(regexes(found)) == 4
        for regex in regexes(found):
            for host in ours:
                assert re.fullmatch(regex, f"http://{host}:8001")
                assert re.fullmatch(regex, f"https://{host}")
            for other in ("http://api_gateway", "http://sluiceXexample", "null", "", "box"):
                assert not re.fullmatch(regex, other)


def test_a_name_that_is_there_already_is_not_there_twice(config: Any) -> None:
    found = rendered(config, hosts=["LOCALHOST", "box", "127.0.0.1", "Box"])
    for names in domains(found):
        assert len({name.lower() for name in names}) == len(names)
        assert names == ["*"] or {"localhost", "box"} <= {name.lower() for name in names}


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
