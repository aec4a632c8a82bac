package main

import (
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// broadcasting: two broadcasting consumers of one group each get every message, once.
func broadcasting(e *env) string {
	const count = 100
	topic, _ := e.topic("t")
	tallies := []*tally{newTally(), newTally()}
	for _, t := range tallies {
		t := t
		e.listen(e.name("g"), topic, "*", func(m *primitive.MessageExt) { t.add(id(m)) },
			consumer.WithConsumerModel(consumer.BroadCasting))
	}
	p := e.producer()
	sent := newTally()
	for i := 0; i < count; i++ {
		id := fmt.Sprint("m", i)
		e.sendOK(p, message(topic, "", id))
		sent.add(id)
	}
	for _, t := range tallies {
		t := t
		e.await("a consumer got all", 60*time.Second, func() bool { return len(t.missing(sent)) == 0 })
		e.same(sent, t)
	}
	return fmt.Sprintf("%d sent, each of two consumers got all of them once", count)
}
