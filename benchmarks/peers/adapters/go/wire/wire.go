// Package wire is what an adapter written in Go needs: the lines of serve.py (Serve) and the body of every job (Hit).
package wire

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Args is the payload of noop(i, t).
type Args struct {
	I int     `json:"i"`
	T float64 `json:"t,omitempty"`
	P string  `json:"p,omitempty"` // only in jobs that are never run: the memory of a queued job
}

// Payload is the P of the jobs that One makes.
var Payload string

// Peer is what a system has to give; see base.py for what each part is for.
type Peer struct {
	Modules []string // whose versions are reported
	Info    map[string]any
	Open    func() error
	Prepare func() error
	Loaded  func() error
	Bulk    func(n int) error
	One     func(i int, t float64) error
	Left    func() (int, error)
}

// Now is CLOCK_MONOTONIC in seconds, as Python's time.monotonic.
func Now() float64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return float64(ts.Sec) + float64(ts.Nsec)/1e9
}

func cpu() float64 {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return float64(ru.Utime.Sec+ru.Stime.Sec) + float64(ru.Utime.Usec+ru.Stime.Usec)/1e6
}

var logFd, worker = -1, uint32(0)

// OpenLog opens the record file; a worker calls it once before it starts.
func OpenLog() {
	fd, err := unix.Open(os.Getenv("BENCH_LOG"), unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT, 0o644)
	if err != nil {
		panic(err)
	}
	k, _ := strconv.Atoi(os.Getenv("BENCH_WORKER"))
	logFd, worker = fd, uint32(k)
}

var nap = time.Duration(EnvInt("BENCH_NAP_MS", 0)) * time.Millisecond

// Hit is probe.hit, one 24-byte record (worker, index, submit time, handler start), and then the nap of jobs that sleep.
func Hit(a Args) {
	now := Now()
	var b [24]byte
	binary.LittleEndian.PutUint32(b[0:], worker)
	binary.LittleEndian.PutUint32(b[4:], uint32(a.I))
	binary.LittleEndian.PutUint64(b[8:], math.Float64bits(a.T))
	binary.LittleEndian.PutUint64(b[16:], math.Float64bits(now))
	_, _ = unix.Write(logFd, b[:])
	if nap > 0 {
		time.Sleep(nap)
	}
}

// EnvInt is an environment variable that holds a positive number, or a default.
func EnvInt(key string, otherwise int) int {
	if v, err := strconv.Atoi(os.Getenv(key)); err == nil && v > 0 {
		return v
	}
	return otherwise
}

func size(path string) int64 {
	st, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return st.Size()
}

func versions(modules []string) map[string]string {
	out := map[string]string{}
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, d := range bi.Deps {
			for _, m := range modules {
				if d.Path == m {
					out[m] = d.Version
				}
			}
		}
		out["go"] = bi.GoVersion
	}
	return out
}

type request struct {
	Cmd     string  `json:"cmd"`
	N       int     `json:"n"`
	I       int     `json:"i"`
	Log     string  `json:"log"`
	Seed    int64   `json:"seed"`
	P       string  `json:"p"`
	Timeout float64 `json:"timeout"`
}

func (p *Peer) run(r request) (map[string]any, error) {
	call := func(f func() error) (map[string]any, error) {
		if f == nil {
			return map[string]any{}, nil
		}
		return map[string]any{}, f()
	}
	switch r.Cmd {
	case "info":
		exe, err := os.Executable()
		if err != nil {
			return nil, err
		}
		p.Info["versions"] = versions(p.Modules)
		p.Info["workers"] = [][]string{{exe, "worker"}, {exe, "worker"}}
		return p.Info, nil
	case "open":
		return call(p.Open)
	case "prepare":
		return call(p.Prepare)
	case "loaded":
		return call(p.Loaded)
	case "one":
		return map[string]any{}, p.One(r.I, Now())
	case "rows":
		return map[string]any{"rows": nil}, nil
	case "bulk", "seq":
		c, s := cpu(), time.Now()
		if r.Cmd == "bulk" {
			if err := p.Bulk(r.N); err != nil {
				return nil, err
			}
		} else {
			for i := 0; i < r.N; i++ {
				if err := p.One(i, 0); err != nil {
					return nil, err
				}
			}
		}
		return map[string]any{"n": r.N, "s": time.Since(s).Seconds(), "cpu": cpu() - c}, nil
	case "fill":
		Payload = r.P
		return map[string]any{}, Spread(r.N, 20, func(i int) error { return p.One(i, 0) })
	case "lat":
		rng := rand.New(rand.NewSource(r.Seed))
		want := size(r.Log)
		for i := 0; i < r.N; i++ {
			time.Sleep(time.Duration(20e6 + rng.Float64()*60e6)) // random idle gap of 20-80 ms
			if err := p.One(i, Now()); err != nil {
				return nil, err
			}
			want += 24
			for deadline := time.Now().Add(20 * time.Second); size(r.Log) < want; time.Sleep(2 * time.Millisecond) {
				if time.Now().After(deadline) {
					return map[string]any{"n": i, "error": "job not seen in 20 s"}, nil
				}
			}
		}
		return map[string]any{"n": r.N}, nil
	case "drained":
		deadline := time.Now().Add(time.Duration(r.Timeout * 1e9))
		for {
			left, err := p.Left()
			if err != nil {
				return nil, err
			}
			if left == 0 || time.Now().After(deadline) {
				return map[string]any{"left": left, "t": Now()}, nil
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil, fmt.Errorf("unknown command %q", r.Cmd)
}

// Serve answers one JSON line on stdout for each on stdin.
func (p *Peer) Serve() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var r request
		var answer map[string]any
		err := json.Unmarshal(in.Bytes(), &r)
		if err == nil {
			answer, err = p.run(r)
		}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		line, _ := json.Marshal(answer)
		fmt.Printf("@@%s\n", line)
	}
}

// Spread runs call(0..n-1) from `lanes` goroutines and returns the first error.
func Spread(n, lanes int, call func(i int) error) error {
	errs := make(chan error, lanes)
	for l := 0; l < lanes; l++ {
		go func() {
			for i := l; i < n; i += lanes {
				if err := call(i); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var first error
	for l := 0; l < lanes; l++ {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}
