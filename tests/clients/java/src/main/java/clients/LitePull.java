package clients;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The lite pull consumer, with queues it assigns itself (seek, poll, commit) and with a subscription: after a restart
 * it goes on where it committed.
 */
final class LitePull implements Job {
    private static final int COUNT = 80;
    private static final int SEEK_AGAIN_MS = 5000;

    @Override
    public String run(Env env) throws Exception {
        String topic = env.topic("t", 4);
        DefaultMQProducer producer = env.producer();
        Set<String> old = send(producer, topic, "old");
        assigned(env, topic, old);

        String group = env.name("subscribed");
        DefaultLitePullConsumer first = subscribed(env, group, topic);
        List<MessageExt> messages = env.poll(first, COUNT, 40);
        check(messages, old);
        commit(env, first, next(topic, messages));
        first.shutdown();
        Set<String> fresh = send(producer, topic, "new");
        DefaultLitePullConsumer second = subscribed(env, group, topic);
        check(env.poll(second, COUNT, 40), fresh);
        return "assigned: sought, read, committed; subscribed: " + old.size() + " read, restarted, only the "
            + fresh.size() + " new ones came";
    }

    private static void assigned(Env env, String topic, Set<String> old) throws Exception {
        String group = env.name("assigned");
        DefaultLitePullConsumer consumer = env.litePullConsumer(group);
        consumer.setAutoCommit(false);
        consumer.start();
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(topic);
        consumer.assign(queues);
        for (MessageQueue queue : queues) {
            env.await("seek to the beginning of " + queue, 20, () -> {
                consumer.seekToBegin(queue);
                return true;
            });
        }
        List<MessageExt> messages = env.poll(consumer, COUNT, 40);
        check(messages, old);
        Map<MessageQueue, Long> next = next(topic, messages);
        commit(env, consumer, next);
        consumer.shutdown();

        DefaultLitePullConsumer again = env.litePullConsumer(group);
        again.setAutoCommit(false);
        again.start();
        for (MessageQueue queue : queues) {
            Long committed = again.committed(queue);
            Env.check(committed.equals(next.getOrDefault(queue, -1L)), "%s: %d committed, %s read", queue, committed,
                next.get(queue));
        }
        MessageQueue one = next.keySet().iterator().next();
        again.assign(List.of(one));
        MessageExt message = seek(env, again, one, 1);
        Env.check(message.getQueueOffset() == 1, "sought offset 1, got %d", message.getQueueOffset());
        again.shutdown();
    }

    /**
     * The first message after a seek. A seek interrupts the pull that the client has just begun. When that is in the
     * middle of a send, client 5.x closes the connection that seek itself uses, and it fails; when it is about to take
     * its offset, it takes the sought one from its successor, and nothing comes. In both cases it is sought again.
     */
    private static MessageExt seek(Env env, DefaultLitePullConsumer consumer, MessageQueue queue, long offset)
        throws Exception {
        List<MessageExt> got = new ArrayList<>();
        env.await("message at " + offset, 40, () -> {
            consumer.seek(queue, offset);
            got.addAll(consumer.poll(SEEK_AGAIN_MS));
            return !got.isEmpty();
        });
        return got.get(0);
    }

    private static DefaultLitePullConsumer subscribed(Env env, String group, String topic) throws Exception {
        DefaultLitePullConsumer consumer = env.litePullConsumer(group);
        consumer.setAutoCommit(false);
        consumer.subscribe(topic, "*");
        consumer.start();
        return consumer;
    }

    /** The offsets after the last message of each queue; what came must begin at 0 and have no gap. */
    private static Map<MessageQueue, Long> next(String topic, List<MessageExt> messages) {
        Map<MessageQueue, Long> next = new HashMap<>();
        for (MessageExt message : messages) {
            MessageQueue queue = new MessageQueue(topic, message.getBrokerName(), message.getQueueId());
            Long expected = next.put(queue, message.getQueueOffset() + 1);
            Env.check(message.getQueueOffset() == (expected == null ? 0 : expected),
                "%s: offset %d came, %s expected", queue, message.getQueueOffset(), expected);
        }
        return next;
    }

    /** Commits offsets and waits until the broker says so (the client sends commits without wanting an answer). */
    private static void commit(Env env, DefaultLitePullConsumer consumer, Map<MessageQueue, Long> offsets)
        throws Exception {
        consumer.commitSync(offsets, true);
        env.await("the broker has the committed offsets", 20, () -> {
            for (MessageQueue queue : offsets.keySet()) {
                long stored = consumer.getOffsetStore().readOffset(queue, ReadOffsetType.READ_FROM_STORE);
                if (stored != offsets.get(queue)) {
                    return false;
                }
            }
            return true;
        });
    }

    private static Set<String> send(DefaultMQProducer producer, String topic, String prefix) throws Exception {
        Set<String> sent = new HashSet<>();
        for (int i = 0; i < COUNT; i++) {
            Env.sendOk(producer, Env.message(topic, "", prefix + i));
            sent.add(prefix + i);
        }
        return sent;
    }

    private static void check(List<MessageExt> messages, Set<String> wanted) {
        Tally tally = new Tally();
        messages.forEach(message -> tally.add(Env.id(message)));
        Env.check(tally.ids().equals(wanted), "not wanted or missing: %d ids came, %d wanted", tally.distinct(),
            wanted.size());
        Env.check(tally.duplicates() == 0, "%d came twice", tally.duplicates());
    }
}
