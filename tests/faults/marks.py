"""Words by which the proxy knows what our processes ask of Redis."""

COMMIT = (b"sluice:open", b"dramatiq:interactions.msgs")
FETCH = (b"$5\r\nfetch\r\n", b"$12\r\ninteractions\r\n")
ACK = (b"$3\r\nack\r\n", b"$12\r\ninteractions\r\n")
# Three keys, the first of them the job records of a second.
FINISH = (b"$1\r\n3\r\n$20\r\nsluice:jobs:",)
