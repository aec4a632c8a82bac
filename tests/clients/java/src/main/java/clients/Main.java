package clients;

import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs the jobs of one suite in one JVM and prints one line for each: "PASS suite job (n s) summary" or "FAIL ...".
 * Arguments: suite name, log directory, then job names (none: all). Jobs that disturb the cluster run last, alone.
 */
public final class Main {
    private static final int JOBS_AT_ONCE = 4;
    private static final PrintStream REPORT = System.out;
    private static final Map<String, Job> JOBS = new LinkedHashMap<>();

    static {
        // Those that wait longest come first: they overlap with all the others.
        JOBS.put("OrderlyPush", new OrderlyPush());
        JOBS.put("ConcurrentPushClustering", new ConcurrentPushClustering());
        JOBS.put("SyncAsyncOnewaySend", new SyncAsyncOnewaySend());
        JOBS.put("AutoCreateTopic", new AutoCreateTopic());
        JOBS.put("Broadcasting", new Broadcasting());
        JOBS.put("LitePull", new LitePull());
        JOBS.put("TagFilter", new TagFilter());
        JOBS.put("Offsets", new Offsets());
        JOBS.put("ViewMessageById", new ViewMessageById());
        JOBS.put("LeaderKill", new LeaderKill());
        JOBS.putAll(AdminTables.jobs());
    }

    private Main() {
    }

    public static void main(String[] args) throws Exception {
        String suite = args[0];
        Path logDir = Path.of(args[1]);
        Files.createDirectories(logDir);
        List<String> names = args.length > 2 ? List.of(args).subList(2, args.length) : new ArrayList<>(JOBS.keySet());
        boolean good = true;
        ExecutorService pool = Executors.newFixedThreadPool(JOBS_AT_ONCE);
        List<Future<Boolean>> results = new ArrayList<>();
        for (String name : names) {
            if (!JOBS.containsKey(name)) {
                throw new IllegalArgumentException("no job " + name + ", there are " + JOBS.keySet());
            }
            if (!JOBS.get(name).alone()) {
                results.add(pool.submit(() -> runOne(suite, name, JOBS.get(name), logDir)));
            }
        }
        for (Future<Boolean> result : results) {
            good &= result.get();
        }
        for (String name : names) {
            if (JOBS.get(name).alone()) {
                good &= runOne(suite, name, JOBS.get(name), logDir);
            }
        }
        REPORT.flush();
        Runtime.getRuntime().halt(good ? 0 : 1); // client threads that outlive their shutdown must not hold the suite up
    }

    private static boolean runOne(String suite, String name, Job job, Path logDir) throws Exception {
        long start = System.nanoTime();
        Env env = new Env(suite, name, logDir);
        ExecutorService one = Executors.newSingleThreadExecutor(r -> {
            Thread thread = new Thread(r, name);
            thread.setDaemon(true);
            return thread;
        });
        Future<String> running = one.submit(() -> job.run(env));
        boolean good = false;
        String said;
        try {
            said = running.get(job.timeoutSeconds(), TimeUnit.SECONDS);
            good = true;
        } catch (TimeoutException e) {
            said = "gave up after " + job.timeoutSeconds() + " s";
            Thread.getAllStackTraces().forEach((thread, frames) -> {
                if (thread.getName().equals(name)) {
                    env.log("still at %s", List.of(frames));
                }
            });
            running.cancel(true);
        } catch (ExecutionException e) {
            env.log(e.getCause());
            said = String.valueOf(e.getCause().getMessage()).lines().findFirst().orElse(e.getCause().toString());
        }
        long seconds = Math.round((System.nanoTime() - start) / 1e9);
        env.log("%s %s", good ? "PASS" : "FAIL", said);
        REPORT.printf("%s %s %s (%d s) %s%n", good ? "PASS" : "FAIL", suite, name, seconds, said);
        one.shutdownNow();
        env.close();
        return good;
    }
}
