package clients;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;

/** Counts what arrived, by message id. */
final class Tally {
    private final Map<String, Integer> counts = new ConcurrentHashMap<>();

    void add(String id) {
        counts.merge(id, 1, Integer::sum);
    }

    Set<String> ids() {
        return counts.keySet();
    }

    int distinct() {
        return counts.size();
    }

    int duplicates() {
        return counts.values().stream().mapToInt(n -> n - 1).sum();
    }

    Set<String> missingOf(Set<String> wanted) {
        Set<String> missing = new TreeSet<>(wanted);
        missing.removeAll(counts.keySet());
        return missing;
    }

    boolean hasAll(Set<String> wanted) {
        return counts.keySet().containsAll(wanted);
    }
}
