package main

import (
	"errors"
	"fmt"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// pullConsumer: the pull consumer reads a queue from a given offset, and with a subscription it polls and acknowledges;
// its successor in the group goes on where it stopped.
func pullConsumer(e *env) string {
	const count = 80
	topic, queues := e.topic("t")
	p := e.producer()
	send := func(prefix string) *tally {
		sent := newTally()
		for i := 0; i < count; i++ {
			id := fmt.Sprint(prefix, i)
			e.sendOK(p, message(topic, "", id))
			sent.add(id)
		}
		return sent
	}
	old := send("old")

	reader := e.poller(topic, e.name("reader"))
	read := newTally()
	for _, queue := range queues {
		// Never at the end of a queue: there this client has the broker hold the request for 20 s.
		for offset, end := int64(0), int64(1); offset < end; {
			result, err := reader.PullFrom(e.ctx, queue, offset, 32)
			e.must(err)
			if result.Status != primitive.PullFound {
				e.check(offset == 0, "%v: nothing at offset %d of %d", queue, offset, end)
				break
			}
			end = result.MaxOffset
			for _, m := range result.GetMessageExts() {
				e.check(m.QueueOffset == offset, "%v: offset %d came, %d expected", queue, m.QueueOffset, offset)
				offset++
				if id(m) != primer {
					read.add(id(m))
				}
			}
			e.check(result.NextBeginOffset == offset, "%v: next offset %d, not %d", queue, result.NextBeginOffset, offset)
		}
	}
	e.same(old, read)

	group := e.name("g")
	first := e.poller(topic, group)
	e.same(old, e.poll(first, old))
	e.must(first.PersistOffset(e.ctx, topic))
	e.must(first.Shutdown())
	fresh := send("new")
	got := e.poll(e.poller(topic, group), fresh)
	e.same(fresh, got)
	return fmt.Sprintf("%d read by offset; %d polled, restarted, only the %d new ones came", count, count, count)
}

func (e *env) poller(topic, group string) rocketmq.PullConsumer {
	c, err := rocketmq.NewPullConsumer(consumer.WithNsResolver(e.resolver), consumer.WithGroupName(group),
		consumer.WithInstance(e.instance()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	e.must(err)
	e.must(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
	e.must(c.Start())
	e.atEnd(c.Shutdown)
	return c
}

// poll polls and acknowledges until all of wanted came.
func (e *env) poll(c rocketmq.PullConsumer, wanted *tally) *tally {
	got := newTally()
	e.await("all polled", 60*time.Second, func() bool {
		request, err := c.Poll(e.ctx, time.Second)
		if errors.Is(err, consumer.ErrNoNewMsg) {
			return len(got.missing(wanted)) == 0
		}
		e.must(err)
		for _, m := range request.GetMsgList() {
			if id(m) != primer {
				got.add(id(m))
			}
		}
		c.ACK(e.ctx, request, consumer.ConsumeSuccess)
		return len(got.missing(wanted)) == 0
	})
	return got
}
