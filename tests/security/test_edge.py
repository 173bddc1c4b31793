"""The gateway's limits, read back from the running Envoy."""

from __future__ import annotations

import json
import re
import stat
from typing import Any

import pytest

from deploy.local import admin
from deploy.local.mesh import LocalMesh
from mesh.settings import ProcessSettings

# Before these, an advisory for what we use is open: an HTTP/2 memory bomb is the last of them.
OLDEST_ENVOY = (1, 38, 1)

STREAMS = {
    "gateway": {"grpc_ingest_streams", "grpc_ingest_watch", "grpc_alert_streams",
                "grpc_health_watch", "grpc_reflection", "watch_status", "watch_alerts"},
    "alert_door": {"door_grpc_streams", "door_watch_alerts"},
}  # fmt: skip

TOLD_IN_THE_ACCESS_LOG = {
    "START_TIME", "ROUTE_NAME", "RESPONSE_CODE", "GRPC_STATUS", "RESPONSE_CODE_DETAILS",
    "DURATION", "BYTES_RECEIVED", "BYTES_SENT", "UPSTREAM_CLUSTER",
}  # fmt: skip


HOSTS = ["localhost", "127.0.0.1", "[::1]"]


def asked(mesh: LocalMesh, path: str) -> Any:
    return json.loads(admin.get(mesh.admin_socket, path, 10))


@pytest.fixture(scope="module")
def dump(mesh: LocalMesh) -> dict[str, Any]:
    """Return Envoy's own account of its configuration, by kind."""
    configs = asked(mesh, "/config_dump?include_eds")["configs"]
    return {each["@type"].rsplit(".", 1)[1]: each for each in configs}


@pytest.fixture(scope="module", params=["gateway", "alert_door"])
def listener(request: pytest.FixtureRequest, dump: dict[str, Any]) -> Any:
    listeners = [each["listener"] for each in dump["ListenersConfigDump"]["static_listeners"]]
    assert {each["name"] for each in listeners} == {"gateway", "alert_door", "admin"}
    return next(each for each in listeners if each["name"] == request.param)


@pytest.fixture(scope="module")
def manager(listener: Any) -> Any:
    ((chain,),) = [each["filters"] for each in listener["filter_chains"]]
    return chain["typed_config"]


CLUSTERS = ["ingest_service", "ingest_refusals", "alert_service"]


@pytest.fixture(scope="module", params=CLUSTERS)
def cluster(request: pytest.FixtureRequest, dump: dict[str, Any]) -> Any:
    clusters = [each["cluster"] for each in dump["ClustersConfigDump"]["static_clusters"]]
    assert {each["name"] for each in clusters} == {*CLUSTERS, "admin"}
    return next(each for each in clusters if each["name"] == request.param)


def http_filter(manager: Any, name: str) -> Any:
    (found,) = [each for each in manager["http_filters"] if each["name"].endswith(f".{name}")]
    return found["typed_config"]


def routes(manager: Any) -> list[Any]:
    return list(own_host(manager)["routes"])


def own_host(manager: Any) -> Any:
    """Return the virtual host of our own names; the other one refuses."""
    hosts = {each["name"]: each for each in manager["route_config"]["virtual_hosts"]}
    elsewhere = hosts.pop("elsewhere")
    assert elsewhere["domains"] == ["*"]
    (refused,) = elsewhere["routes"]
    assert refused["direct_response"] == {"status": 421}
    (own,) = hosts.values()
    return own


def test_envoy_is_newer_than_the_advisories(mesh: LocalMesh) -> None:
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)", asked(mesh, "/server_info")["version"])
    assert found is not None
    assert tuple(map(int, found.groups())) >= OLDEST_ENVOY


def test_what_a_client_claims_about_itself_is_not_believed(manager: Any) -> None:
    assert manager["use_remote_address"] is True
    assert manager.get("xff_num_trusted_hops", 0) == 0
    (nobody,) = manager["internal_address_config"]["cidr_ranges"]
    assert nobody == {"address_prefix": "192.0.2.1", "prefix_len": 32}
    assert manager["always_set_request_id_in_response"] is True
    assert "preserve_external_request_id" not in manager


def test_paths_are_normalized_before_they_are_routed(manager: Any) -> None:
    assert manager["normalize_path"] is True
    assert manager["merge_slashes"] is True
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"


def test_time_is_limited(manager: Any) -> None:
    assert manager["request_headers_timeout"] == "5s"
    assert manager["stream_idle_timeout"] == "300s"
    common = manager["common_http_protocol_options"]
    assert common["idle_timeout"] == "300s"
    assert common["max_stream_duration"] == "20s"


def test_headers_are_limited(manager: Any) -> None:
    assert manager["max_request_headers_kb"] == 16
    common = manager["common_http_protocol_options"]
    assert common["max_headers_count"] == 50
    assert common["headers_with_underscores_action"] == "REJECT_REQUEST"


def test_connections_and_streams_are_limited(listener: Any, manager: Any) -> None:
    assert listener["per_connection_buffer_limit_bytes"] == 32768
    # Watches have no limit of time; a peer that is gone does.
    assert listener["tcp_keepalive"]["keepalive_time"] == 60
    http2 = manager["http2_protocol_options"]
    assert http2["max_concurrent_streams"] == 100
    assert http2["initial_stream_window_size"] == 65536
    assert http2["initial_connection_window_size"] == 1048576


def test_overload_is_met_by_refusing(dump: dict[str, Any]) -> None:
    overload = dump["BootstrapConfigDump"]["bootstrap"]["overload_manager"]
    monitors = {
        each["name"].rsplit(".", 1)[1]: each["typed_config"]
        for each in overload["resource_monitors"]
    }
    assert monitors["fixed_heap"]["max_heap_size_bytes"] == "536870912"
    most = monitors["global_downstream_max_connections"]["max_active_downstream_connections"]
    assert most == "10000"
    thresholds = {
        each["name"].rsplit(".", 1)[1]: each["triggers"][0]["threshold"]["value"]
        for each in overload["actions"]
    }
    assert thresholds == {"shrink_heap": 0.9, "stop_accepting_requests": 0.95}


def test_admin_has_a_socket_and_no_port(mesh: LocalMesh, dump: dict[str, Any]) -> None:
    address = dump["BootstrapConfigDump"]["bootstrap"]["admin"]["address"]
    assert address == {"pipe": {"path": str(mesh.admin_socket), "mode": 0o600}}
    assert stat.S_IMODE(mesh.admin_socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(mesh.admin_socket.parent.stat().st_mode) == 0o700


def test_only_our_own_names_and_origins_are_answered(manager: Any) -> None:
    assert manager["route_config"]["ignore_port_in_host_matching"] is True
    assert own_host(manager)["domains"] == HOSTS
    foreign = routes(manager)[0]
    assert foreign["direct_response"] == {"status": 403}
    assert foreign["match"]["prefix"] == "/"
    assert [each["name"] for each in foreign["match"]["headers"]] == ["origin", "origin"]
    page = routes(manager)[1]
    assert page["direct_response"] == {"status": 403}
    assert page["match"]["prefix"] == "/"
    assert [each["name"] for each in page["match"]["headers"]] == ["sec-fetch-site", "origin"]


def test_refusals_wait_on_both_listeners(manager: Any) -> None:
    # Nearer to the caller than whatever refuses.
    names = [each["name"].rsplit(".", 1)[-1] for each in manager["http_filters"]]
    assert names.index("lua") < names.index("header_mutation")


def test_bodies_are_limited_before_they_are_transcoded(manager: Any) -> None:
    names = [each["name"].rsplit(".", 1)[-1] for each in manager["http_filters"]]
    order = ["header_mutation", "buffer", "grpc_json_transcoder", "parsed", "router"]
    assert names[-5:] == order
    assert http_filter(manager, "buffer")["max_request_bytes"] == 1048576
    transcoder = http_filter(manager, "grpc_json_transcoder")
    assert transcoder["max_request_body_size"] == 4194304
    assert transcoder["max_response_body_size"] == 8388608
    assert transcoder["convert_grpc_status"] is True
    assert transcoder["match_incoming_request_route"] is True
    assert transcoder["request_validation_options"] == {
        "reject_unknown_query_parameters": True,
        "reject_binding_body_field_collisions": True,
    }


def test_every_route_but_those_of_streams_ends_in_time(listener: Any, manager: Any) -> None:
    for route in routes(manager):
        if "direct_response" in route:
            # Answered at once: the body is not waited for.
            off = route["typed_per_filter_config"]
            assert off["envoy.filters.http.buffer"]["disabled"] is True
            assert off["envoy.filters.http.grpc_json_transcoder"]["disabled"] is True
            assert off["parsed"]["disabled"] is True
        elif route["name"] in STREAMS[listener["name"]]:
            assert route["route"]["timeout"] == "0s"
            # A watcher may wait; on a stream the service waits less than this.
            is_written = route["name"] == "grpc_ingest_streams"
            assert route["route"]["idle_timeout"] == ("300s" if is_written else "0s")
            assert route["route"]["priority"] == "HIGH"
            assert route["route"]["max_stream_duration"] == {"max_stream_duration": "0s"}
        elif route["name"] != "preflight":
            assert route["route"]["timeout"] == "10s"
            assert "priority" not in route["route"]
            # So the limit of every stream holds.
            assert "max_stream_duration" not in route["route"]
    assert STREAMS[listener["name"]] <= {route["name"] for route in routes(manager)}


def test_every_route_has_a_name_since_logs_and_alerts_tell_it(manager: Any) -> None:
    assert all(route.get("name") for route in routes(manager))
    assert routes(manager)[-1]["match"] == {"prefix": "/"}


def test_only_our_services_are_routed_to(manager: Any) -> None:
    prefixes = {route["match"]["prefix"] for route in routes(manager) if "prefix" in route["match"]}
    assert prefixes <= {
        "/",
        "/sluice.ingest.v1.IngestService/",
        "/sluice.alert.v1.AlertService/",
        "/grpc.health.v1.Health/",
    }


def test_a_call_is_retried_only_when_it_cannot_have_arrived(manager: Any) -> None:
    policy = own_host(manager)["retry_policy"]
    assert set(policy["retry_on"].split(",")) == {
        "connect-failure",
        "refused-stream",
        "reset-before-request",
    }
    assert policy["num_retries"] == 2
    assert policy["retry_host_predicate"][0]["name"].endswith("previous_hosts")
    assert not any("retry_policy" in route.get("route", {}) for route in routes(manager))


def test_circuits_break(cluster: Any) -> None:
    if cluster["name"] == "ingest_refusals":
        # What strangers send leaves ingest to the others.
        (refusals,) = cluster["circuit_breakers"]["thresholds"]
        assert refusals["max_requests"] == refusals["max_pending_requests"] == 256
        return
    calls, streams = cluster["circuit_breakers"]["thresholds"]
    assert streams.pop("priority") == "HIGH"
    assert calls["max_requests"] == 4096
    # The streams and watches that ten processes take, each of them.
    own = ProcessSettings(listen="", metrics_listen="")
    shares = own.max_concurrent_streams + own.max_concurrent_watches
    assert streams["max_requests"] >= 10 * shares
    for limits in (calls, streams):
        assert limits["max_connections"] == 1024
        assert limits["max_pending_requests"] == 2048
        assert limits["retry_budget"]["budget_percent"] == {"value": 20}
    assert cluster["connect_timeout"] == "1s"
    assert cluster["per_connection_buffer_limit_bytes"] == 32768


def test_what_callers_cancel_is_no_flood(cluster: Any) -> None:
    (options,) = cluster["typed_extension_protocol_options"].values()
    http2 = options["explicit_http_config"]["http2_protocol_options"]
    # More than all connections can cancel at one moment: 10,000 of 100 streams.
    assert http2["max_outbound_control_frames"] >= 1_000_000
    assert http2["max_outbound_frames"] >= 1_000_000


def test_broken_hosts_are_left_out_and_never_all_of_them(cluster: Any) -> None:
    outliers = cluster["outlier_detection"]
    assert outliers["split_external_local_origin_errors"] is True
    assert outliers["consecutive_local_origin_failure"] == 5
    assert outliers["max_ejection_percent"] == 50
    # What a service answers, a caller may have provoked.
    for kind in ("consecutive_5xx", "consecutive_gateway_failure", "success_rate"):
        assert outliers[f"enforcing_{kind}"] == 0


def test_health_decides_who_is_called(cluster: Any) -> None:
    (check,) = cluster["health_checks"]
    assert "grpc_health_check" in check
    # Of ingest it is known in time for a drain. Calls that record refusals may be repeated
    # elsewhere, those to the alert service go nowhere else; so they wait for no check.
    interval = {"ingest_service": "1s", "ingest_refusals": "5s", "alert_service": "2s"}
    assert check["interval"] == check["no_traffic_healthy_interval"] == interval[cluster["name"]]
    assert check["unhealthy_interval"] == check["no_traffic_interval"] == "0.500s"
    assert cluster["common_lb_config"]["healthy_panic_threshold"] == {}
    assert cluster["common_lb_config"]["update_merge_window"] == "0s"


def test_the_access_log_tells_nothing_that_a_caller_wrote(manager: Any) -> None:
    to_output, to_alert_service = manager["access_log"]
    told = to_output["typed_config"]["log_format"]["json_format"]
    commands = set(re.findall(r"%([^%]+)%", json.dumps(told)))
    computed = {command for command in commands if command.startswith("CEL(")}
    assert commands - computed == TOLD_IN_THE_ACCESS_LOG
    assert computed == {
        "CEL(xds.route_name != '' ? request.id : '')",
        "CEL(request.method in ['GET', 'POST', 'OPTIONS'] ? request.method : 'other')",
    }
    config = to_alert_service["typed_config"]
    added = [value for key, value in config.items() if key.startswith("additional_")]
    assert added == [["grpc-status"]]
    assert config["common_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] == "alert_service"


def test_the_gateways_own_errors_quote_nothing(manager: Any) -> None:
    errors = manager["local_reply_config"]
    commands = set(re.findall(r"%([^%]+)%", json.dumps(errors)))
    # The latter two are for the ingest service; the filter that tells it takes them away.
    assert commands == {
        "CEL(xds.route_name != '' ? request.id : '')",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "REQ(X-REQUEST-ID)",
    }
