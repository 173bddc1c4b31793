// Submits a batch to Sluice, prints what became of each event, and waits until what was accepted is
// written: `go run . localhost:8001`. It exits with 1 unless all went as it should.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	ingest "example/sluice/gen/sluice/ingest/v1"
	verdict "example/sluice/gen/sluice/verdict/v1"
)

const (
	tries       = 8
	callTimeout = 10 * time.Second
)

// An event is any JSON value but null. The second one holds an e-mail address: Sluice refuses it.
var events = []map[string]any{
	{"event": "signup", "plan": "team"},
	{"event": "invitation", "to": "bob@example.com"},
	{"event": "login", "attempts": 2},
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run . host:port")
	}
	// Sluice has no encryption of its own: between machines, put TLS in front of it.
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	connection, err := grpc.NewClient(os.Args[1], plain)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	if err := run(ingest.NewIngestServiceClient(connection)); err != nil {
		log.Fatal(err)
	}
}

func run(sluice ingest.IngestServiceClient) error {
	results, err := submit(sluice)
	if err != nil {
		return fmt.Errorf("not submitted: %w", err)
	}
	var tasks []string
	for i, result := range results {
		if result.Verdict == verdict.Verdict_VERDICT_ACCEPTED {
			fmt.Printf("%d: accepted as task %s\n", i, result.TaskId)
			tasks = append(tasks, result.TaskId)
		} else {
			printRefusal(i, status.FromProto(result.Error))
		}
	}
	for _, task := range tasks {
		state, err := finalState(sluice, task)
		if err != nil {
			return fmt.Errorf("task %s: %w", task, err)
		}
		fmt.Printf("task %s: %s\n", task, state)
		if state != ingest.TaskState_TASK_STATE_SUCCEEDED {
			return fmt.Errorf("task %s was not written", task)
		}
	}
	if len(results) != 3 || len(tasks) != 2 || results[1].Verdict != verdict.Verdict_VERDICT_REJECTED {
		return fmt.Errorf("expected the second of three to be refused, and no other")
	}
	return nil
}

func submit(sluice ingest.IngestServiceClient) ([]*ingest.SubmitResult, error) {
	// The id is made before the first try and stays the same: a repeated batch is never taken twice.
	batch := &ingest.SubmitBatchRequest{RequestId: uuid.NewString()}
	for _, event := range events {
		data, err := structpb.NewValue(event)
		if err != nil {
			return nil, err
		}
		submission := &ingest.SubmitRequest{Data: data, Source: "go-example"}
		batch.Submissions = append(batch.Submissions, submission)
	}
	var response *ingest.SubmitBatchResponse
	err := repeat(func(ctx context.Context) (err error) {
		if response, err = sluice.SubmitBatch(ctx, batch); err != nil {
			return err
		}
		for _, result := range response.Results {
			// No verdict: it could not be stored yet. The others get the same answer next time.
			if result.Verdict == verdict.Verdict_VERDICT_UNSPECIFIED {
				return status.ErrorProto(result.Error)
			}
		}
		return nil
	})
	return response.GetResults(), err
}

// printRefusal tells what Sluice found, where, and which alert it raised. No error holds the value.
func printRefusal(i int, refusal *status.Status) {
	for _, detail := range refusal.Details() {
		switch detail := detail.(type) {
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				fmt.Printf("%d: %s at %s\n", i, violation.Reason, violation.Field)
			}
		case *errdetails.ErrorInfo:
			found := detail.Metadata
			fmt.Printf("%d: %s by %s, alert %s\n", i, detail.Reason, found["detectors"], found["alert_id"])
		}
	}
}

// finalState waits until a task is written, or refused by the database.
func finalState(sluice ingest.IngestServiceClient, task string) (state ingest.TaskState, err error) {
	err = repeat(func(ctx context.Context) error {
		updates, err := sluice.WatchStatus(ctx, &ingest.WatchStatusRequest{TaskId: task})
		if err != nil {
			return err
		}
		for state < ingest.TaskState_TASK_STATE_SUCCEEDED {
			update, err := updates.Recv()
			if err != nil {
				return err
			}
			state = update.Task.State
		}
		return nil
	})
	return state, err
}

// repeat makes a call again until it succeeds or its answer will stay the same. Other errors promise
// nothing (a part is away, or only the answer was lost), so `call` has to be safe to repeat.
func repeat(call func(context.Context) error) error {
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		err := call(ctx)
		cancel()
		switch status.Code(err) {
		case codes.OK, codes.InvalidArgument, codes.AlreadyExists, codes.NotFound:
			return err
		}
		if try == tries {
			return err
		}
		time.Sleep(time.Duration(try) * 500 * time.Millisecond)
	}
}
