from __future__ import annotations

from collections.abc import Callable

import pytest

Find = Callable[[str], list[str]]


@pytest.mark.parametrize(
    "address",
    [
        "bob@example.com",
        "bob.smith+tag@mail.example.co.uk",
        "BOB_99@EXAMPLE.ORG",
        "o'brien@example.ie",
        "a@b.co",
        "x-y@sub-domain.example.museum",
        "用户@例子.广告",
        "josé@exämple.de",
        "bob@xn--exmple-cua.de",
        "ｂｏｂ＠ｅｘａｍｐｌｅ．ｃｏｍ",
        "bob%40example.com",
        "bob [at] example [dot] com",
        "bob(at)example.com",
        "user@corp.example",
    ],
)
@pytest.mark.parametrize(
    "around", ["{}", "mail <{}>, please", '{{"to":"{}"}}', "mailto:{}", "to={};"]
)
def test_emails(find: Find, address: str, around: str) -> None:
    assert any(hit == f"email:{address}" for hit in find(around.format(address)))


@pytest.mark.parametrize(
    "text",
    [
        "icon@2x.png",
        "git@github.com:org/repo.git",
        "lodash@4.17.21",
        "image@sha256:abcdef",
        "user@localhost",
        "getty@tty1.service",
        "root@web01.internal",
        "@john.doe said",
        "a @ b . com",
        "x = a @ b.T",
        "foo@bar.call(1)",
    ],
)
def test_what_only_looks_like_an_email_passes(find: Find, text: str) -> None:
    assert find(text) == []
