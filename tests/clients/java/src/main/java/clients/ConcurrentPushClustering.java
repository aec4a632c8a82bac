package clients;

import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Two push consumers of one group share the queues; when one leaves the other takes over at once (the broker tells
 * it, the 20 s timer of the client is not waited for); messages sent all the while are all consumed.
 */
final class ConcurrentPushClustering implements Job {
    private static final int QUEUES = 8;
    private static final int PACE_MS = 5;
    private static final int REBALANCE_S = 12;

    @Override
    public String run(Env env) throws Exception {
        String topic = env.topic("t", QUEUES);
        String group = env.name("g");
        Tally tally = new Tally();
        Set<String> bySecond = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer first = consumer(env, group, topic, tally, ConcurrentHashMap.newKeySet());
        first.start();
        DefaultMQProducer producer = env.producer();
        Set<MessageQueue> all = new HashSet<>(producer.fetchPublishMessageQueues(topic));
        env.await("the first consumer has every queue", REBALANCE_S, () -> Env.owned(first, topic).equals(all));

        Set<String> sent = ConcurrentHashMap.newKeySet();
        AtomicBoolean stop = new AtomicBoolean();
        AtomicReference<Exception> failure = new AtomicReference<>();
        Thread sender = new Thread(() -> {
            try {
                for (int i = 0; !stop.get(); i++) {
                    Env.sendOk(producer, Env.message(topic, "", "m" + i));
                    sent.add("m" + i);
                    Thread.sleep(PACE_MS);
                }
            } catch (Exception e) {
                failure.set(e);
            }
        });
        env.defer(() -> stop.set(true));
        sender.start();

        DefaultMQPushConsumer second = consumer(env, group, topic, tally, bySecond);
        second.start();
        env.await("two consumers share the queues", REBALANCE_S, () -> {
            Set<MessageQueue> one = Env.owned(first, topic);
            Set<MessageQueue> two = Env.owned(second, topic);
            Set<MessageQueue> both = new HashSet<>(one);
            both.addAll(two);
            return one.size() == all.size() / 2 && two.size() == all.size() - one.size() && both.equals(all);
        });
        env.await("the second consumer gets messages", REBALANCE_S, () -> !bySecond.isEmpty());
        second.shutdown();
        env.await("the first consumer has every queue again", REBALANCE_S, () -> Env.owned(first, topic).equals(all));
        int soFar = sent.size();
        env.await("messages after the hand-over", REBALANCE_S, () -> sent.size() >= soFar + all.size() * 4);
        stop.set(true);
        sender.join();
        if (failure.get() != null) {
            throw failure.get();
        }
        env.await("all consumed", 30, () -> tally.hasAll(sent));
        return sent.size() + " sent and consumed, " + tally.duplicates() + " twice at the hand-overs, "
            + bySecond.size() + " by the second consumer";
    }

    private static DefaultMQPushConsumer consumer(Env env, String group, String topic, Tally tally, Set<String> own)
        throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                own.add(Env.id(message));
                tally.add(Env.id(message));
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return consumer;
    }
}
