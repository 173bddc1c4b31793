"""Finding personal data, secrets and keywords in submissions. No I/O but reading policies.

A `Scanner` is made once from a `Policy` and asked with the `Fields` of each submission::

    scanner = Scanner(packaged_policy())
    scan = scanner.scan(walk(submission.data, max_depth=32), submission.source)
    if scan.verdict is Verdict.REJECT:
        kept = scan.mask(submission.data)

Scanned are string values, object keys, numbers and ``source``, with the disguises taken off that
`normalize` names, and values split over a list of strings (`derived`). Not detected: names and
postal addresses of people, numbers of other countries' authorities, values split over members of
an object, encrypted or compressed content, encodings other than one layer of base64 (an option).
A team adds what it needs as ``keywords`` and ``patterns`` of its policy; a built-in detector is a
file in `detectors`.
"""

from detection.engine import EngineError
from detection.findings import Action, Confidence, Finding, Kind, Verdict
from detection.policy import Policy, PolicyError, parse_policy
from detection.policy_file import PolicyFile, load_policy, packaged_policy
from detection.scan import Scan
from detection.scanner import Scanner

__all__ = [
    "Action",
    "Confidence",
    "EngineError",
    "Finding",
    "Kind",
    "Policy",
    "PolicyError",
    "PolicyFile",
    "Scan",
    "Scanner",
    "Verdict",
    "load_policy",
    "packaged_policy",
    "parse_policy",
]
