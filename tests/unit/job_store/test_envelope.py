from dramatiq import Message
from hypothesis import given
from hypothesis import strategies as st

from job_store.envelope import EnvelopeEncoder, pack

# Protobuf strings hold no lone surrogates.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(NAMES, NAMES, NAMES, st.binary())
def test_we_pack_a_message_as_dramatiq_encodes_it(
    queue: str, actor: str, message_id: str, payload: bytes
) -> None:
    encoder = EnvelopeEncoder()
    stored = pack(queue, actor, message_id, payload)
    assert stored.endswith(payload)
    fields = encoder.decode(stored)
    message: Message[None] = Message(
        queue,
        actor,
        (payload,),
        {},
        {"redis_message_id": message_id},
        message_id,
        fields["message_timestamp"],
    )
    assert fields == message.asdict()
    assert encoder.encode(message.asdict()) == stored


def test_a_payload_is_not_printed() -> None:
    fields = EnvelopeEncoder().decode(pack("queue", "actor", "id", b"CANARY"))
    assert "CANARY" not in repr(fields)
    assert "CANARY" not in f"{fields['args'][0]}"
