package clients;

/** One small test program: it shows one thing about the cluster. */
public interface Job {
    /** Does the work; returns one line for the report, throws when what it shows does not hold. */
    String run(Env env) throws Exception;

    /** Seconds after which the runner gives the job up. */
    default int timeoutSeconds() {
        return 90;
    }

    /** True when nothing else may run meanwhile (the job disturbs the cluster). */
    default boolean alone() {
        return false;
    }
}
