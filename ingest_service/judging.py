"""Has submissions judged without holding up whatever else the process has to do."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from ingest_service import metrics, refusals
from ingest_service.gate import Gate
from ingest_service.judgement import CLEAN, Judgement, Refusal
from ingest_service.submission import Submission
from mesh.logs import logger
from sluice.ingest.v1.ingest_service_pb2 import SubmitRequest

log = logger("ingest.judging")

MAX_INLINE_BYTES = 32 * 1024
"""Of submissions that are judged on the event loop, before others get their turn."""
LEAST_BYTES = 1024
"""For which a submission counts: a judgement takes its time however small what is judged is."""
QUICK_LOOK_BYTES = 256 * 1024
"""Of submissions that are looked at together; larger ones are judged one by one."""
QUICK_LOOK_ITEMS = 100
"""Submissions that are looked at together. What one of a call holds sends all of them to be judged
one by one, so the look ends with the first hundred that may hold something."""

_OUTCOMES = {
    Refusal.NONE: metrics.ACCEPTED,
    Refusal.CONTENT: metrics.REFUSED,
    Refusal.SHAPE: metrics.INVALID,
}


class Judge:
    """Judges by a gate, small submissions on the event loop and large ones on a thread."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        # One, since Python judges one at a time anyway: more would only keep the event loop, and
        # with it the answers to health checks, from its turn.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judging")
        self._bytes_in_a_row = 0

    async def judge(self, submission: SubmitRequest) -> Judgement:
        """Return the judgement on one submission, letting others go on meanwhile.

        Raises when detection fails: then nothing is known, and the submission must be refused.
        """
        size = submission.ByteSize()
        if size > MAX_INLINE_BYTES:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, self._gate.judge, submission
            )
        self._bytes_in_a_row += max(size, LEAST_BYTES)
        if self._bytes_in_a_row > MAX_INLINE_BYTES:
            self._bytes_in_a_row = 0
            await asyncio.sleep(0)
        return self._gate.judge(submission)

    async def judge_all(self, submissions: Sequence[Submission]) -> Sequence[Judgement]:
        """Return the judgement on each submission; where that fails, it says so.

        Counts them. Most are clean, which is told of all of them together at a fraction of the
        cost.
        """
        try:
            start, end = 0, QUICK_LOOK_ITEMS
            while self._are_clean(submissions[start:end]):
                if end >= len(submissions):
                    metrics.ACCEPTED.inc(len(submissions))
                    return [CLEAN] * len(submissions)
                await asyncio.sleep(0)
                start, end = end, end + QUICK_LOOK_ITEMS
        except Exception as error:
            # Whatever it was, the judgement meets it again, and fails closed.
            log.error("quick look failed", exc_info=error)
        return [await self._judge_whole(submission) for submission in submissions]

    async def judge_rest(
        self, known: Sequence[Judgement | None], submissions: Sequence[Submission]
    ) -> Sequence[Judgement]:
        """Return the judgement on each submission, of which some are known already. Counts them."""
        clean = 0
        judgements = []
        for judgement, submission in zip(known, submissions, strict=True):
            if judgement is CLEAN:
                clean += 1
            elif judgement is None:
                judgement = await self._judge_whole(submission)
            else:
                _OUTCOMES[judgement.refusal].inc()
            judgements.append(judgement)
        metrics.ACCEPTED.inc(clean)
        return judgements

    def suspects(self, texts: Sequence[str]) -> Collection[int]:
        """Return the indices of the texts in which something may be: all of them when detection
        fails, since the judgement meets that again, and fails closed.
        """
        try:
            return self._gate.suspects(texts)
        except Exception as error:
            log.error("quick look failed", exc_info=error)
            return range(len(texts))

    def close(self) -> None:
        """End the thread, when it has judged what it was given."""
        self._thread.shutdown()

    def _are_clean(self, submissions: Sequence[Submission]) -> bool:
        """Tell whether nothing can be in any of them, where that can be told quickly."""
        size = sum([each.size for each in submissions])
        return size <= QUICK_LOOK_BYTES and self._gate.are_clean(submissions)

    async def _judge_whole(self, submission: Submission) -> Judgement:
        try:
            submission.forget_unseen()
            judgement = await self.judge(submission.message)
        except Exception as error:
            # Fails closed: what could not be checked is not accepted.
            log.error("detection failed", exc_info=error)
            metrics.UNCHECKED.inc()
            return Judgement(failure=refusals.detection_failed())
        _OUTCOMES[judgement.refusal].inc()
        for detector in judgement.detectors:
            metrics.FINDINGS.labels(detector).inc()
        return CLEAN if judgement == CLEAN else judgement
