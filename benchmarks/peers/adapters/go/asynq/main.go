// asynq (Go). `asynq` speaks the lines of serve.py; `asynq worker` is the worker process.
// BENCH_VARIANT=result: each task is kept for 10 minutes after completion, with a result written by the handler.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"bench/peers/wire"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

var (
	url         = os.Getenv("BENCH_REDIS_URL")
	result      = os.Getenv("BENCH_VARIANT") == "result"
	concurrency = wire.EnvInt("BENCH_CONCURRENCY", 30)
)

func options() []asynq.Option {
	if result {
		return []asynq.Option{asynq.Retention(10 * time.Minute)}
	}
	return nil
}

func work(opt asynq.RedisConnOpt) {
	wire.OpenLog()
	server := asynq.NewServer(opt, asynq.Config{Concurrency: concurrency, LogLevel: asynq.WarnLevel})
	mux := asynq.NewServeMux()
	mux.HandleFunc("noop", func(_ context.Context, t *asynq.Task) error {
		var a wire.Args
		if err := json.Unmarshal(t.Payload(), &a); err != nil {
			return err
		}
		wire.Hit(a)
		if result {
			_, err := t.ResultWriter().Write([]byte("null"))
			return err
		}
		return nil
	})
	if err := server.Start(mux); err != nil {
		panic(err)
	}
	select {} // the default action of SIGTERM ends it
}

func main() {
	opt, err := asynq.ParseRedisURI(url)
	if err != nil {
		panic(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		work(opt)
	}
	var client *asynq.Client
	var raw *redis.Client
	ctx := context.Background()
	one := func(i int, t float64) error {
		payload, err := json.Marshal(wire.Args{I: i, T: t, P: wire.Payload})
		if err != nil {
			return err
		}
		_, err = client.Enqueue(asynq.NewTask("noop", payload), options()...)
		return err
	}
	results := "none (Retention 0, the default: the task is deleted when done)"
	if result {
		results = "stored: Retention(10 min), task hash and completed set kept, result written with ResultWriter"
	}
	peer := &wire.Peer{
		Modules: []string{"github.com/hibiken/asynq", "github.com/redis/go-redis/v9"},
		Info: map[string]any{
			"broker":         "redis",
			"delivery":       "at least once",
			"guarantee":      "moved to an active list with a lease of 30 s renewed by the worker, expired leases retried; removed by script after the handler",
			"results":        results,
			"worker_note":    fmt.Sprintf("Concurrency %d (best of 10, 30, 50, 300), one queue; default TaskCheckInterval 1 s (sleeps 0.5-1.5 s when the queue is empty)", concurrency),
			"bulk_note":      "no bulk API: Client.Enqueue from 50 goroutines",
			"n":              60000,
			"samples":        30,
			"slots":          []int{100, 500},
			"recovers_after": 60,
		},
		Open: func() error {
			r, err := redis.ParseURL(url)
			if err != nil {
				return err
			}
			raw = redis.NewClient(r)
			client = asynq.NewClient(opt)
			return raw.Ping(ctx).Err()
		},
		Prepare: func() error { // a new client: it remembers that it has published the queue's name
			_ = client.Close()
			client = asynq.NewClient(opt)
			return client.Ping()
		},
		One:  one,
		Bulk: func(n int) error { return wire.Spread(n, 50, func(i int) error { return one(i, 0) }) },
		Left: func() (int, error) {
			p, err := raw.LLen(ctx, "asynq:{default}:pending").Result()
			if err != nil {
				return 0, err
			}
			a, err := raw.LLen(ctx, "asynq:{default}:active").Result()
			return int(p + a), err
		},
	}
	peer.Serve()
}
