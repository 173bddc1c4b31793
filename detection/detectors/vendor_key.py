"""Keys of further vendors, by their prefixes."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = (
    r"hf_[A-Za-z]{34}|do[por]_v1_[a-f0-9]{64}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|dapi[a-f0-9]{32}|dckr_pat_[A-Za-z0-9_-]{20,}|hvs\.[A-Za-z0-9_-]{24,}|lin_api_[A-Za-z0-9]{40}"
    r"|ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43}|key-[0-9a-f]{32}|rubygems_[a-f0-9]{48}"
    r"|glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|phc_[A-Za-z0-9]{43}|gsk_[A-Za-z0-9]{48,}"
    r"|xai-[A-Za-z0-9]{60,}|sntrys_[A-Za-z0-9+/=_]{40,}|AGE-SECRET-KEY-1[A-Z0-9]{58}"
)

DETECTOR = Detector(
    "vendor_key",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=(
        "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
        "dop_v1_" + "3f9a1c7e5b8d20461a7c3e9f5d2b80463f9a1c7e5b8d20461a7c3e9f5d2b8046",
    ),
    misses=(
        "key-value store",
        "secret_santa_is_on_friday",
        "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ),
)
