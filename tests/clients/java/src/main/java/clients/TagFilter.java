package clients;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** A subscription "red || AaTag" gets these tags and no other: neither BBTag, which has AaTag's hash, nor untagged ones. */
final class TagFilter implements Job {
    private static final int ROUNDS = 40;
    private static final List<String> TAGS = List.of("red", "AaTag", "green", "BBTag", "");
    private static final Set<String> WANTED = Set.of("red", "AaTag");

    @Override
    public String run(Env env) throws Exception {
        Env.check("AaTag".hashCode() == "BBTag".hashCode(), "the tags do not collide");
        String topic = env.topic("t", 4);
        DefaultMQProducer producer = env.producer();
        Set<String> wanted = new HashSet<>();
        send(env, producer, topic, "early", wanted);
        Tally tally = new Tally();
        Tally plain = new Tally();
        listen(env, topic, "red || AaTag", tally);
        listen(env, topic, "green", plain);
        env.await("the stored ones that match", 40, () -> tally.hasAll(wanted) && plain.distinct() == ROUNDS);
        // These meet pulls that wait at the broker: a message that does not match must not answer them.
        send(env, producer, topic, "late", wanted);
        env.await("all that match", 40, () -> tally.hasAll(wanted) && plain.distinct() == 2 * ROUNDS);
        Env.check(tally.ids().equals(wanted), "unwanted ones came: %s", tally.missingOf(Set.of()));
        Env.check(tally.duplicates() + plain.duplicates() == 0, "duplicates");
        return wanted.size() + " of " + 2 * ROUNDS * TAGS.size() + " match and came, no other";
    }

    private static void send(Env env, DefaultMQProducer producer, String topic, String prefix, Set<String> wanted)
        throws Exception {
        for (int i = 0; i < ROUNDS; i++) {
            for (String tag : TAGS) {
                String id = prefix + "-" + i + "-" + tag;
                Env.sendOk(producer, Env.message(topic, tag, id));
                if (WANTED.contains(tag)) {
                    wanted.add(id);
                }
            }
        }
    }

    private static void listen(Env env, String topic, String expression, Tally tally) throws Exception {
        DefaultMQPushConsumer consumer = env.pushConsumer(env.name("g" + expression.length()));
        consumer.subscribe(topic, expression);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> tally.add(Env.id(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }
}
