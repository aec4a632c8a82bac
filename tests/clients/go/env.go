package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const (
	checkEvery = 20 * time.Millisecond
	primer     = "primer" // id of the message that makes a topic; every consumer leaves it out
)

// failure ends a job: e.fail panics with it, the runner catches it.
type failure string

// env is what a job is given: names nobody else uses, clients that are shut down when the job ends, a log of its own,
// and waiting for conditions with a deadline.
type env struct {
	ctx       context.Context
	job       string
	runID     string
	resolver  primitive.NsResolver
	logger    *log.Logger
	file      *os.File
	instances int32
	lock      sync.Mutex
	closers   []func()
}

func newEnv(ctx context.Context, job, logDir string) (*env, error) {
	file, err := os.Create(filepath.Join(logDir, job+".log"))
	if err != nil {
		return nil, err
	}
	servers := strings.Split(setting("NAMESRV_ADDR", "127.0.0.1:9876"), ";")
	return &env{ctx: ctx, job: job, runID: setting("RUN_ID", strconv.FormatInt(time.Now().UnixMilli(), 36)),
		resolver: primitive.NewPassthroughResolver(servers), logger: log.New(file, "", log.Ltime|log.Lmicroseconds),
		file: file}, nil
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func (e *env) log(format string, args ...any) {
	e.logger.Printf(format, args...)
}

func (e *env) fail(format string, args ...any) {
	panic(failure(fmt.Sprintf(format, args...)))
}

func (e *env) check(holds bool, format string, args ...any) {
	if !holds {
		e.fail(format, args...)
	}
}

func (e *env) must(err error) {
	if err != nil {
		e.fail("%v", err)
	}
}

// name returns a topic or group name of this run and job.
func (e *env) name(what string) string {
	return "ck-" + e.runID + "-go-" + e.job + "-" + what
}

func (e *env) instance() string {
	return e.name("i" + strconv.Itoa(int(atomic.AddInt32(&e.instances, 1))))
}

// atEnd has action done when the job ends, however it ends; the last one first.
func (e *env) atEnd(action func() error) {
	e.lock.Lock()
	defer e.lock.Unlock()
	var once sync.Once
	e.closers = append(e.closers, func() {
		once.Do(func() {
			if err := action(); err != nil {
				e.log("at end: %v", err)
			}
		})
	})
}

func (e *env) close() {
	e.lock.Lock()
	closers := e.closers
	e.lock.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
	e.file.Close()
}

// await waits until condition holds.
func (e *env) await(what string, limit time.Duration, condition func() bool) {
	if !e.awaited(what, limit, condition) {
		e.fail("not within %v: %s", limit, what)
	}
}

func (e *env) awaited(what string, limit time.Duration, condition func() bool) bool {
	start := time.Now()
	for !condition() {
		if time.Since(start) > limit || e.ctx.Err() != nil {
			e.log("not within %v: %s", limit, what)
			return false
		}
		time.Sleep(checkEvery)
	}
	e.log("%s after %v", what, time.Since(start))
	return true
}

func (e *env) producer(options ...producer.Option) rocketmq.Producer {
	options = append([]producer.Option{producer.WithNsResolver(e.resolver), producer.WithGroupName(e.name("p")),
		producer.WithInstanceName(e.instance()), producer.WithRetry(2)}, options...)
	p, err := rocketmq.NewProducer(options...)
	e.must(err)
	e.must(p.Start())
	e.atEnd(p.Shutdown)
	return p
}

// topic makes a topic (this client's admin part cannot find the brokers, so a first message makes it) and waits for
// its route; returns its queues too.
func (e *env) topic(what string) (string, []*primitive.MessageQueue) {
	topic := e.name(what)
	_, err := e.producer().SendSync(e.ctx, message(topic, "", primer))
	e.must(err)
	a, err := admin.NewAdmin(admin.WithResolver(e.resolver))
	e.must(err)
	var queues []*primitive.MessageQueue
	e.await("route of "+topic, 20*time.Second, func() bool {
		queues, err = a.FetchPublishMessageQueues(e.ctx, topic)
		return err == nil && len(queues) > 0
	})
	return topic, queues
}

// listen starts a push consumer that begins at the oldest message and hands each message but the primer to got.
func (e *env) listen(group, topic, tags string, got func(*primitive.MessageExt), options ...consumer.Option) rocketmq.PushConsumer {
	options = append([]consumer.Option{consumer.WithNsResolver(e.resolver), consumer.WithGroupName(group),
		consumer.WithInstance(e.instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	e.must(err)
	handle := func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			if id(m) != primer {
				got(m)
			}
		}
		return consumer.ConsumeSuccess, nil
	}
	e.must(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, handle))
	e.must(c.Start())
	e.atEnd(c.Shutdown)
	return c
}

func message(topic, tag, id string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte("body of "+id)).WithKeys([]string{id})
	if tag != "" {
		m.WithTag(tag)
	}
	return m
}

// id returns what message was given as id (the client appends a separator to each key).
func id(m *primitive.MessageExt) string {
	return strings.TrimSpace(m.GetKeys())
}

func (e *env) sendOK(p rocketmq.Producer, m *primitive.Message) *primitive.SendResult {
	result, err := p.SendSync(e.ctx, m)
	e.must(err)
	e.check(result.Status == primitive.SendOK, "send of %s: %v", m.GetKeys(), result)
	return result
}

// tally counts what arrived, by id.
type tally struct {
	lock   sync.Mutex
	counts map[string]int
}

func newTally() *tally {
	return &tally{counts: map[string]int{}}
}

// add counts id and says whether it came for the first time.
func (t *tally) add(id string) bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.counts[id]++
	return t.counts[id] == 1
}

func (t *tally) distinct() int {
	t.lock.Lock()
	defer t.lock.Unlock()
	return len(t.counts)
}

func (t *tally) duplicates() int {
	t.lock.Lock()
	defer t.lock.Unlock()
	n := 0
	for _, count := range t.counts {
		n += count - 1
	}
	return n
}

// missing returns the ids in wanted that did not arrive.
func (t *tally) missing(wanted *tally) []string {
	wanted.lock.Lock()
	ids := make([]string, 0, len(wanted.counts))
	for id := range wanted.counts {
		ids = append(ids, id)
	}
	wanted.lock.Unlock()
	t.lock.Lock()
	defer t.lock.Unlock()
	var missing []string
	for _, id := range ids {
		if t.counts[id] == 0 {
			missing = append(missing, id)
		}
	}
	return missing
}

// same fails unless exactly the ids of wanted arrived, each once.
func (e *env) same(wanted, got *tally) {
	if missing := got.missing(wanted); len(missing) > 0 {
		e.fail("%d missing, such as %s", len(missing), missing[0])
	}
	if extra := wanted.missing(got); len(extra) > 0 {
		e.fail("%d not wanted, such as %s", len(extra), extra[0])
	}
	e.check(got.duplicates() == 0, "%d came twice", got.duplicates())
}

var errNotOK = errors.New("not SEND_OK")

func later(a, b int) int {
	if a > b {
		return a
	}
	return b
}
