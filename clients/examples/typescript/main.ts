// Submits a batch to Sluice, prints what became of each event, and waits until what was accepted is
// written: `npm start localhost:8001`. It exits with 1 unless all went as it should.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { anyUnpack, ValueSchema } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";
import {
  IngestService,
  type SubmitResult,
  TaskState,
} from "./gen/sluice/ingest/v1/ingest_service_pb.js";
import { Verdict } from "./gen/sluice/verdict/v1/verdict_pb.js";

const TRIES = 8;
const CALL_TIMEOUT_MS = 10_000;

// After these codes the same call would get the same answer.
const FINAL = [Code.InvalidArgument, Code.AlreadyExists, Code.NotFound];

// An event is any JSON value but null. The second one holds an e-mail address: Sluice refuses it.
const EVENTS: JsonValue[] = [
  { event: "signup", plan: "team" },
  { event: "invitation", to: "bob@example.com" },
  { event: "login", attempts: 2 },
];

async function main(target: string | undefined): Promise<void> {
  if (!target) {
    throw new Error("usage: npm start host:port");
  }
  // Sluice has no encryption of its own: between machines, put TLS in front of it.
  const transport = createGrpcTransport({ baseUrl: `http://${target}` });
  const sluice = createClient(IngestService, transport);

  const results = await submit(sluice);
  for (const [i, result] of results.entries()) {
    if (result.verdict === Verdict.ACCEPTED) {
      console.log(`${i}: accepted as task ${result.taskId}`);
    } else if (result.error) {
      printRefusal(i, result.error);
    }
  }
  const tasks = results.filter((result) => result.verdict === Verdict.ACCEPTED);
  for (const { taskId } of tasks) {
    const state = await finalState(sluice, taskId);
    console.log(`task ${taskId}: TASK_STATE_${TaskState[state]}`);
    if (state !== TaskState.SUCCEEDED) {
      throw new Error(`task ${taskId} was not written`);
    }
  }
  if (results.length !== 3 || tasks.length !== 2 || results[1].verdict !== Verdict.REJECTED) {
    throw new Error("expected the second of three to be refused, and no other");
  }
}

function submit(sluice: Client<typeof IngestService>): Promise<SubmitResult[]> {
  const batch = {
    // Made before the first try and the same ever after: a repeated batch is never taken twice.
    requestId: randomUUID(),
    submissions: EVENTS.map((event) => ({
      data: fromJson(ValueSchema, event),
      source: "typescript-example",
    })),
  };
  return repeat(async (timeoutMs) => {
    const { results } = await sluice.submitBatch(batch, { timeoutMs });
    // No verdict: it could not be stored yet. The others get the same answer next time.
    const unstored = results.find((result) => result.verdict === Verdict.UNSPECIFIED);
    if (unstored) {
      throw new ConnectError(unstored.error?.message ?? "no verdict", unstored.error?.code);
    }
    return results;
  });
}

/** Tells what Sluice found, where, and which alert it raised. No error holds the value. */
function printRefusal(i: number, error: Status): void {
  for (const detail of error.details) {
    for (const violation of anyUnpack(detail, BadRequestSchema)?.fieldViolations ?? []) {
      console.log(`${i}: ${violation.reason} at ${violation.field}`);
    }
    const info = anyUnpack(detail, ErrorInfoSchema);
    if (info) {
      const { detectors, alert_id } = info.metadata;
      console.log(`${i}: ${info.reason} by ${detectors}, alert ${alert_id}`);
    }
  }
}

/** Waits until a task is written, or refused by the database. */
function finalState(sluice: Client<typeof IngestService>, taskId: string): Promise<TaskState> {
  return repeat(async (timeoutMs) => {
    let state = TaskState.UNSPECIFIED;
    // The stream ends by itself after a final state.
    for await (const { task } of sluice.watchStatus({ taskId }, { timeoutMs })) {
      state = task?.state ?? state;
    }
    return state;
  });
}

/**
 * Makes a call again until it succeeds or its answer will stay the same. Other errors promise nothing
 * (a part is away, or only the answer was lost), so `call` has to be safe to repeat.
 */
async function repeat<Result>(call: (timeoutMs: number) => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call(CALL_TIMEOUT_MS);
    } catch (error) {
      if (attempt === TRIES || FINAL.includes(ConnectError.from(error).code)) {
        throw error;
      }
    }
    await sleep(attempt * 500);
  }
}

await main(process.argv[2]).catch((error: Error) => {
  console.error(error.message);
  process.exit(1);
});
