package clients;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;

/**
 * Three streams are sent and consumed while KILL_LEADER_CMD kills the leader: synchronous, asynchronous, and by key
 * in order. Errors meanwhile are counted and allowed; an acknowledged message that is not consumed is not, nor is one
 * of a key that comes before an acknowledged earlier one.
 */
final class LeaderKill implements Job {
    private static final int PACE_MS = 5;
    private static final int BEFORE = 200;
    private static final int AFTER = 200;
    private static final int KEYS = 8;
    private static final int RECOVER_S = 90;
    private static final int HOOK_S = 60;

    /** One stream: what was sent, acknowledged, refused and consumed, and the longest time without an acknowledgement. */
    private static final class Stream {
        final String name;
        final AtomicInteger sent = new AtomicInteger();
        final AtomicInteger unanswered = new AtomicInteger();
        final AtomicInteger errors = new AtomicInteger();
        final AtomicReference<String> lastError = new AtomicReference<>("");
        final Set<String> acked = ConcurrentHashMap.newKeySet();
        final Tally consumed = new Tally();
        private final AtomicLong lastAck = new AtomicLong(System.nanoTime());
        private final AtomicLong longestGap = new AtomicLong();

        Stream(String name) {
            this.name = name;
        }

        void answered(String id, SendResult result) {
            if (result.getSendStatus() == SendStatus.SEND_OK) {
                acked.add(id);
                long now = System.nanoTime();
                longestGap.accumulateAndGet(now - lastAck.getAndSet(now), Math::max);
            } else {
                failed(result.toString());
            }
        }

        void failed(String why) {
            errors.incrementAndGet();
            lastError.set(why);
        }

        String report() {
            return String.format("%s: %d sent, %d acked, %d errors, %d lost, %d duplicated, longest pause %d ms", name,
                sent.get(), acked.size(), errors.get(), consumed.missingOf(acked).size(), consumed.duplicates(),
                TimeUnit.NANOSECONDS.toMillis(longestGap.get()));
        }
    }

    private interface Send {
        void send(Stream stream, int number, String id) throws Exception;
    }

    @Override
    public boolean alone() {
        return true;
    }

    @Override
    public int timeoutSeconds() {
        return 300;
    }

    @Override
    public String run(Env env) throws Exception {
        String hook = Env.setting("KILL_LEADER_CMD", "");
        Env.check(!hook.isEmpty(), "KILL_LEADER_CMD is not set");
        String any = env.topic("any", 4);
        String ordered = env.topic("ordered", 4);
        Stream sync = new Stream("sync");
        Stream async = new Stream("async");
        Stream orderly = new Stream("orderly");
        Stream[] streams = {sync, async, orderly};
        Map<String, Integer> lastOfKey = new ConcurrentHashMap<>();
        Set<String> disordered = ConcurrentHashMap.newKeySet();
        consumeConcurrently(env, any, sync, async);
        consumeOrderly(env, ordered, orderly, lastOfKey, disordered);

        AtomicBoolean stop = new AtomicBoolean();
        env.defer(() -> stop.set(true));
        DefaultMQProducer producer = env.producer();
        Thread[] senders = {
            sender(env, stop, sync, (stream, number, id) ->
                stream.answered(id, producer.send(Env.message(any, "", id)))),
            sender(env, stop, async, (stream, number, id) -> sendAsync(producer, any, stream, id)),
            sender(env, stop, orderly, (stream, number, id) ->
                stream.answered(id, producer.send(Env.message(ordered, "", id),
                    (queues, message, key) -> queues.get((Integer) key % queues.size()), number % KEYS))),
        };

        for (Stream stream : streams) {
            env.await(BEFORE + " " + stream.name + " acked", RECOVER_S, () -> stream.acked.size() >= BEFORE);
        }
        kill(env, hook);
        for (Stream stream : streams) {
            int then = stream.acked.size();
            env.await(stream.name + " goes on after the kill", RECOVER_S, () -> stream.acked.size() >= then + AFTER);
        }
        stop.set(true);
        for (Thread thread : senders) {
            thread.join();
        }
        env.await("every asynchronous send answered", 30, () -> async.unanswered.get() == 0);
        StringBuilder report = new StringBuilder();
        boolean[] complete = {false};
        try {
            env.await("every acknowledged message consumed", RECOVER_S, () -> {
                complete[0] = sync.consumed.hasAll(sync.acked) && async.consumed.hasAll(async.acked)
                    && orderly.consumed.hasAll(orderly.acked);
                return complete[0];
            });
        } catch (AssertionError e) {
            env.log(e);
        }
        for (Stream stream : streams) {
            report.append(report.length() == 0 ? "" : "; ").append(stream.report());
            env.log("%s, last error: %s, lost: %s", stream.report(), stream.lastError.get(),
                stream.consumed.missingOf(stream.acked));
        }
        disordered.retainAll(orderly.acked);
        report.append(", ").append(disordered.size()).append(" out of order");
        Env.check(complete[0] && disordered.isEmpty(), "%s", report);
        return report.toString();
    }

    private static void kill(Env env, String hook) throws Exception {
        env.log("running %s", hook);
        Path output = Files.createTempFile("kill-leader", ".log");
        Process process = new ProcessBuilder("bash", "-c", hook).redirectErrorStream(true)
            .redirectOutput(output.toFile()).start();
        boolean ended = process.waitFor(HOOK_S, TimeUnit.SECONDS);
        env.log("hook said: %s", Files.readString(output));
        Files.delete(output);
        Env.check(ended && process.exitValue() == 0, "KILL_LEADER_CMD failed");
    }

    private static Thread sender(Env env, AtomicBoolean stop, Stream stream, Send send) {
        Thread thread = new Thread(() -> {
            try {
                for (int number = 0; !stop.get(); number++) {
                    String id = stream.name + ":" + number;
                    stream.sent.incrementAndGet();
                    try {
                        send.send(stream, number, id);
                    } catch (InterruptedException e) {
                        throw e;
                    } catch (Exception e) {
                        stream.failed(e.toString());
                    }
                    Thread.sleep(PACE_MS);
                }
            } catch (InterruptedException e) {
                env.log(e);
            }
        }, stream.name);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private static void sendAsync(DefaultMQProducer producer, String topic, Stream stream, String id)
        throws Exception {
        stream.unanswered.incrementAndGet();
        try {
            producer.send(Env.message(topic, "", id), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    stream.answered(id, result);
                    stream.unanswered.decrementAndGet();
                }

                @Override
                public void onException(Throwable e) {
                    stream.failed(e.toString());
                    stream.unanswered.decrementAndGet();
                }
            });
        } catch (Exception e) {
            stream.unanswered.decrementAndGet();
            throw e;
        }
    }

    private static void consumeConcurrently(Env env, String topic, Stream sync, Stream async) throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer(env.name("any"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> {
                String id = Env.id(message);
                (id.startsWith(sync.name + ":") ? sync : async).consumed.add(id);
            });
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    /** Notes ids that come for the first time after a later one of their key; one that was never acked may do so. */
    private static void consumeOrderly(Env env, String topic, Stream stream, Map<String, Integer> lastOfKey,
        Set<String> disordered) throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer(env.name("ordered"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(message -> {
                String id = Env.id(message);
                int number = Integer.parseInt(id.substring(id.indexOf(':') + 1));
                String key = "k" + number % KEYS;
                if (number < lastOfKey.getOrDefault(key, -1) && !stream.consumed.ids().contains(id)) {
                    disordered.add(id);
                }
                lastOfKey.merge(key, number, Math::max);
                stream.consumed.add(id);
            });
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
    }
}
