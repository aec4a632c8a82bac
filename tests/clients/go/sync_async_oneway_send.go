package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// syncAsyncOnewaySend: single synchronous, asynchronous, one-way and batch sends all arrive, once, unchanged: body
// (also one that the client compresses), tag, a property of the user's, the id the producer was told.
func syncAsyncOnewaySend(e *env) string {
	const each, batches, inBatch = 60, 6, 10
	topic, _ := e.topic("t")
	p := e.producer()
	sent := newTally()
	var told sync.Map
	big := bytes.Repeat([]byte("compressible "), 8000)

	for i := 0; i < each; i++ {
		id := fmt.Sprint("sync-", i)
		m := message(topic, "tag", id)
		m.WithProperty("colour", "blue é中")
		told.Store(id, e.sendOK(p, m).MsgID)
		sent.add(id)
	}
	bigMessage := message(topic, "tag", "big")
	bigMessage.Body = big
	told.Store("big", e.sendOK(p, bigMessage).MsgID)
	sent.add("big")

	var answered sync.WaitGroup
	errs := make(chan error, each)
	for i := 0; i < each; i++ {
		id := fmt.Sprint("async-", i)
		answered.Add(1)
		sent.add(id)
		e.must(p.SendAsync(e.ctx, func(_ context.Context, result *primitive.SendResult, err error) {
			defer answered.Done()
			if err == nil && result.Status != primitive.SendOK {
				err = errNotOK
			}
			if err != nil {
				errs <- fmt.Errorf("%s: %w", id, err)
				return
			}
			told.Store(id, result.MsgID)
		}, message(topic, "tag", id)))
	}
	answered.Wait()
	select {
	case err := <-errs:
		e.fail("asynchronous send %v", err)
	default:
	}

	for i := 0; i < each; i++ {
		id := fmt.Sprint("oneway-", i)
		e.must(p.SendOneWay(e.ctx, message(topic, "tag", id)))
		sent.add(id)
	}
	for b := 0; b < batches; b++ {
		var batch []*primitive.Message
		for i := 0; i < inBatch; i++ {
			id := fmt.Sprintf("batch-%d-%d", b, i)
			batch = append(batch, message(topic, "tag", id))
			sent.add(id)
		}
		result, err := p.SendSync(e.ctx, batch...)
		e.must(err)
		e.check(result.Status == primitive.SendOK, "batch: %v", result)
	}

	got := newTally()
	var changed sync.Map
	e.listen(e.name("g"), topic, "*", func(m *primitive.MessageExt) {
		body := []byte("body of " + id(m))
		if id(m) == "big" {
			body = big
		}
		msgID, _ := told.Load(id(m))
		colour := m.GetProperty("colour")
		if !bytes.Equal(body, m.Body) || m.GetTags() != "tag" || (msgID != nil && msgID != m.MsgId) ||
			(colour != "" && colour != "blue é中") {
			changed.Store(id(m), m.String())
		}
		got.add(id(m))
	})
	e.await("all consumed", 60*time.Second, func() bool { return len(got.missing(sent)) == 0 })
	e.same(sent, got)
	changed.Range(func(id, m any) bool {
		e.fail("%v changed: %v", id, m)
		return false
	})
	return fmt.Sprintf("%d sent (sync, async, one-way, batch, compressed), consumed once each", sent.distinct())
}
