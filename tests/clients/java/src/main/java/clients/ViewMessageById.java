package clients;

import java.util.Arrays;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The offset id a send returns brings the message back, whole; an id of no message is an error, not a wrong message. */
final class ViewMessageById implements Job {
    private static final int COUNT = 10;

    @Override
    public String run(Env env) throws Exception {
        String topic = env.topic("t", 2);
        DefaultMQProducer producer = env.producer();
        String lastId = null;
        for (int i = 0; i < COUNT; i++) {
            Message message = Env.message(topic, "tag" + i, "m" + i);
            SendResult result = Env.sendOk(producer, message);
            MessageExt seen = producer.viewMessage(topic, result.getOffsetMsgId());
            Env.check(seen.getTopic().equals(topic) && Env.id(seen).equals("m" + i) && seen.getTags().equals("tag" + i)
                && Arrays.equals(seen.getBody(), message.getBody())
                && seen.getQueueId() == result.getMessageQueue().getQueueId()
                && seen.getQueueOffset() == result.getQueueOffset(), "sent %s, seen %s", result, seen);
            lastId = result.getOffsetMsgId();
        }
        // Far behind the end of the log: same address, another position.
        String noId = lastId.substring(0, lastId.length() - 16) + "00FFFFFFFFFFFF00";
        try {
            MessageExt seen = producer.viewMessage(topic, noId);
            throw new AssertionError("an id of no message gave " + seen);
        } catch (MQBrokerException | MQClientException e) {
            env.log(e);
        }
        return COUNT + " messages viewed by id, an id of none refused";
    }
}
