from hypothesis import given
from hypothesis import strategies as st

from job_store.request_ids import BUCKETS, Request

# What has no lone surrogates and can be encoded; a client's name holds no NUL either.
IDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(IDS, IDS, IDS, IDS)
def test_a_request_id_of_a_client_has_one_name(
    client: str, request_id: str, other_client: str, other_id: str
) -> None:
    name = Request.of(request_id, b"body", client).name
    assert int(name[0], 16) < BUCKETS
    assert name == Request.of(request_id, b"another body", client).name
    same = (client, request_id) == (other_client, other_id)
    assert (name == Request.of(other_id, b"body", other_client).name) is same


@given(IDS, st.integers(0, 5000), st.integers(0, 5000))
def test_the_parts_of_a_batch_lie_together_and_are_distinct(
    request_id: str, start: int, other: int
) -> None:
    batch = Request.of_batch(request_id, b"body")
    part = batch.part(start)
    assert part.bucket == batch.bucket
    assert part.body_hash == batch.body_hash
    assert (part.name == batch.part(other).name) is (start == other)
    assert part.bucket != Request.of(request_id, b"body").bucket
