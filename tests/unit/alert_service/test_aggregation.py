from __future__ import annotations

import asyncio

import pytest

from alert_service import aggregation
from alert_service.aggregation import MAX_CLIENTS, OTHER_CLIENTS, Aggregator
from mesh.fingerprint import Fingerprint, without_client
from sluice.alert.v1.alert_service_pb2 import Alert, Report
from sluice.verdict.v1.verdict_pb2 import Violation

MINUTE = 29_000_000


class Disk:
    """What is written, by report name. Takes nothing while it fails."""

    def __init__(self) -> None:
        self.alerts: dict[str, Alert] = {}
        self.writes = 0
        self.fails = False
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.start()

    def start(self) -> None:
        """Begin anew, with nothing but what is on disk."""
        self.aggregator = Aggregator(self.write, self.rewrite)

    async def write(self, report: Report) -> Alert:
        await self.is_free.wait()
        if self.fails:
            raise OSError
        for existing in self.alerts.values():
            if existing.alert_id == report.alert.alert_id:
                return Alert.FromString(existing.SerializeToString())
        report.alert.report = f"report-{len(self.alerts)}"
        await self.rewrite(report.alert, is_new=True)
        return report.alert

    async def rewrite(self, alert: Alert, is_new: bool = False) -> None:
        if self.fails:
            raise OSError
        if not is_new and alert.report not in self.alerts:
            raise FileNotFoundError
        self.writes += 1
        self.alerts[alert.report] = Alert.FromString(alert.SerializeToString())

    async def add(
        self, alert_id: str, client: str = "192.0.2.1", rule: str = "A_RULE", second: int = 0
    ) -> Alert:
        alert = Alert(alert_id=alert_id, http_request_id=alert_id, client=client, count=1)
        alert.violations.append(Violation(rule=rule))
        alert.raise_time.seconds = alert.last_time.seconds = 60 * MINUTE + second
        return await self.aggregator.add(Report(alert=alert))


def identity(client: str = "192.0.2.1") -> str:
    return Fingerprint.of("A_RULE", client, 60 * MINUTE).identity


async def test_one_rule_and_client_in_a_minute_are_one_alert() -> None:
    disk = Disk()
    taken = await asyncio.gather(*[disk.add(f"edge-{n:04}", second=n % 60) for n in range(1000)])
    assert {(each.alert_id, each.report) for each in taken} == {(identity(), "report-0")}
    assert disk.writes == 1
    await disk.aggregator.flush(MINUTE)
    (alert,) = disk.alerts.values()
    assert alert.count == 1000
    assert (alert.raise_time.seconds, alert.last_time.seconds) == (60 * MINUTE, 60 * MINUTE + 59)
    assert disk.writes == 2
    await disk.aggregator.flush(MINUTE)
    assert disk.writes == 2
    others = [
        await disk.add("edge-other-rule", rule="ANOTHER"),
        await disk.add("edge-other-client", client="192.0.2.2"),
        await disk.add("edge-other-minute", second=60),
    ]
    assert len({each.report for each in [*taken, *others]}) == 4


async def test_who_updates_the_counts_waits_until_something_is_counted() -> None:
    disk = Disk()
    waiting = asyncio.ensure_future(disk.aggregator.await_any())
    await asyncio.sleep(0)
    assert not waiting.done()
    await disk.add("edge-1")
    await waiting
    await disk.aggregator.await_any()
    for _ in range(2):
        await disk.aggregator.flush(MINUTE + 10)
    waiting = asyncio.ensure_future(disk.aggregator.await_any())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_repeated_call_is_not_counted_twice() -> None:
    disk = Disk()
    for alert_id in ("edge-0001", "edge-0001", "edge-0002", "edge-0002", "edge-0001"):
        assert (await disk.add(alert_id)).alert_id == identity()
    assert (await disk.add("edge-0002", client="192.0.2.9")).count == 2


async def test_an_aggregate_goes_on_when_its_minute_is_over_and_after_a_restart() -> None:
    """Alerts that were queued while the service was away come late, and a few at a time."""
    disk = Disk()
    for number in range(5):
        assert (await disk.add(f"edge-{number:04}")).alert_id == identity()
        for _ in range(3):
            await disk.aggregator.flush(MINUTE + 30)
        assert not disk.aggregator._aggregates
    disk.start()
    # The one that began it is known again, as it is on disk.
    for number in (0, 5, 5):
        await disk.add(f"edge-{number:04}")
    await disk.aggregator.flush(MINUTE + 30)
    assert {name: alert.count for name, alert in disk.alerts.items()} == {"report-0": 6}


async def test_what_waits_for_a_slow_disk_is_counted_although_its_minute_is_over() -> None:
    disk = Disk()
    for numbers in ((0, 1, 2), (3, 4)):
        disk.is_free.clear()
        calls = [asyncio.create_task(disk.add(f"edge-{number:04}")) for number in numbers]
        await asyncio.sleep(0)
        for _ in range(3):
            await disk.aggregator.flush(MINUTE + 30)
        disk.is_free.set()
        await asyncio.sleep(0)
        await disk.aggregator.flush(MINUTE + 30)
        await asyncio.gather(*calls)
        for _ in range(3):
            await disk.aggregator.flush(MINUTE + 30)
        assert not disk.aggregator._aggregates
    assert [alert.count for alert in disk.alerts.values()] == [5]


async def test_a_failing_disk_is_told_to_all_and_the_next_call_succeeds() -> None:
    disk = Disk()
    disk.fails = True
    calls = [disk.add(f"edge-{n:04}") for n in range(5)]
    failures = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in failures] == [OSError] * 5
    disk.fails = False
    assert (await disk.add("edge-0003")).count == 1


async def test_counts_that_could_not_be_written_are_written_later() -> None:
    disk = Disk()
    for number in range(3):
        await disk.add(f"edge-{number:04}")
    disk.fails = True
    with pytest.raises(OSError):
        await disk.aggregator.flush(MINUTE)
    disk.fails = False
    # Long after its minute: what is not written is not forgotten.
    await disk.aggregator.flush(MINUTE + 10)
    assert disk.alerts["report-0"].count == 3


async def test_a_report_that_somebody_removed_is_forgotten() -> None:
    disk = Disk()
    await disk.add("edge-0001")
    await disk.add("edge-0002")
    disk.alerts.clear()
    await disk.aggregator.flush(MINUTE)
    assert (await disk.add("edge-0003")).http_request_id == "edge-0003"
    assert len(disk.alerts) == 1


async def test_many_clients_are_counted_together() -> None:
    disk = Disk()
    taken = [
        await disk.add(f"edge-{number:04}", client=f"10.0.{number // 256}.{number % 256}")
        for number in range(MAX_CLIENTS + 500)
    ]
    assert len({each.alert_id for each in taken}) == MAX_CLIENTS + 1
    rest = taken[-1]
    assert (rest.client, rest.count) == ("", 500)
    assert OTHER_CLIENTS in rest.message
    assert taken[0].client == "10.0.0.0"
    # Who was told apart before still is, and there are clients to tell apart in the next minute.
    again = await disk.add("edge-again", client="10.0.0.0")
    assert again.alert_id == taken[0].alert_id == identity("10.0.0.0")
    # Who was told the identity of its own finds what it is counted in.
    assert without_client(identity("10.0.2.240")) == rest.alert_id
    assert (await disk.add("edge-next", client="10.9.9.9", second=60)).client == "10.9.9.9"


@pytest.mark.parametrize(
    ("client", "told"),
    [
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 10_000, ""),
        ("192.0.2.7\n", ""),
    ],
)
async def test_a_client_is_told_by_what_it_cannot_change_at_will(client: str, told: str) -> None:
    assert (await Disk().add("edge-0001", client=client)).client == told


async def test_memory_is_bounded_and_old_aggregates_go() -> None:
    disk = Disk()
    for number in range(aggregation.MAX_AGGREGATES + 100):
        await disk.add(f"edge-{number:04}", second=60 * number)
    assert len(disk.aggregator._aggregates) == aggregation.MAX_AGGREGATES
    for number in range(aggregation.MAX_REMEMBERED + 100):
        await disk.add(f"repeat-{number:05}")
    assert len(disk.aggregator._remembered) == aggregation.MAX_REMEMBERED
    await disk.aggregator.flush(MINUTE + 10_000, most=aggregation.MAX_AGGREGATES)
    await disk.aggregator.flush(MINUTE + 10_000)
    assert not disk.aggregator._aggregates
    assert not disk.aggregator._clients


async def test_a_few_reports_at_a_time_are_brought_up_to_date_each_in_its_turn() -> None:
    disk = Disk()
    for turn in range(2):
        for number in range(9):
            await disk.add(f"edge-{turn}-{number}", client=f"10.0.0.{number}")
    for number in range(3):
        await disk.aggregator.flush(MINUTE, most=3)
        # One that is busy all the time does not keep the others waiting.
        await disk.add(f"edge-busy-{number}", client="10.0.0.0")
    assert all(alert.count >= 2 for alert in disk.alerts.values())
    assert disk.writes == 9 + 9


async def test_who_goes_away_stops_nothing() -> None:
    disk = Disk()
    first = asyncio.create_task(disk.add("edge-0001"))
    second = asyncio.create_task(disk.add("edge-0002"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).http_request_id == "edge-0001"
    assert disk.writes == 1
