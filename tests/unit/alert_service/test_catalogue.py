from __future__ import annotations

import pytest

from alert_service.catalogue import Catalogue, Full


def test_moments_are_given_newest_first_and_in_pages() -> None:
    catalogue = Catalogue(10, 1000)
    for moment in (30, 10, 20):
        catalogue.add(moment, 1)
    assert list(catalogue.before(None, 2)) == [30, 20]
    assert list(catalogue.before(20, 2)) == [10]
    assert list(catalogue.before(10, 2)) == []
    assert list(catalogue.before(99, 5)) == [30, 20, 10]


def test_a_moment_is_given_to_one_report() -> None:
    catalogue = Catalogue(10, 1000)
    catalogue.add(7, 1)
    assert catalogue.reserve(7, 1) == 8
    assert catalogue.reserve(7, 1) == 9
    catalogue.release(8)
    assert catalogue.reserve(7, 1) == 8


def test_what_is_being_written_counts_towards_the_bounds() -> None:
    catalogue = Catalogue(2, 1000)
    catalogue.add(1, 1)
    catalogue.reserve(2, 1)
    with pytest.raises(Full):
        catalogue.reserve(3, 1)
    catalogue.release(2)
    assert catalogue.reserve(3, 1) == 3


def test_bytes_are_bounded_too() -> None:
    catalogue = Catalogue(100, 1000)
    catalogue.add(1, 600)
    catalogue.reserve(2, 300)
    with pytest.raises(Full):
        catalogue.reserve(3, 101)
    assert catalogue.reserve(3, 100) == 3


def test_removing_makes_room() -> None:
    catalogue = Catalogue(1, 1000)
    catalogue.add(1, 600)
    catalogue.remove(1)
    catalogue.remove(1)
    assert (len(catalogue), catalogue.total_bytes) == (0, 0)
    assert catalogue.reserve(1, 1000) == 1


def test_adding_twice_counts_once() -> None:
    catalogue = Catalogue(9, 1000)
    catalogue.add(1, 600)
    catalogue.add(1, 600)
    assert (len(catalogue), catalogue.total_bytes) == (1, 600)


def test_a_refill_knows_what_was_found() -> None:
    catalogue = Catalogue(9, 1000)
    catalogue.add(1, 600)
    catalogue.refill(lambda: {5: 10, 3: 20})
    assert list(catalogue.before(None, 9)) == [5, 3]
    assert catalogue.total_bytes == 30
    assert 5 in catalogue
    assert 1 not in catalogue
