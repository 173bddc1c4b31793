"""Keys of Stripe."""

from __future__ import annotations

from detection.detector import Detector, Rule
from detection.findings import Kind
from detection.secret_values import vendor_key

_PATTERN = r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,}"

DETECTOR = Detector(
    "stripe_key",
    Kind.SECRET,
    (Rule(_PATTERN, vendor_key),),
    hits=("sk_live_" + "aB3dE5gH7jK9mN1pQ3sT5vX7", "whsec_" + "aB3dE5gH7jK9mN1pQ3sT5vX7zA9c"),
    misses=("sk_" + "test_4eC39HqLyjWDarjtT1zdp7dc", "pk_live_is_publishable"),
)
