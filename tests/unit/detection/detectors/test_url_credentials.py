from __future__ import annotations

from collections.abc import Callable

import pytest

Find = Callable[[str], list[str]]


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("postgres://bob:p@ss:w0rd/1@host/db", "p@ss:w0rd/1"),
        ("amqp://u:p%40@h", "p%40"),
        ("redis://:pw@host:6379/0", "pw"),
        ("https://bob:s3cr#t?x/y@h.example.org/a", "s3cr#t?x/y"),
        ("mongodb://app:a:b/c@d@mongo-1:27017/x", "a:b/c@d"),
        ("ftp://me:hunt3r@files/a@2x.png", "hunt3r@files/a"),
    ],
)
def test_a_password_in_a_url_reaches_to_the_last_at(find: Find, url: str, password: str) -> None:
    assert find(f"see {url} now") == [f"url_credentials:{password}"]


def test_each_url_has_its_own_password(find: Find) -> None:
    assert find("a://u:s3cret1@h,b://v:s3cret2@i") == [
        "url_credentials:s3cret1",
        "url_credentials:s3cret2",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "http://[::1]:8080/a@b",
        "http://host:8080?x=a@b",
        "https://registry:4873/@scope/pkg",
        "https://user:password@example.com/x@2",
        "http://a:80/x http://b:81/y@z",
    ],
)
def test_ports_and_paths_are_no_passwords(find: Find, text: str) -> None:
    assert find(text) == []
