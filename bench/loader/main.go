// Calls one gRPC method over and over with a prepared message and prints what it saw as JSON.
//
// The message is sent as the bytes it is given and answers are not decoded, so that the load costs
// the machine as little as it can. A call counts when its status is OK.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	maxMessageBytes = 64 << 20
	windowBytes     = 1 << 20
	failurePause    = 20 * time.Millisecond
)

var (
	target      = flag.String("target", "", "address of the server, host:port")
	method      = flag.String("method", "", "full method, /package.Service/Method")
	payloadFile = flag.String("payload", "", "file with the serialized request")
	callers     = flag.Int("callers", 1, "calls (or streams) in flight")
	connections = flag.Int("connections", 1, "HTTP/2 connections, shared by the callers")
	seconds     = flag.Float64("seconds", 5, "how long to call")
	limit       = flag.Int64("limit", 0, "how many calls at most; 0 is no limit")
	rate        = flag.Float64("rate", 0, "calls a second, all callers together; 0 is no limit")
	stream      = flag.Bool("stream", false, "call a bidirectional stream, one answer to each message")
	idField     = flag.Int("id-field", 0, "number of a text field below 16 that gets another value in each message")
	window      = flag.Int("window", 2, "messages in flight on each stream")
)

// ids counts the messages that got an id of their own.
var ids atomic.Int64

// raw passes bytes through as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = data
	return nil
}

// report is what is printed.
type report struct {
	Calls   int            `json:"calls"`
	Seconds float64        `json:"seconds"`
	P50     float64        `json:"p50_ms"`
	P99     float64        `json:"p99_ms"`
	Errors  map[string]int `json:"errors"`
}

// pace hands out the calls that may still be made, at the rate that was asked for.
type pace struct {
	began time.Time
	ends  time.Time
	taken atomic.Int64
}

func (p *pace) next() bool {
	number := p.taken.Add(1)
	if *limit > 0 && number > *limit {
		return false
	}
	if *rate > 0 {
		due := p.began.Add(time.Duration(float64(number-1) / *rate * float64(time.Second)))
		if due.After(p.ends) {
			return false
		}
		time.Sleep(time.Until(due))
	}
	return time.Now().Before(p.ends)
}

// seen gathers the latencies and errors of one caller.
type seen struct {
	latencies []time.Duration
	errors    map[string]int
}

// fail counts an error and waits a little: an outage shall not be a flood of errors.
func (s *seen) fail(err error) {
	s.errors[err.Error()]++
	time.Sleep(failurePause)
}

// withID adds a field to a serialized message: of a field that is there twice the last one counts.
func withID(payload []byte, number int64) []byte {
	id := fmt.Sprintf("%d-%d", os.Getpid(), number)
	message := make([]byte, 0, len(payload)+len(id)+2)
	message = append(message, payload...)
	message = append(message, byte(*idField<<3|2), byte(len(id)))
	return append(message, id...)
}

func callUnary(connection *grpc.ClientConn, payload []byte, p *pace, s *seen) {
	for p.next() {
		message := payload
		if *idField > 0 {
			message = withID(payload, ids.Add(1))
		}
		began := time.Now()
		var answer []byte
		if err := connection.Invoke(context.Background(), *method, &message, &answer); err != nil {
			s.fail(err)
			continue
		}
		s.latencies = append(s.latencies, time.Since(began))
	}
}

func callStream(connection *grpc.ClientConn, payload []byte, p *pace, s *seen) {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	call, err := connection.NewStream(context.Background(), description, *method)
	if err != nil {
		s.fail(err)
		return
	}
	sent := make(chan time.Time, *window-1)
	go func() {
		defer close(sent)
		defer call.CloseSend()
		for p.next() {
			sent <- time.Now()
			if err := call.SendMsg(&payload); err != nil {
				return
			}
		}
	}()
	for began := range sent {
		var answer []byte
		if err := call.RecvMsg(&answer); err != nil {
			s.fail(err)
			for range sent {
			}
			return
		}
		s.latencies = append(s.latencies, time.Since(began))
	}
}

func connect() *grpc.ClientConn {
	connection, err := grpc.NewClient(
		"passthrough:///"+*target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(windowBytes),
		grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodec(raw{}),
			grpc.MaxCallRecvMsgSize(maxMessageBytes),
			grpc.MaxCallSendMsgSize(maxMessageBytes),
			grpc.WaitForReady(true),
		),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return connection
}

func quantile(sorted []time.Duration, part float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(part*float64(len(sorted)-1))]) / float64(time.Millisecond)
}

func main() {
	flag.Parse()
	payload, err := os.ReadFile(*payloadFile)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	pool := make([]*grpc.ClientConn, *connections)
	for i := range pool {
		pool[i] = connect()
	}
	call := callUnary
	if *stream {
		call = callStream
	}
	all := make([]seen, *callers)
	began := time.Now()
	p := &pace{began: began, ends: began.Add(time.Duration(*seconds * float64(time.Second)))}
	var running sync.WaitGroup
	for i := range all {
		all[i].errors = map[string]int{}
		running.Add(1)
		go func() {
			defer running.Done()
			call(pool[i%len(pool)], payload, p, &all[i])
		}()
	}
	running.Wait()
	took := time.Since(began)
	var latencies []time.Duration
	errors := map[string]int{}
	for _, each := range all {
		latencies = append(latencies, each.latencies...)
		for text, count := range each.errors {
			errors[text] += count
		}
	}
	sort.Slice(latencies, func(a, b int) bool { return latencies[a] < latencies[b] })
	json.NewEncoder(os.Stdout).Encode(report{
		Calls:   len(latencies),
		Seconds: took.Seconds(),
		P50:     quantile(latencies, 0.50),
		P99:     quantile(latencies, 0.99),
		Errors:  errors,
	})
}
