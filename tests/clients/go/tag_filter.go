package main

import (
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// tagFilter: a subscription "red || AaTag" gets these tags and no other: neither BBTag, which has AaTag's hash, nor
// untagged messages.
func tagFilter(e *env) string {
	const rounds = 40
	topic, _ := e.topic("t")
	p := e.producer()
	wanted := newTally()
	send := func(prefix string) {
		for i := 0; i < rounds; i++ {
			for _, tag := range []string{"red", "AaTag", "green", "BBTag", ""} {
				id := fmt.Sprintf("%s-%d-%s", prefix, i, tag)
				e.sendOK(p, message(topic, tag, id))
				if tag == "red" || tag == "AaTag" {
					wanted.add(id)
				}
			}
		}
	}
	send("early")
	got := newTally()
	e.listen(e.name("g"), topic, "red || AaTag", func(m *primitive.MessageExt) { got.add(id(m)) })
	e.await("the stored ones that match", 60*time.Second, func() bool { return len(got.missing(wanted)) == 0 })
	send("late") // these meet pulls that wait at the broker
	e.await("all that match", 60*time.Second, func() bool { return len(got.missing(wanted)) == 0 })
	e.same(wanted, got)
	return fmt.Sprintf("%d of %d match and came, no other", wanted.distinct(), 2*5*rounds)
}
