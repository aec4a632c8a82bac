package clients;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/**
 * Java mqadmin's commands, run as an operator runs them; each job checks the table that one command prints.
 * What the cluster looks like is taken from clusterList. EXPECT_BROKERS, when set, is the number of its rows.
 */
final class AdminTables {
    private static final int QUEUES = 6;
    private static final int COUNT = 30;

    private interface Check extends Job {
        @Override
        default boolean alone() {
            return true; // what is printed is caught from the process's output
        }
    }

    private record Row(String cluster, String broker, int id, String address, String version) {
    }

    private AdminTables() {
    }

    static Map<String, Job> jobs() {
        Map<String, Job> jobs = new LinkedHashMap<>();
        jobs.put("clusterList", (Check) AdminTables::clusterList);
        jobs.put("updateTopic", (Check) AdminTables::updateTopic);
        jobs.put("topicRoute", (Check) AdminTables::topicRoute);
        jobs.put("topicStatus", (Check) AdminTables::topicStatus);
        jobs.put("consumerProgress", (Check) AdminTables::consumerProgress);
        jobs.put("queryMsgById", (Check) AdminTables::queryMsgById);
        return jobs;
    }

    private static String clusterList(Env env) throws Exception {
        String expected = Env.setting("EXPECT_BROKERS", "");
        List<Row> rows = new ArrayList<>();
        env.await("clusterList", 20, () -> {
            rows.clear();
            rows.addAll(cluster(env));
            Env.check(expected.isEmpty() || rows.size() == Integer.parseInt(expected), "%d rows, %s expected", rows.size(),
                expected);
            return true;
        });
        Set<String> addresses = new HashSet<>();
        for (Row row : rows) {
            Env.check(row.address.matches("[0-9.]+:[0-9]+") && addresses.add(row.address), "address in %s", row);
            Env.check(row.version.matches("V[0-9]_[0-9]+_[0-9]+.*"), "version in %s", row);
        }
        Set<String> names = new HashSet<>();
        rows.forEach(row -> names.add(row.broker));
        Env.check(masters(rows).size() == names.size(), "not one BID 0 for each broker name: %s", rows);
        return rows.size() + " rows, " + names.size() + " with BID 0, " + rows.get(0).version;
    }

    private static String updateTopic(Env env) throws Exception {
        List<Row> rows = cluster(env);
        String said = updateTopic(env, rows, env.name("t"));
        for (Row master : masters(rows)) {
            Env.check(said.contains("create topic to " + master.address + " success."), "no success at %s", master);
        }
        Env.check(said.contains("TopicConfig [topicName=" + env.name("t") + ", readQueueNums=" + QUEUES
            + ", writeQueueNums=" + QUEUES + ", perm=RW-"), "no TopicConfig line");
        return "made at " + masters(rows).size() + " brokers with BID 0";
    }

    private static String topicRoute(Env env) throws Exception {
        List<Row> rows = cluster(env);
        String topic = env.name("t");
        updateTopic(env, rows, topic);
        String[] said = {""};
        env.await("route", 20, () -> {
            said[0] = mqadmin(env, "topicRoute", "-t", topic).replaceAll("\\s", "");
            return said[0].contains("\"queueDatas\":[{");
        });
        for (Row row : rows) {
            Env.check(said[0].matches(".*\"?" + row.id + "\"?:\"" + row.address + "\".*"), "%s not in the route", row);
            Env.check(said[0].contains("\"brokerName\":\"" + row.broker + "\""), "%s not in the route", row);
            Env.check(said[0].contains("\"cluster\":\"" + row.cluster + "\""), "%s not in the route", row);
        }
        for (String fact : List.of("\"readQueueNums\":" + QUEUES, "\"writeQueueNums\":" + QUEUES, "\"perm\":6")) {
            Env.check(said[0].split(fact, -1).length == masters(rows).size() + 1, "%s not once a broker name", fact);
        }
        tableIsWhole(env, rows);
        return rows.size() + " addresses, " + QUEUES + " queues";
    }

    /** Brokers register these by themselves: they are there when the whole table has arrived, not only a new topic. */
    private static void tableIsWhole(Env env, List<Row> rows) throws Exception {
        for (String topic : List.of(rows.get(0).cluster, "SELF_TEST_TOPIC")) {
            String said = mqadmin(env, "topicRoute", "-t", topic).replaceAll("\\s", "");
            for (Row master : masters(rows)) {
                Env.check(said.contains("\"brokerName\":\"" + master.broker + "\""), "%s lacks %s: %s", topic, master.broker, said);
            }
        }
    }

    private static String topicStatus(Env env) throws Exception {
        List<Row> rows = cluster(env);
        String topic = env.name("t");
        updateTopic(env, rows, topic);
        send(env, topic);
        String said = mqadmin(env, "topicStatus", "-t", topic);
        header(said, "#Broker Name", "#QID", "#Min Offset", "#Max Offset", "#Last Updated");
        long messages = 0;
        Set<String> queues = new HashSet<>();
        for (String[] cells : table(said, "#Broker Name")) {
            Env.check(queues.add(cells[0] + " " + cells[1]), "%s %s twice", cells[0], cells[1]);
            long count = Long.parseLong(cells[3]) - Long.parseLong(cells[2]);
            Env.check(count == 0 || cells[4].matches("20[0-9-]+"), "no time of the last message: %s", List.of(cells));
            messages += count;
        }
        Env.check(queues.size() == QUEUES * masters(rows).size(), "%d queues", queues.size());
        Env.check(messages == COUNT, "%d sent, %d in the table", COUNT, messages);
        return queues.size() + " queues, " + messages + " messages";
    }

    private static String consumerProgress(Env env) throws Exception {
        List<Row> rows = cluster(env);
        String topic = env.name("t");
        String group = env.name("g");
        updateTopic(env, rows, topic);
        Tally tally = new Tally();
        send(env, topic);
        DefaultMQPushConsumer consumer = env.pushConsumer(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> tally.add(Env.id(message)));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        env.await("all consumed", 40, () -> tally.distinct() == COUNT);
        env.await("consumerProgress of a live consumer", 20, () -> progress(env, group, topic, rows)[0] == COUNT);
        consumer.shutdown(); // commits
        env.await("consumerProgress shows all as consumed", 20, () -> {
            long[] sum = progress(env, group, topic, rows);
            return sum[0] == COUNT && sum[1] == COUNT && sum[2] == 0;
        });
        send(env, topic);
        env.await("consumerProgress shows the new ones as waiting", 20, () -> {
            long[] sum = progress(env, group, topic, rows);
            return sum[0] == 2 * COUNT && sum[1] == COUNT && sum[2] == COUNT;
        });
        return "consumed " + COUNT + " of " + 2 * COUNT + ", diff total " + COUNT;
    }

    /** Sums of broker offsets, consumer offsets and differences of topic. */
    private static long[] progress(Env env, String group, String topic, List<Row> rows) throws Exception {
        String said = mqadmin(env, "consumerProgress", "-g", group);
        header(said, "#Topic", "#Broker Name", "#QID", "#Broker Offset", "#Consumer Offset", "#Diff", "#LastTime");
        long[] sum = new long[3];
        int queues = 0;
        for (String[] cells : table(said, "#Topic")) {
            if (cells[0].equals(topic)) {
                queues++;
                for (int i = 0; i < sum.length; i++) {
                    sum[i] += Long.parseLong(cells[3 + i]);
                }
            }
        }
        Env.check(queues == QUEUES * masters(rows).size(), "%d queues of %s", queues, topic);
        Env.check(said.contains("Diff Total: " + sum[2]), "Diff Total is not %d", sum[2]);
        return sum;
    }

    private static String queryMsgById(Env env) throws Exception {
        List<Row> rows = cluster(env);
        String topic = env.name("t");
        updateTopic(env, rows, topic);
        SendResult sent = send(env, topic);
        boolean wantsTopic = MQVersion.getVersionDesc(MQVersion.CURRENT_VERSION).startsWith("V5");
        String said = wantsTopic ? mqadmin(env, "queryMsgById", "-t", topic, "-i", sent.getOffsetMsgId())
            : mqadmin(env, "queryMsgById", "-i", sent.getOffsetMsgId());
        Map<String, String> fields = new LinkedHashMap<>();
        for (String line : said.lines().toList()) {
            int colon = line.indexOf(':');
            if (colon > 0) {
                fields.put(line.substring(0, colon).trim(), line.substring(colon + 1).trim());
            }
        }
        Map<String, String> wanted = Map.of("OffsetID", sent.getOffsetMsgId(), "Topic", topic, "Tags", "[tag]", "Keys",
            "[m" + (COUNT - 1) + "]", "Queue ID", Integer.toString(sent.getMessageQueue().getQueueId()),
            "Queue Offset", Long.toString(sent.getQueueOffset()), "Reconsume Times", "0", "System Flag", "0");
        wanted.forEach((field, value) ->
            Env.check(value.equals(fields.get(field)), "%s: %s, wanted %s", field, fields.get(field), value));
        Set<String> addresses = new HashSet<>();
        rows.forEach(row -> addresses.add(row.address));
        Env.check(addresses.contains(fields.get("Store Host")), "Store Host %s", fields.get("Store Host"));
        Env.check(fields.get("Properties").contains("UNIQ_KEY=" + sent.getMsgId()), "%s", fields.get("Properties"));
        return "the message of " + sent.getOffsetMsgId();
    }

    private static List<Row> cluster(Env env) throws Exception {
        String said = mqadmin(env, "clusterList");
        header(said, "#Cluster Name", "#Broker Name", "#BID", "#Addr", "#Version", "#InTPS(LOAD)");
        List<Row> rows = new ArrayList<>();
        for (String[] cells : table(said, "#Cluster Name")) {
            rows.add(new Row(cells[0], cells[1], Integer.parseInt(cells[2]), cells[3], cells[4]));
        }
        Env.check(!rows.isEmpty(), "clusterList has no rows");
        return rows;
    }

    private static List<Row> masters(List<Row> rows) {
        return rows.stream().filter(row -> row.id == 0).toList();
    }

    private static String updateTopic(Env env, List<Row> rows, String topic) throws Exception {
        return mqadmin(env, "updateTopic", "-c", rows.get(0).cluster, "-t", topic, "-r", Integer.toString(QUEUES), "-w",
            Integer.toString(QUEUES));
    }

    /** Sends COUNT messages; returns the last result. */
    private static SendResult send(Env env, String topic) throws Exception {
        DefaultMQProducer producer = env.producer();
        env.await("route of " + topic, 20, () -> !producer.fetchPublishMessageQueues(topic).isEmpty());
        SendResult last = null;
        for (int i = 0; i < COUNT; i++) {
            last = Env.sendOk(producer, Env.message(topic, "tag", "m" + i));
        }
        return last;
    }

    private static void header(String said, String... columns) {
        String head = said.lines().filter(line -> line.startsWith(columns[0])).findFirst().orElse("");
        int at = -1;
        for (String column : columns) {
            int next = head.indexOf(column, at + 1);
            Env.check(next > at, "column %s is not in: %s", column, head);
            at = next;
        }
    }

    /** The rows under the line that begins with firstColumn, down to an empty line, as cells. */
    private static List<String[]> table(String said, String firstColumn) {
        return said.lines().dropWhile(line -> !line.startsWith(firstColumn)).skip(1).takeWhile(line -> !line.isBlank())
            .map(line -> line.trim().split("\\s+")).toList();
    }

    /** Runs one mqadmin command and returns what it printed; an exception in there is a failure. */
    private static String mqadmin(Env env, String... command) throws Exception {
        String[] args = Arrays.copyOf(command, command.length + 2);
        args[command.length] = "-n";
        args[command.length + 1] = Env.NAMESRV_ADDR;
        PrintStream out = System.out;
        PrintStream err = System.err;
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        PrintStream caught = new PrintStream(bytes, true, StandardCharsets.UTF_8);
        System.setOut(caught);
        System.setErr(caught);
        try {
            MQAdminStartup.main0(args, null);
        } finally {
            System.setOut(out);
            System.setErr(err);
        }
        String said = bytes.toString(StandardCharsets.UTF_8);
        env.log("mqadmin %s%n%s", String.join(" ", args), said);
        said.lines().filter(line -> line.contains("Exception")).findFirst().ifPresent(line -> {
            throw new AssertionError("mqadmin " + command[0] + ": " + line);
        });
        return said;
    }
}
