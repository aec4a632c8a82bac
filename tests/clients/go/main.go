// The Go client tests: small programs, one per job, run against a live cluster by one process.
//
// Arguments: log directory, then job names (none: all). Prints one line for each job, "PASS go Job (n s) summary" or
// "FAIL ...". Jobs that disturb the cluster run last, alone. Settings come from the environment: NAMESRV_ADDR, RUN_ID
// (makes names unique), KILL_LEADER_CMD.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const jobsAtOnce = 4

type job struct {
	name    string
	run     func(e *env) string // returns one line for the report, calls e.fail when what it shows does not hold
	timeout time.Duration
	alone   bool
}

var jobs = []job{
	{"OrderlyPush", orderlyPush, 120 * time.Second, false},
	{"ConcurrentPushClustering", concurrentPushClustering, 120 * time.Second, false},
	{"SyncAsyncOnewaySend", syncAsyncOnewaySend, 90 * time.Second, false},
	{"Broadcasting", broadcasting, 90 * time.Second, false},
	{"PullConsumer", pullConsumer, 90 * time.Second, false},
	{"TagFilter", tagFilter, 90 * time.Second, false},
	{"LeaderKill", leaderKill, 300 * time.Second, true},
}

func main() {
	logDir := os.Args[1]
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rlog.SetLogLevel("warn")
	if err := rlog.SetOutputPath(filepath.Join(logDir, "client.log")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	wanted := map[string]bool{}
	for _, name := range os.Args[2:] {
		wanted[name] = true
	}
	var failed bool
	var lock sync.Mutex
	report := func(good bool, line string) {
		lock.Lock()
		defer lock.Unlock()
		failed = failed || !good
		fmt.Println(line)
	}
	for _, alone := range []bool{false, true} {
		width := jobsAtOnce
		if alone {
			width = 1
		}
		slots := make(chan struct{}, width)
		var all sync.WaitGroup
		for _, j := range jobs {
			if j.alone != alone || (len(wanted) > 0 && !wanted[j.name]) {
				continue
			}
			all.Add(1)
			slots <- struct{}{}
			go func(j job) {
				defer all.Done()
				defer func() { <-slots }()
				report(runOne(j, logDir))
			}(j)
		}
		all.Wait()
	}
	if failed {
		os.Exit(1)
	}
}

func runOne(j job, logDir string) (bool, string) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), j.timeout)
	defer cancel()
	e, err := newEnv(ctx, j.name, logDir)
	if err != nil {
		return false, fmt.Sprintf("FAIL go %s (0 s) %v", j.name, err)
	}
	said := make(chan string, 1)
	broke := make(chan string, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				if f, ok := p.(failure); ok {
					broke <- string(f)
					return
				}
				panic(p)
			}
		}()
		said <- j.run(e)
	}()
	good, line := false, ""
	select {
	case line = <-said:
		good = true
	case line = <-broke:
	case <-ctx.Done():
		line = fmt.Sprintf("gave up after %v", j.timeout)
	}
	word := "FAIL"
	if good {
		word = "PASS"
	}
	e.log("%s %s", word, line)
	e.close()
	return good, fmt.Sprintf("%s go %s (%.0f s) %s", word, j.name, time.Since(start).Seconds(), line)
}
