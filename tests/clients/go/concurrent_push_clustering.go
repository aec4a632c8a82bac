package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// concurrentPushClustering: two push consumers of one group share the messages; when one leaves the other gets all;
// messages sent all the while are all consumed.
func concurrentPushClustering(e *env) string {
	const rebalance = 40 * time.Second // this client has a 20 s timer and no way to shorten it
	topic, _ := e.topic("t")
	p := e.producer()
	got := newTally()
	var byFirst, bySecond atomic.Int32
	e.listen(e.name("g"), topic, "*", func(m *primitive.MessageExt) { byFirst.Add(1); got.add(id(m)) })

	sent := newTally()
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			id := fmt.Sprint("m", i)
			if result, err := p.SendSync(e.ctx, message(topic, "", id)); err != nil || result.Status != primitive.SendOK {
				stopped <- fmt.Errorf("send: %v, %w", result, err)
				return
			}
			sent.add(id)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	e.await("the first consumer gets messages", rebalance, func() bool { return byFirst.Load() > 0 })
	second := e.listen(e.name("g"), topic, "*", func(m *primitive.MessageExt) { bySecond.Add(1); got.add(id(m)) })
	e.await("the second consumer gets messages", rebalance, func() bool { return bySecond.Load() > 20 })
	first := byFirst.Load()
	e.await("the first one still gets some", rebalance, func() bool { return byFirst.Load() > first })
	e.must(second.Shutdown())
	left := sent.distinct()
	e.await("messages after the second left", 10*time.Second, func() bool { return sent.distinct() > left+40 })
	close(stop)
	e.must(<-stopped)
	e.await("all consumed", rebalance, func() bool { return len(got.missing(sent)) == 0 })
	return fmt.Sprintf("%d sent and consumed, %d twice at the hand-overs, %d by the second consumer", sent.distinct(),
		got.duplicates(), bySecond.Load())
}
