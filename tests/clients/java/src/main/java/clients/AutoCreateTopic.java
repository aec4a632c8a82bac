package clients;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** A send to a topic nobody created makes it, after the template TBW102: four queues, readable and writable. */
final class AutoCreateTopic implements Job {
    private static final int COUNT = 12;
    private static final int DEFAULT_QUEUES = 4;
    private static final int READ_WRITE = 6;

    @Override
    public String run(Env env) throws Exception {
        String topic = env.name("new");
        DefaultMQProducer producer = env.producer();
        Set<String> sent = new HashSet<>();
        for (int i = 0; i < COUNT; i++) {
            Env.sendOk(producer, Env.message(topic, "", "m" + i));
            sent.add("m" + i);
        }
        DefaultMQAdminExt admin = env.admin();
        env.await("route of the new topic", 20, () -> !admin.examineTopicRouteInfo(topic).getQueueDatas().isEmpty());
        for (var queues : admin.examineTopicRouteInfo(topic).getQueueDatas()) {
            Env.check(queues.getReadQueueNums() == DEFAULT_QUEUES && queues.getWriteQueueNums() == DEFAULT_QUEUES
                && queues.getPerm() == READ_WRITE, "route: %s", queues);
        }
        DefaultLitePullConsumer consumer = env.litePullConsumer(env.name("g"));
        consumer.start();
        List<MessageQueue> queues = List.copyOf(consumer.fetchMessageQueues(topic));
        consumer.assign(queues);
        Tally tally = new Tally();
        env.poll(consumer, COUNT, 30).forEach(message -> tally.add(Env.id(message)));
        Env.check(tally.ids().equals(sent), "sent %s, got %s", sent, tally.ids());
        return queues.size() + " queues, " + COUNT + " messages sent and read back";
    }
}
