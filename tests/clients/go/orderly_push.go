package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// orderlyPush: messages of one key, sent to one queue, are consumed in the order sent. One consumer only: this client
// never gives a lock back when it hands a queue over, so a second one would wait a minute for the lock to expire.
func orderlyPush(e *env) string {
	const keys, rounds = 16, 30
	topic, _ := e.topic("t")
	got := newTally()
	var lock sync.Mutex
	lastOfKey := map[string]int{}
	wrong := ""
	saw := func(m *primitive.MessageExt) {
		key, number, _ := strings.Cut(id(m), ":")
		round, _ := strconv.Atoi(number)
		lock.Lock()
		defer lock.Unlock()
		last, seen := lastOfKey[key]
		if !seen {
			last = -1
		}
		if round > last+1 {
			wrong = fmt.Sprintf("key %s: %d came after %d", key, round, last)
		}
		lastOfKey[key] = later(last, round)
		got.add(id(m))
	}
	e.listen(e.name("g"), topic, "*", saw, consumer.WithConsumerOrder(true))
	p := e.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	sent := newTally()
	for round := 0; round < rounds; round++ {
		for key := 0; key < keys; key++ {
			id := fmt.Sprintf("k%d:%d", key, round)
			m := message(topic, "", id)
			m.WithShardingKey(fmt.Sprint("k", key))
			e.sendOK(p, m)
			sent.add(id)
		}
	}
	e.await("all consumed", 80*time.Second, func() bool { return len(got.missing(sent)) == 0 })
	lock.Lock()
	defer lock.Unlock()
	e.check(wrong == "", "%s", wrong)
	return fmt.Sprintf("%d messages of %d keys in order, %d twice", sent.distinct(), keys, got.duplicates())
}
