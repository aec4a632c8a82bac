package clients;

import java.util.HashSet;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/** Two broadcasting consumers of one group each get every message, once. */
final class Broadcasting implements Job {
    private static final int COUNT = 100;

    @Override
    public String run(Env env) throws Exception {
        String topic = env.topic("t", 4);
        Tally first = listen(env, topic);
        Tally second = listen(env, topic);
        DefaultMQProducer producer = env.producer();
        Set<String> sent = new HashSet<>();
        for (int i = 0; i < COUNT; i++) {
            Env.sendOk(producer, Env.message(topic, "", "m" + i));
            sent.add("m" + i);
        }
        env.await("both got all", 40, () -> first.hasAll(sent) && second.hasAll(sent));
        Env.check(first.duplicates() + second.duplicates() == 0, "%d duplicates", first.duplicates() + second.duplicates());
        return COUNT + " sent, each of two consumers got all of them once";
    }

    private static Tally listen(Env env, String topic) throws Exception {
        Tally tally = new Tally();
        DefaultMQPushConsumer consumer = env.pushConsumer(env.name("g"));
        // The enum has another package in each client version: reached without naming it.
        var clustering = consumer.getMessageModel();
        consumer.setMessageModel(Enum.valueOf(clustering.getDeclaringClass(), "BROADCASTING"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> tally.add(Env.id(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return tally;
    }
}
