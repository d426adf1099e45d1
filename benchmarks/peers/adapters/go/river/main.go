// River (Go, Postgres). `river` speaks the lines of serve.py; `river worker` is the worker process.
// BENCH_VARIANT=default: FetchCooldown and MaxWorkers as in River's README, not as in its own benchmark.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"bench/peers/wire"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

type noop struct{ wire.Args }

func (noop) Kind() string { return "noop" }

type worker struct{ river.WorkerDefaults[noop] }

func (*worker) Work(_ context.Context, job *river.Job[noop]) error {
	wire.Hit(job.Args.Args)
	return nil
}

var (
	asShipped  = os.Getenv("BENCH_VARIANT") == "default"
	maxWorkers = wire.EnvInt("BENCH_CONCURRENCY", 2000)
)

func work(ctx context.Context, pool *pgxpool.Pool) {
	wire.OpenLog()
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{})
	config := &river.Config{Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 100}}}
	if !asShipped { // the settings of River's own benchmark (cmd/river/riverbench)
		config.FetchCooldown, config.FetchPollInterval = 2*time.Millisecond, 20*time.Millisecond
		config.Queues[river.QueueDefault] = river.QueueConfig{MaxWorkers: maxWorkers}
	}
	client, err := river.NewClient(riverpgxv5.New(pool), config)
	if err != nil {
		panic(err)
	}
	if err := client.Start(ctx); err != nil {
		panic(err)
	}
	select {} // the default action of SIGTERM ends it
}

func main() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("BENCH_PG_DSN"))
	if err != nil {
		panic(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		work(ctx, pool)
	}
	var client *river.Client[pgx.Tx]
	note := fmt.Sprintf("MaxWorkers %d, FetchCooldown 2 ms, FetchPollInterval 20 ms (those of River's own benchmark), LISTEN/NOTIFY", maxWorkers)
	if asShipped {
		note = "MaxWorkers 100 (its README), FetchCooldown 100 ms and FetchPollInterval 1 s (defaults), LISTEN/NOTIFY"
	}
	n, slots := 120000, []int{100, 2000}
	if asShipped {
		n, slots = 5000, []int{100}
	}
	peer := &wire.Peer{
		Modules: []string{"github.com/riverqueue/river", "github.com/riverqueue/river/riverdriver/riverpgxv5", "github.com/jackc/pgx/v5"},
		Info: map[string]any{
			"broker":         "postgres",
			"delivery":       "at least once",
			"guarantee":      "row locked and set running, completed in batches after the handler; stuck jobs rescued after 1 h; durable commits",
			"results":        "none (row kept as completed for 24 h, the default; RecordOutput is opt-in)",
			"worker_note":    note,
			"bulk_note":      "Client.InsertManyFast (COPY), 1000 a call",
			"n":              n,
			"samples":        1000000,
			"slots":          slots,
			"recovers_after": 3600,
		},
		Open: func() error {
			driver := riverpgxv5.New(pool)
			migrator, err := rivermigrate.New(driver, nil)
			if err != nil {
				return err
			}
			if _, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
				return err
			}
			config := &river.Config{}
			if !asShipped { // it also limits how often an inserting client sends NOTIFY
				config.FetchCooldown, config.FetchPollInterval = 2*time.Millisecond, 20*time.Millisecond
			}
			client, err = river.NewClient(driver, config)
			return err
		},
		Prepare: func() error { _, err := pool.Exec(ctx, "TRUNCATE river_job"); return err },
		Loaded:  func() error { _, err := pool.Exec(ctx, "ANALYZE river_job"); return err },
		One: func(i int, t float64) error {
			_, err := client.Insert(ctx, noop{wire.Args{I: i, T: t}}, nil)
			return err
		},
		Bulk: func(n int) error {
			for s := 0; s < n; s += 1000 {
				var batch []river.InsertManyParams
				for i := s; i < min(n, s+1000); i++ {
					batch = append(batch, river.InsertManyParams{Args: noop{wire.Args{I: i}}})
				}
				if _, err := client.InsertManyFast(ctx, batch); err != nil {
					return err
				}
			}
			return nil
		},
		Left: func() (int, error) {
			var left int
			err := pool.QueryRow(ctx, "SELECT count(*) FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending')").Scan(&left)
			return left, err
		},
	}
	peer.Serve()
}
