"""The web half of the reference: FastAPI takes a submission and queues a Celery task."""

from typing import Any

from celery.result import AsyncResult
from fastapi import FastAPI
from pydantic import BaseModel
from tasks import celery, log_interaction

app = FastAPI()


class Submission(BaseModel):
    """What a caller sends."""

    data: Any
    source: str = ""


@app.post("/submit")
def submit(submission: Submission) -> dict[str, str]:
    """Queue one submission."""
    task = log_interaction.delay(submission.data, submission.source)
    return {"message": "Task received and is being processed", "task_id": task.id}


@app.get("/status/{task_id}")
def status(task_id: str) -> dict[str, Any]:
    """Tell where a task stands."""
    task = AsyncResult(task_id, app=celery)
    return {"task_id": task_id, "state": task.state, "result": task.result}
