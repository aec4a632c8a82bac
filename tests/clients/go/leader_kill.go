package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// stream is what was sent, acknowledged, refused and consumed.
type stream struct {
	name            string
	sent, errors    atomic.Int32
	acked, consumed *tally
	lastAck         time.Time // the sender's alone, like longestPause
	longestPause    time.Duration
}

func (s *stream) report() string {
	return fmt.Sprintf("%s: %d sent, %d acked, %d errors, %d lost, %d duplicated, longest pause %d ms", s.name,
		s.sent.Load(), s.acked.distinct(), s.errors.Load(), len(s.consumed.missing(s.acked)), s.consumed.duplicates(),
		s.longestPause.Milliseconds())
}

// leaderKill: two streams, synchronous and by key in order, are sent and consumed while KILL_LEADER_CMD kills the
// leader. Errors meanwhile are counted and allowed; an acknowledged message that is not consumed is not, nor is one
// that comes before an acknowledged earlier one of its key. This client polls routes each 30 s, unchangeably, so a
// pause of that length may belong to it. (Its asynchronous send crashes the process when a connection breaks: left out.)
func leaderKill(e *env) string {
	const before, after, keys, recover = 200, 200, 8, 120 * time.Second
	hook := setting("KILL_LEADER_CMD", "")
	e.check(hook != "", "KILL_LEADER_CMD is not set")
	plain := &stream{name: "sync", acked: newTally(), consumed: newTally(), lastAck: time.Now()}
	ordered := &stream{name: "orderly", acked: newTally(), consumed: newTally(), lastAck: time.Now()}
	streams := []*stream{plain, ordered}
	plainTopic, _ := e.topic("any")
	orderedTopic, _ := e.topic("ordered")
	e.listen(e.name("any"), plainTopic, "*", func(m *primitive.MessageExt) { plain.consumed.add(id(m)) })
	var lock sync.Mutex
	lastOfKey, disordered := map[int]int{}, newTally()
	e.listen(e.name("ordered"), orderedTopic, "*", func(m *primitive.MessageExt) {
		number, _ := strconv.Atoi(strings.TrimPrefix(id(m), ordered.name+":"))
		lock.Lock()
		defer lock.Unlock()
		if last, seen := lastOfKey[number%keys]; ordered.consumed.add(id(m)) && seen && number < last {
			disordered.add(id(m))
		}
		lastOfKey[number%keys] = later(lastOfKey[number%keys], number)
	}, consumer.WithConsumerOrder(true))

	stop := make(chan struct{})
	var senders sync.WaitGroup
	start := func(s *stream, topic string, p rocketmq.Producer) {
		senders.Add(1)
		go func() {
			defer senders.Done()
			for number := 0; ; number++ {
				select {
				case <-stop:
					return
				default:
				}
				s.sendOne(e, p, topic, number, number%keys)
				time.Sleep(5 * time.Millisecond)
			}
		}()
	}
	start(plain, plainTopic, e.producer())
	start(ordered, orderedTopic, e.producer(producer.WithQueueSelector(producer.NewHashQueueSelector())))

	for _, s := range streams {
		s := s
		e.await(s.name+" flows", recover, func() bool { return s.acked.distinct() >= before })
	}
	output, err := exec.CommandContext(e.ctx, "bash", "-c", hook).CombinedOutput()
	e.log("hook said: %s", output)
	e.check(err == nil, "KILL_LEADER_CMD: %v", err)
	for _, s := range streams {
		s, then := s, s.acked.distinct()
		e.await(s.name+" goes on after the kill", recover, func() bool { return s.acked.distinct() >= then+after })
	}
	close(stop)
	senders.Wait()
	complete := e.awaited("every acknowledged message consumed", recover, func() bool {
		return len(plain.consumed.missing(plain.acked))+len(ordered.consumed.missing(ordered.acked)) == 0
	})
	outOfOrder := disordered.distinct() - len(ordered.acked.missing(disordered))
	for _, s := range streams {
		e.log("%s, lost: %v", s.report(), s.consumed.missing(s.acked))
	}
	report := fmt.Sprintf("%s; %s, %d out of order", plain.report(), ordered.report(), outOfOrder)
	e.check(complete && outOfOrder == 0, "%s", report)
	return report
}

func (s *stream) sendOne(e *env, p rocketmq.Producer, topic string, number, key int) {
	id := fmt.Sprintf("%s:%d", s.name, number)
	m := message(topic, "", id)
	m.WithShardingKey(fmt.Sprint("k", key))
	s.sent.Add(1)
	ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
	defer cancel()
	result, err := p.SendSync(ctx, m)
	if err == nil && result.Status != primitive.SendOK {
		err = errNotOK
	}
	if err != nil {
		s.errors.Add(1)
		e.log("%s: %v", id, err)
		return
	}
	s.acked.add(id)
	now := time.Now()
	if pause := now.Sub(s.lastAck); pause > s.longestPause {
		s.longestPause = pause
	}
	s.lastAck = now
}
