from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_store.counts import Counts, Totals
from worker.reconciliation.__main__ import main
from worker.reconciliation.ledger import Job, JobRows, Ledger
from worker.reconciliation.moves import Moves


def test_the_totals_add_up_or_differ() -> None:
    assert Totals(accepted=10, written=6, failed=1, in_flight=3).difference == 0
    assert Totals(accepted=10, written=6, failed=1, in_flight=2).difference == 1
    assert Totals(accepted=10, written=7, failed=1, in_flight=3).difference == -1


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 300)), max_size=50),
    st.integers(1, 7),
)
def test_the_ledger_counts_rows_whatever_their_order(
    rows: list[tuple[str, int]], piece: int
) -> None:
    ledger = Ledger()
    ledger.add_records([("A", b"old"), ("B", b"b")])
    ledger.add_records([("A", b"a")])
    task_ids = [f"{job}-{index}" for job, index in rows]
    for start in range(0, len(task_ids), piece):
        ledger.add_rows(task_ids[start : start + piece])
    expected = {"A": JobRows(), "B": JobRows()}
    for job, index in rows:
        expected[job].add(index)
    assert [*ledger.jobs()] == [
        Job("A", b"a", expected["A"], is_open=False, has_dead_letter=False),
        Job("B", b"b", expected["B"], is_open=False, has_dead_letter=False),
    ]
    assert [*ledger.unknown_jobs()] == []
    for job, found in expected.items():
        indexes = [index for each, index in rows if each == job]
        assert found.once == sum(1 << index for index in set(indexes))
        assert found.again == sum(1 << i for i in set(indexes) if indexes.count(i) > 1)
    ledger.close()


def test_rows_without_a_record_are_of_unknown_jobs() -> None:
    ledger = Ledger()
    ledger.add_records([("A", b"a")])
    ledger.add_rows(["A-0", "C-0", "no task", "D-99999999999", "", "x\n-1"])
    unknown = sorted(["C", "no task", "D-99999999999", "", "x\n"])
    assert [*ledger.unknown_jobs()] == unknown
    ledger.close()


def test_the_ledger_knows_what_is_open_and_the_state_of_its_message() -> None:
    ledger = Ledger()
    ledger.add_records([("A", b"a"), ("B", b"b"), ("C", b"c")])
    ledger.add_rows(["A-0", "O-0", "S-0"])
    ledger.add_open([("A", 3), ("O", 5), ("P", 1)])
    # Read twice, since it moved.
    ledger.add_open([("A", 2)])
    ledger.add_messages("waiting", ["A", "B", "A"])
    ledger.add_messages("fetched", ["A", "O", "O"])
    ledger.add_messages("dead", ["B", "C"])
    ledger.add_dead_letters([("B", 9), ("C", 4)])
    ledger.add_dead_letters([("B", 1)])
    assert ledger.interactions_open() == 2 + 5 + 1
    assert ledger.interactions_in_dead_letters() == 1 + 4
    assert ledger.message_states() == {"waiting": 1, "fetched": 1}
    assert [*ledger.closed_with_message(1)] == [["B"], ["C"]]
    assert [*ledger.open_with_message(500)] == [["A", "O"]]
    assert [*ledger.open_without_message(500)] == [["P"]]
    assert [*ledger.unknown_jobs()] == ["S"]
    assert [(job.job_id, job.is_open, job.has_dead_letter) for job in ledger.jobs()] == [
        ("A", True, False),
        ("B", False, True),
        ("C", False, True),
    ]
    ledger.drop_messages(["O"])
    assert [ledger.has_message(job) for job in "AO"] == [True, False]
    assert [*ledger.open_without_message(500)] == [["O", "P"]]
    ledger.close()


@given(st.data())
def test_what_moves_while_it_is_read_is_no_difference(data: st.DataObject) -> None:
    """Jobs of one interaction each are opened, closed, failed and put back between the pieces of a
    reading that meets them in any order; only what was amiss before comes out as a difference.
    """
    numbers = st.integers(0, 6)
    is_open = set(range(data.draw(numbers)))
    dead: set[int] = set()
    amiss = data.draw(st.integers(-40, 40))
    accepted, written, failed = len(is_open) + amiss, 0, 0
    moves = Moves(Counts(accepted, written, failed))
    found: set[int] = set()
    stayed = set(is_open)
    total = len(is_open)
    for _ in range(4):
        found |= {job for job in is_open if data.draw(st.booleans())}
        for _ in range(data.draw(numbers)):
            step = data.draw(st.sampled_from(["open", "write", "fail", "put back"]))
            if step == "open":
                is_open.add(total)
                total += 1
                accepted += 1
            elif step == "put back" and dead:
                is_open.add(dead.pop())
                failed -= 1
            elif step == "write" and is_open:
                is_open.remove(data.draw(st.sampled_from(sorted(is_open))))
                written += 1
            elif step == "fail" and is_open:
                job = data.draw(st.sampled_from(sorted(is_open)))
                is_open.remove(job)
                dead.add(job)
                failed += 1
            stayed &= is_open
            moves.see(Counts(accepted, written, failed))
    # A reading in pieces may miss whatever moves, and nothing else.
    totals = moves.totals(len(found | stayed))
    moved = moves.opened + moves.closed
    assert (totals.accepted, totals.written, totals.failed) == (moves.first.accepted, 0, 0)
    if amiss == 0:
        assert totals.difference == 0
    elif abs(amiss) > moved:
        assert totals.difference * amiss > 0
    if not moved:
        assert totals.difference == amiss


@pytest.mark.parametrize("age", ["", "12", "h", "1w", "-1h", "1.5h"])
def test_an_age_has_a_number_and_a_unit(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([f"--since={age}"])
    assert caught.value.code == 2
    assert "for example 12h" in capsys.readouterr().err
