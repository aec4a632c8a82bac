package clients;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * A queue's minimum and maximum, the offset of a point in time, the earliest store time, and a push consumer's
 * committed offset, which its successor in the group starts from.
 */
final class Offsets implements Job {
    private static final int COUNT = 40;
    private static final int APART_MS = 5;

    @Override
    public String run(Env env) throws Exception {
        String topic = env.topic("t", 1);
        DefaultMQProducer producer = env.producer();
        MessageQueue queue = producer.fetchPublishMessageQueues(topic).get(0);
        Env.check(producer.minOffset(queue) == 0 && producer.maxOffset(queue) == 0, "an empty queue is not 0..0");

        for (int i = 0; i < COUNT; i++) {
            Env.check(producer.send(Env.message(topic, "", "m" + i), queue).getQueueOffset() == i, "offset of m%d", i);
            Thread.sleep(APART_MS); // so that their store times differ
        }
        Env.check(producer.minOffset(queue) == 0, "min %d", producer.minOffset(queue));
        Env.check(producer.maxOffset(queue) == COUNT, "max %d", producer.maxOffset(queue));

        List<Long> storeTimes = storeTimes(env, queue);
        long earliest = producer.earliestMsgStoreTime(queue);
        Env.check(earliest == storeTimes.get(0), "earliest %d, first message stored %d", earliest, storeTimes.get(0));
        int searched = 0;
        for (int i = 1; i < COUNT; i++) {
            if (storeTimes.get(i) > storeTimes.get(i - 1)) {
                long found = producer.searchOffset(queue, storeTimes.get(i));
                Env.check(found == i, "time of message %d gives offset %d", i, found);
                searched++;
            }
        }
        Env.check(searched > COUNT / 2, "only %d store times differ", searched);
        long before = producer.searchOffset(queue, storeTimes.get(0) - 60_000);
        Env.check(before == 0, "a time before the first gives %d", before);
        long after = producer.searchOffset(queue, storeTimes.get(COUNT - 1) + 60_000);
        Env.check(after == COUNT || after == COUNT - 1, "a time after the last gives %d", after);

        successorGoesOn(env, producer, topic, queue);
        return "min, max, " + searched + " searches by time, earliest store time; committed offset outlives a consumer";
    }

    private static List<Long> storeTimes(Env env, MessageQueue queue) throws Exception {
        DefaultLitePullConsumer reader = env.litePullConsumer(env.name("reader"));
        reader.start();
        reader.assign(List.of(queue));
        reader.seekToBegin(queue);
        List<Long> times = new ArrayList<>();
        for (MessageExt message : env.poll(reader, COUNT, 40)) {
            times.add(message.getStoreTimestamp());
        }
        reader.shutdown();
        return times;
    }

    private static void successorGoesOn(Env env, DefaultMQProducer producer, String topic, MessageQueue queue)
        throws Exception {
        Tally first = new Tally();
        DefaultMQPushConsumer consumer = listen(env, topic, first);
        env.await("the first consumer read all", 30, () -> first.distinct() == COUNT);
        consumer.shutdown(); // commits
        Env.sendOk(producer, Env.message(topic, "", "later"));
        Tally second = new Tally();
        listen(env, topic, second);
        env.await("the successor got the later message", 30, () -> second.hasAll(Set.of("later")));
        Env.check(second.distinct() == 1, "the successor got %d messages again", second.distinct() - 1);
    }

    private static DefaultMQPushConsumer listen(Env env, String topic, Tally tally) throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer(env.name("g"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> tally.add(Env.id(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }
}
