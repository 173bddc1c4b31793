"""What ingest leaves out of an alert, so that it can be delivered."""

from __future__ import annotations

import grpc
from google.protobuf.struct_pb2 import Value

from ingest_service.alerts import Alerts, deliverable
from mesh.fingerprint import Fingerprint
from sluice.alert.v1.alert_service_pb2 import RaiseAlertRequest
from sluice.job.v1.job_pb2 import DeliverAlert
from tests.unit.worker.test_alerts import nested

MIB = 1024 * 1024


class Queue:
    """Keeps what is queued."""

    def __init__(self) -> None:
        self.alerts: list[RaiseAlertRequest] = []

    def enqueue_alert(self, alert: RaiseAlertRequest) -> None:
        self.alerts.append(alert)


async def test_while_nobody_takes_alerts_the_id_is_that_of_the_one_that_will_count() -> None:
    queue = Queue()
    # Nothing listens there.
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    alerts = Alerts(channel, queue)  # type: ignore[arg-type]
    told = []
    for number, client in enumerate(["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]):
        alert = RaiseAlertRequest(alert_id=f"edge-{number:04}", client=client, at_edge=True)
        alert.violations.add(rule="MALFORMED_JSON")
        alert.raise_time.seconds = 1_700_000_000 + number
        told.append(await alerts.raise_alert(alert))
    assert told[0] == told[1] != told[2]
    assert told[0] == Fingerprint("MALFORMED_JSON", "2001:db8::/64", 28_333_333).identity
    # Each is a message of its own in the queue, and a repeat of it is none.
    assert [each.alert_id for each in queue.alerts] == ["edge-0000", "edge-0001", "edge-0002"]
    assert await alerts.raise_alert(an_alert()) == "alert-01"
    await channel.close()


def an_alert() -> RaiseAlertRequest:
    alert = RaiseAlertRequest(alert_id="alert-01", event_type="PII", source="web")
    alert.findings.add(detector="us_ssn", path="/data", end=11)
    return alert


def test_what_can_be_delivered_stays_whole() -> None:
    alert = an_alert()
    alert.payload.string_value = "x" * MIB
    sent = deliverable(alert)
    assert sent.payload == alert.payload
    assert (sent.finding_count, sent.cut) == (1, False)
    assert sent.findings == alert.findings


def test_a_payload_that_is_too_large_goes() -> None:
    alert = an_alert()
    alert.payload.string_value = "x" * 3 * MIB
    sent = deliverable(alert)
    assert sent.cut
    assert not sent.HasField("payload")
    assert sent.findings == alert.findings
    assert alert.HasField("payload")


def test_too_many_findings_go_and_are_counted() -> None:
    alert = an_alert()
    alert.payload.string_value = "x" * MIB
    for _ in range(100_000):
        alert.findings.add(detector="us_ssn", path="/data/" + "x" * 100)
        alert.violations.add(path="/data/" + "x" * 100, rule="TOO_DEEP")
    sent = deliverable(alert)
    assert sent.cut
    assert sent.payload == alert.payload
    assert (sent.finding_count, sent.violation_count) == (100_001, 100_000)
    assert sent.findings[0] == alert.findings[0]
    assert 500 < len(sent.findings) < 5000
    assert DeliverAlert(alert=sent).ByteSize() < 2 * MIB


def test_a_payload_stays_while_it_can_be_read_in_the_queue() -> None:
    kept = set()
    for kind in ("list", "struct"):
        for levels in range(1, 60):
            alert = an_alert()
            alert.payload.CopyFrom(nested(kind, levels))
            sent = deliverable(alert)
            assert DeliverAlert.FromString(DeliverAlert(alert=sent).SerializeToString())
            assert sent.cut != sent.HasField("payload")
            if not sent.cut:
                kept.add((kind, levels))
    # What may be submitted is kept.
    assert {(kind, 31) for kind in ("list", "struct")} <= kept
    assert ("struct", 40) not in kept


def test_null_is_a_payload() -> None:
    alert = an_alert()
    alert.payload.CopyFrom(Value(null_value=0))  # type: ignore[arg-type]
    assert deliverable(alert).HasField("payload")
