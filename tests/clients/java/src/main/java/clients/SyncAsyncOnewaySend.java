package clients;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Single synchronous, asynchronous, one-way and batch sends all arrive, once, unchanged: body (also one that the
 * client compresses and one of a megabyte), tag, keys, a property of the user's, the id the producer was told.
 */
final class SyncAsyncOnewaySend implements Job {
    private static final int EACH = 60;
    private static final int BATCHES = 6;
    private static final int IN_A_BATCH = 10;
    private static final int[] BODY_SIZES = {1, 5_000, 100_000, 1_000_000};

    @Override
    public String run(Env env) throws Exception {
        String topic = env.topic("t", 4);
        DefaultMQProducer producer = env.producer();
        Set<String> sent = new HashSet<>();
        Map<String, String> toldId = new ConcurrentHashMap<>();
        Map<String, byte[]> bodies = new HashMap<>();
        Map<String, Long> nextOffset = new HashMap<>();

        for (int i = 0; i < EACH; i++) {
            String id = "sync-" + i;
            Message message = Env.message(topic, "tag", id);
            message.putUserProperty("colour", "blue \u00e9\u4e2d");
            SendResult result = Env.sendOk(producer, message);
            toldId.put(id, result.getMsgId());
            String queue = result.getMessageQueue().toString();
            Long expected = nextOffset.put(queue, result.getQueueOffset() + 1);
            Env.check(expected == null ? result.getQueueOffset() == 0 : result.getQueueOffset() == expected,
                "%s was given offset %d, %s expected", queue, result.getQueueOffset(), expected);
            sent.add(id);
        }
        for (int size : BODY_SIZES) {
            String id = "big-" + size;
            byte[] body = new byte[size];
            for (int i = 0; i < size; i++) {
                body[i] = (byte) (i % 251);
            }
            bodies.put(id, body);
            toldId.put(id, Env.sendOk(producer, new Message(topic, "tag", id, body)).getMsgId());
            sent.add(id);
        }

        AtomicInteger answered = new AtomicInteger();
        AtomicReference<Object> bad = new AtomicReference<>();
        for (int i = 0; i < EACH; i++) {
            String id = "async-" + i;
            producer.send(Env.message(topic, "tag", id), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() != SendStatus.SEND_OK) {
                        bad.set(result);
                    }
                    toldId.put(id, result.getMsgId());
                    answered.incrementAndGet();
                }

                @Override
                public void onException(Throwable e) {
                    bad.set(e);
                    answered.incrementAndGet();
                }
            });
            sent.add(id);
        }
        env.await("every asynchronous send answered", 20, () -> answered.get() == EACH);
        Env.check(bad.get() == null, "asynchronous send: %s", bad.get());

        for (int i = 0; i < EACH; i++) {
            producer.sendOneway(Env.message(topic, "tag", "oneway-" + i));
            sent.add("oneway-" + i);
        }

        for (int b = 0; b < BATCHES; b++) {
            List<Message> batch = new ArrayList<>();
            for (int i = 0; i < IN_A_BATCH; i++) {
                String id = "batch-" + b + "-" + i;
                batch.add(Env.message(topic, "tag", id));
                sent.add(id);
            }
            SendResult result = producer.send(batch);
            Env.check(result.getSendStatus() == SendStatus.SEND_OK, "batch: %s", result);
            Env.check(result.getMsgId().split(",").length == IN_A_BATCH, "batch ids: %s", result.getMsgId());
            Env.check(result.getOffsetMsgId().split(",").length == IN_A_BATCH, "batch: %s", result.getOffsetMsgId());
        }

        Tally tally = new Tally();
        AtomicReference<String> changed = new AtomicReference<>();
        DefaultMQPushConsumer consumer = env.pushConsumer(env.name("g"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                String difference = difference(message, toldId, bodies);
                if (difference != null) {
                    changed.set(Env.id(message) + ": " + difference);
                }
                tally.add(Env.id(message));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        env.await("all consumed", 40, () -> tally.hasAll(sent));
        long stored = 0;
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            stored += producer.maxOffset(queue) - producer.minOffset(queue);
        }
        Env.check(stored == sent.size(), "%d sent, the queues hold %d", sent.size(), stored);
        Env.check(tally.distinct() == sent.size(), "%d sent, %d consumed", sent.size(), tally.distinct());
        Env.check(tally.duplicates() == 0, "%d consumed twice", tally.duplicates());
        Env.check(changed.get() == null, "%s", changed.get());
        return sent.size() + " sent (sync, async, one-way, batch, 1 B to 1 MB), stored and consumed once each";
    }

    private static String difference(MessageExt message, Map<String, String> toldId, Map<String, byte[]> bodies) {
        String id = Env.id(message);
        byte[] body = bodies.getOrDefault(id, Env.message("t", "", id).getBody());
        if (!Arrays.equals(body, message.getBody())) {
            return "another body, " + message.getBody().length + " bytes";
        }
        if (!"tag".equals(message.getTags())) {
            return "tag " + message.getTags();
        }
        if (id.startsWith("sync") && !"blue \u00e9\u4e2d".equals(message.getUserProperty("colour"))) {
            return "property " + message.getUserProperty("colour");
        }
        if (toldId.containsKey(id) && !toldId.get(id).equals(message.getMsgId())) {
            return "id " + message.getMsgId() + ", the producer was told " + toldId.get(id);
        }
        if (message.getReconsumeTimes() != 0 || message.getStoreTimestamp() < message.getBornTimestamp() - 1000) {
            return message.toString();
        }
        return null;
    }
}
