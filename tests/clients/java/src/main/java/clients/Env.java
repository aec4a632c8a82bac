package clients;

import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalTime;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * What a job is given: names nobody else uses, clients that are shut down when the job ends, a log of its own,
 * and waiting for conditions with a deadline.
 *
 * Settings come from the environment: NAMESRV_ADDR, RUN_ID (makes names unique), KILL_LEADER_CMD.
 */
final class Env {
    static final String NAMESRV_ADDR = setting("NAMESRV_ADDR", "127.0.0.1:9876");
    private static final String RUN_ID = setting("RUN_ID", Long.toString(System.currentTimeMillis(), 36));
    private static final int POLL_ROUTES_MS = 1000;
    /** A subscription's version that a lost race kept out of one heartbeat is in the next; till then pulls are refused. */
    private static final int HEARTBEAT_MS = 2000;
    private static final int CHECK_EVERY_MS = 20;

    private final String job;
    private final PrintWriter log;
    private final Deque<Runnable> closers = new ArrayDeque<>();
    private final AtomicInteger instances = new AtomicInteger();

    Env(String suite, String job, Path logDir) throws Exception {
        this.job = suite + "-" + job;
        this.log = new PrintWriter(Files.newBufferedWriter(logDir.resolve(job + ".log"), StandardCharsets.UTF_8), true);
    }

    static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    void log(String format, Object... args) {
        log.println(LocalTime.now() + " " + (args.length == 0 ? format : String.format(format, args)));
    }

    void log(Throwable error) {
        log.print(LocalTime.now() + " ");
        error.printStackTrace(log);
    }

    /** A topic or group name of this run and job. */
    String name(String what) {
        return "ck-" + RUN_ID + "-" + job + "-" + what;
    }

    private String instance() {
        return name("i" + instances.incrementAndGet());
    }

    /** Has action done when the job ends, however it ends; the last deferred one is done first. */
    void defer(Runnable action) {
        synchronized (closers) {
            closers.push(action);
        }
    }

    void close() {
        while (true) {
            Runnable action;
            synchronized (closers) {
                if (closers.isEmpty()) {
                    break;
                }
                action = closers.pop();
            }
            try {
                action.run();
            } catch (RuntimeException e) {
                log(e);
            }
        }
        log.close();
    }

    /** Waits until condition holds; a condition that throws does not hold yet. */
    void await(String what, int seconds, Callable<Boolean> condition) throws Exception {
        long start = System.nanoTime();
        Throwable last = null;
        while (true) {
            try {
                if (condition.call()) {
                    log("%s after %d ms", what, (System.nanoTime() - start) / 1_000_000);
                    return;
                }
                last = null;
            } catch (InterruptedException e) {
                throw e;
            } catch (Exception | AssertionError e) {
                last = e;
            }
            if (System.nanoTime() - start > seconds * 1_000_000_000L) {
                String why = last == null ? "" : ", " + last.getMessage();
                throw new AssertionError("not within " + seconds + " s: " + what + why, last);
            }
            Thread.sleep(CHECK_EVERY_MS);
        }
    }

    static void check(boolean holds, String format, Object... args) {
        if (!holds) {
            throw new AssertionError(String.format(format, args));
        }
    }

    DefaultMQAdminExt admin() throws Exception {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(20_000L);
        admin.setAdminExtGroup(name("admin"));
        admin.setInstanceName(instance());
        admin.setNamesrvAddr(NAMESRV_ADDR);
        admin.start();
        defer(admin::shutdown);
        return admin;
    }

    /** Creates a topic on every broker group's master and waits until clients see its route. */
    String topic(String what, int queues) throws Exception {
        String topic = name(what);
        DefaultMQAdminExt admin = admin();
        Set<String> masters = new HashSet<>();
        await("a master of each broker name", 20, () -> {
            masters.clear();
            for (var broker : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
                masters.add(broker.getBrokerAddrs().get(0L));
            }
            return !masters.isEmpty() && !masters.contains(null);
        });
        for (String master : masters) {
            admin.createAndUpdateTopicConfig(master, new TopicConfig(topic, queues, queues, 6));
        }
        await("route of " + topic, 20, () -> {
            return admin.examineTopicRouteInfo(topic).getQueueDatas().size() == masters.size();
        });
        return topic;
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(name("p"));
        producer.setNamesrvAddr(NAMESRV_ADDR);
        producer.setInstanceName(instance());
        producer.setPollNameServerInterval(POLL_ROUTES_MS);
        producer.start();
        defer(producer::shutdown);
        return producer;
    }

    /** A push consumer that begins at the oldest message; the job adds subscriptions and a listener and starts it. */
    DefaultMQPushConsumer pushConsumer(String group) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(NAMESRV_ADDR);
        consumer.setInstanceName(instance());
        consumer.setPollNameServerInterval(POLL_ROUTES_MS);
        consumer.setHeartbeatBrokerInterval(HEARTBEAT_MS);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        defer(consumer::shutdown);
        return consumer;
    }

    DefaultLitePullConsumer litePullConsumer(String group) {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(group);
        consumer.setNamesrvAddr(NAMESRV_ADDR);
        consumer.setInstanceName(instance());
        consumer.setPollNameServerInterval(POLL_ROUTES_MS);
        consumer.setHeartbeatBrokerInterval(HEARTBEAT_MS);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPullThreadNums(4);
        defer(consumer::shutdown);
        return consumer;
    }

    /** The queues of topic that consumer currently works on. */
    static Set<MessageQueue> owned(DefaultMQPushConsumer consumer, String topic) {
        Set<MessageQueue> queues = new HashSet<>();
        var table = consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable();
        table.forEach((queue, state) -> {
            if (queue.getTopic().equals(topic) && !state.isDropped()) {
                queues.add(queue);
            }
        });
        return queues;
    }

    static Message message(String topic, String tag, String id) {
        return new Message(topic, tag, id, ("body of " + id).getBytes(StandardCharsets.UTF_8));
    }

    /** The id given to message(). */
    static String id(MessageExt message) {
        return message.getKeys();
    }

    static SendResult sendOk(DefaultMQProducer producer, Message message) throws Exception {
        SendResult result = producer.send(message);
        check(result.getSendStatus() == SendStatus.SEND_OK, "send of %s: %s", message.getKeys(), result);
        return result;
    }

    /** Polls until count messages came or the deadline passed. */
    List<MessageExt> poll(DefaultLitePullConsumer consumer, int count, int seconds) throws Exception {
        List<MessageExt> got = new ArrayList<>();
        await("poll of " + count + " messages", seconds, () -> {
            got.addAll(consumer.poll(100));
            return got.size() >= count;
        });
        return got;
    }
}
