package clients;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Messages of one key, sent to one queue, are consumed in the order sent, by two consumers that share the queues;
 * the queue locks keep both from ever working on one queue at the same time, also when a consumer leaves.
 */
final class OrderlyPush implements Job {
    private static final int QUEUES = 4;
    private static final int KEYS = 16;
    private static final int ROUNDS = 30;
    /** Hand-over of a locked queue: the old owner's unlock can come 20 s late, the 4.9 client tries each 20 s. */
    private static final int HAND_OVER_S = 50;

    private static final class Watch {
        final Tally tally = new Tally();
        final Map<String, Integer> lastOfKey = new ConcurrentHashMap<>();
        final Map<MessageQueue, AtomicInteger> working = new ConcurrentHashMap<>();
        final AtomicReference<String> wrong = new AtomicReference<>();

        void saw(MessageExt message, MessageQueue queue) {
            AtomicInteger inside = working.computeIfAbsent(queue, q -> new AtomicInteger());
            if (inside.incrementAndGet() > 1) {
                wrong.set("two consumers work on " + queue + " at once");
            }
            String[] id = Env.id(message).split(":");
            int round = Integer.parseInt(id[1]);
            Integer last = lastOfKey.get(id[0]);
            if (last == null ? round != 0 : round > last + 1) {
                wrong.set("key " + id[0] + ": " + round + " came after " + last);
            }
            if (last == null || round > last) {
                lastOfKey.put(id[0], round);
            }
            tally.add(Env.id(message));
            inside.decrementAndGet();
        }
    }

    @Override
    public int timeoutSeconds() {
        return 200;
    }

    @Override
    public String run(Env env) throws Exception {
        String topic = env.topic("t", QUEUES);
        Watch watch = new Watch();
        DefaultMQPushConsumer first = consumer(env, topic, watch);
        DefaultMQPushConsumer second = consumer(env, topic, watch);
        first.start();
        second.start();
        DefaultMQProducer producer = env.producer();
        Set<MessageQueue> all = new HashSet<>(producer.fetchPublishMessageQueues(topic));
        env.await("two consumers share the queues", HAND_OVER_S, () -> {
            Set<MessageQueue> one = Env.owned(first, topic);
            Set<MessageQueue> both = new HashSet<>(one);
            both.addAll(Env.owned(second, topic));
            return one.size() == all.size() / 2 && both.equals(all);
        });

        Set<String> sent = new HashSet<>();
        sendRounds(producer, topic, 0, ROUNDS / 2, sent);
        env.await("first half consumed", HAND_OVER_S, () -> watch.tally.hasAll(sent));
        second.shutdown();
        sendRounds(producer, topic, ROUNDS / 2, ROUNDS, sent);
        env.await("all consumed", HAND_OVER_S, () -> watch.tally.hasAll(sent));
        Env.check(watch.wrong.get() == null, "%s", watch.wrong.get());
        Env.check(watch.working.keySet().size() == all.size(), "only %s were used", watch.working.keySet());
        return sent.size() + " messages of " + KEYS + " keys in order, " + watch.tally.duplicates() + " twice, "
            + "no queue with two workers";
    }

    private static void sendRounds(DefaultMQProducer producer, String topic, int from, int to, Set<String> sent)
        throws Exception {
        Map<Integer, MessageQueue> queueOfKey = new HashMap<>();
        for (int round = from; round < to; round++) {
            for (int key = 0; key < KEYS; key++) {
                String id = "k" + key + ":" + round;
                SendResult result = producer.send(Env.message(topic, "", id),
                    (queues, message, k) -> queues.get((Integer) k % queues.size()), key);
                Env.check(result.getSendStatus() == SendStatus.SEND_OK, "send of %s: %s", id, result);
                MessageQueue before = queueOfKey.put(key, result.getMessageQueue());
                Env.check(before == null || before.equals(result.getMessageQueue()), "key %d changed its queue", key);
                sent.add(id);
            }
        }
    }

    private static DefaultMQPushConsumer consumer(Env env, String topic, Watch watch) throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer(env.name("g"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(message -> watch.saw(message, context.getMessageQueue()));
            return ConsumeOrderlyStatus.SUCCESS;
        });
        return consumer;
    }
}
