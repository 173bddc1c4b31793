from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import struct_pb2

from detection import (
    Policy,
    PolicyError,
    Scan,
    Scanner,
    Verdict,
    load_policy,
    parse_policy,
)
from detection.fields import walk
from detection.policy_file import PACKAGED_POLICY, packaged_policy

ToValue = Callable[[object], struct_pb2.Value]


def scan(policy: str, content: struct_pb2.Value, source: str = "") -> Scan:
    return Scanner(parse_policy(policy)).scan(walk(content, 16), source)


def detectors(result: Scan) -> list[str]:
    return [finding.detector for finding in result.findings]


def test_the_packaged_policy_refuses_by_default() -> None:
    assert packaged_policy().action == "reject"
    assert parse_policy("") == Policy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("action: refuse", "line 1: action: Input should be 'reject', 'redact', 'tag' or 'off'"),
        ("version: 1\ndetectors:\n  emial: {}\n", "line 3: detectors.emial: no such detector"),
        ("detectors:\n  email:\n    action: hunter2", "line 3: detectors.email.action: Input"),
        ("keywords:\n  - x", "line 2: keywords.0.word: String should have at least 2"),
        ("surprise: hunter2", "line 1: surprise: Extra inputs are not permitted"),
        ("patterns:\n  - name: a\n    pattern: 'hunter2(?=x)'", "line 3: patterns.0.pattern: RE2"),
        ("patterns:\n  - {name: a, pattern: 'hunter2*(a)\\1'}", "line 2: patterns.0.pattern: RE2"),
        ("patterns:\n  - {name: a, pattern: 'x*'}", "line 2: patterns.0.pattern: this pattern"),
        ("patterns: [{name: email, pattern: xx}]", "patterns: the name email is taken"),
        ("allow:\n  paths: [hunter2]", "line 2: allow.paths.0: a path starts with /"),
        ("allow:\n  paths: [/hunter2]", "line 2: allow.paths.0: a path starts with /data or"),
        ("action: !hunter2 x", "line 1: not YAML"),
        ("a: &hunter2 [x]\nb: *hunter2", "line 2: aliases are not"),
        (
            "patterns:\n  - {name: a, pattern: 'hunter2［x］'}",
            "line 2: patterns.0.pattern: texts are",
        ),
        (
            "patterns:\n  - {name: a, pattern: 'hunter2\u200bx'}",
            "line 2: patterns.0.pattern: texts",
        ),
        (
            "patterns:\n  - {name: a, pattern: '[à-ÿ]hunter2'}",
            "line 2: patterns.0.pattern: texts are",
        ),
        (
            "patterns:\n  - {name: a, pattern: 'hunter2\\x{e9}'}",
            "line 2: patterns.0.pattern: texts",
        ),
        (
            "patterns:\n  - {name: a, pattern: 'hunter2\\351'}",
            "line 2: patterns.0.pattern: texts are",
        ),
        (
            "patterns:\n  - {name: a, pattern: 'hunter2 · x'}",
            "line 2: patterns.0.pattern: texts are",
        ),
        ("patterns:\n  - {name: a, pattern: 'hunter2\\C'}", "line 2: patterns.0.pattern: \\C"),
        ("patterns:\n  - {name: a, pattern: '\\b'}", "line 2: patterns.0.pattern: this pattern"),
        ("patterns:\n  - {name: a, pattern: 'hunter2)(x'}", "line 2: patterns.0.pattern: RE2"),
        ('keywords:\n  - "\\u200b\\u2060"', "line 2: keywords.0.word: not usable"),
        ("action: reject\naction: tag", "line 2: a key is given twice"),
        ("action: [", "line 1: not YAML"),
        ("- a", "line 1: a policy is a mapping"),
        ("sources:\n  crm:\n    action: hunter2", "line 3: sources.crm.action"),
    ],
)
def test_mistakes_are_named_by_line_and_never_quoted(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as error:
        parse_policy(text)
    assert str(error.value).startswith(message)
    assert "hunter2" not in str(error.value)


def test_a_missing_file_is_a_policy_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="FileNotFoundError"):
        load_policy(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("action", "verdict", "found"),
    [
        ("reject", Verdict.REJECT, ["email"]),
        ("redact", Verdict.ACCEPT, ["email"]),
        ("tag", Verdict.ACCEPT, ["email"]),
        ("off", Verdict.ACCEPT, []),
    ],
)
def test_actions(to_value: ToValue, action: str, verdict: Verdict, found: list[str]) -> None:
    result = scan(f"detectors: {{email: {{action: {action}}}}}", to_value("bob@example.com"))
    assert (result.verdict, detectors(result)) == (verdict, found)
    assert result.redacted == (action in ("reject", "redact"))


def test_minimum_confidence(to_value: ToValue) -> None:
    content = to_value("phone 2125550123, +1 212 555 0123, card 4539148803436467")
    assert detectors(scan("minimum_confidence: low", content)) == ["phone", "phone", "payment_card"]
    assert detectors(scan("minimum_confidence: medium", content)) == ["phone", "payment_card"]
    assert detectors(scan("minimum_confidence: high", content)) == ["payment_card"]
    own = "minimum_confidence: high\ndetectors: {phone: {minimum_confidence: low}}"
    assert detectors(scan(own, content)) == ["phone", "phone", "payment_card"]


def test_allowed_values_and_paths(to_value: ToValue) -> None:
    content = to_value(
        {"a": "Support@Example.com", "b": {"c": "bob@example.com"}, "d": ["x@example.com"]}
    )
    everything = ["email"] * 3
    assert detectors(scan("{}", content)) == everything
    assert detectors(scan("allow: {values: [support@example.com]}", content)) == everything[:2]
    assert detectors(scan("allow: {paths: [/data/b/c]}", content)) == everything[:2]
    assert detectors(scan("allow: {paths: [/data/*/c, /data/d/*]}", content)) == everything[:1]
    assert detectors(scan("allow: {paths: [/data/**]}", content)) == []
    own = "detectors: {email: {allow: {paths: [/data/a]}}}"
    assert detectors(scan(own, content)) == everything[:2]


def test_extra_patterns_and_keywords(to_value: ToValue) -> None:
    policy = """
patterns:
  - {name: employee_id, pattern: '\\bEMP-[0-9]{6}\\b', kind: pii, confidence: high}
  - {name: ticket, pattern: 'ticket ([A-Z]+)', action: tag}
keywords: [falcon]
"""
    result = scan(policy, to_value("EMP-123456 on ticket ABC for falcon"))
    assert [(f.detector, f.start, f.end, f.kind.name) for f in result.findings] == [
        ("employee_id", 0, 10, "PII"),
        ("ticket", 21, 24, "PII"),
        ("keyword", 29, 35, "KEYWORD"),
    ]


def test_sources_have_their_own_rules(to_value: ToValue) -> None:
    policy = """
detectors: {email: {action: tag}}
sources:
  crm: {detectors: {email: {action: reject}}}
  probe: {action: off}
"""
    content = to_value("bob@example.com 212-555-0123")
    assert scan(policy, content).verdict is Verdict.REJECT
    assert detectors(scan(policy, content, "crm")) == ["email", "phone"]
    assert detectors(scan(policy, content, "probe")) == ["email"]
    assert scan(policy, content, "probe").verdict is Verdict.ACCEPT
    assert scan(policy, to_value("bob@example.com"), "crm").verdict is Verdict.REJECT


def test_a_source_may_be_off_altogether(to_value: ToValue) -> None:
    policy = "sources: {probe: {action: off}}"
    assert scan(policy, to_value("bob@example.com"), "probe").findings == ()


def test_a_rule_in_shadow_only_reports(to_value: ToValue) -> None:
    policy = "detectors: {email: {shadow: true}}\nkeywords: [{word: falcon, shadow: true}]"
    content = to_value("bob@example.com falcon")
    result = scan(policy, content)
    assert (result.verdict, result.findings) == (Verdict.ACCEPT, ())
    assert [f.detector for f in result.shadow] == ["email", "keyword"]
    assert result.mask(content) == content


def test_base64_is_an_option(to_value: ToValue) -> None:
    content = to_value({"blob": "see Ym9iQGV4YW1wbGUuY29t ok"})
    assert detectors(scan("{}", content)) == []
    (finding,) = scan("decode_base64: true", content).findings
    assert (finding.detector, finding.start, finding.end) == ("email", 4, 24)


def test_a_keyword_is_a_whole_word_however_it_is_written(to_value: ToValue) -> None:
    policy = "keywords: [ｔｏｐ, Élan]"
    assert detectors(scan(policy, to_value(["top", "stop", "elan", "élan", "elana"]))) == (
        ["keyword"] * 3
    )


def test_what_a_tag_explains_away_does_not_refuse(to_value: ToValue) -> None:
    policy = """
patterns: [{name: own, pattern: 'x[0-9]', action: tag}]
detectors: {phone: {action: reject}, private_ip_address: {action: tag}}
"""
    content = to_value([f"call 10.{n % 250}.20.{n // 250 + 1}" for n in range(2_000)])
    result = scan(policy, content)
    assert (result.verdict, result.finding_count) == (Verdict.ACCEPT, 2_000)
    assert result.mask(content) == content


def test_the_example_in_the_packaged_policy_is_a_policy() -> None:
    comments = [line[2:] for line in PACKAGED_POLICY.read_text().splitlines() if line[:2] == "# "]
    start = next(n for n, line in enumerate(comments) if line.strip() == "patterns:")
    example = [line for line in comments[start:] if line.startswith("  ")]
    Scanner(parse_policy("\n".join(example)))
