import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.FileReader;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;

/** Debezium Engine to JSON, into a consumer that counts and discards. Arguments: file of properties, number of records. */
class Drain {
    static long cpuMicros() {
        var system = (com.sun.management.OperatingSystemMXBean) java.lang.management.ManagementFactory.getOperatingSystemMXBean();
        return system.getProcessCpuTime() / 1000;
    }

    public static void main(String[] arguments) throws Exception {
        var properties = new Properties();
        properties.load(new FileReader(arguments[0]));
        long wanted = Long.parseLong(arguments[1]), half = wanted / 2;
        var finished = new CountDownLatch(1);
        long[] at = new long[6]; // records; time and processor time at the first, in the middle, at the end
        var engine = DebeziumEngine.create(Json.class).using(properties).notifying(
            new DebeziumEngine.ChangeConsumer<ChangeEvent<String, String>>() {
                public void handleBatch(List<ChangeEvent<String, String>> records,
                        DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) throws InterruptedException {
                    if (at[0] == 0) { at[1] = System.nanoTime(); at[2] = cpuMicros(); }
                    long before = at[0];
                    for (var record : records) {
                        if (record.value() != null) at[0]++;
                        committer.markProcessed(record);
                    }
                    committer.markBatchFinished();
                    if (before < half && at[0] >= half) { at[3] = System.nanoTime(); at[4] = cpuMicros(); at[5] = at[0]; }
                    if (at[0] >= wanted && finished.getCount() > 0) {
                        double seconds = (System.nanoTime() - at[1]) / 1e9, warm = (System.nanoTime() - at[3]) / 1e9;
                        long now = cpuMicros();
                        System.out.printf(java.util.Locale.ROOT,
                            "{\"rows\":%d,\"rowsPerSecond\":%.0f,\"cpuMicrosPerRow\":%.1f,\"warmRowsPerSecond\":%.0f,\"warmCpuMicrosPerRow\":%.1f}%n",
                            at[0], at[0] / seconds, (now - at[2]) / (double) at[0], (at[0] - at[5]) / warm,
                            (now - at[4]) / (double) (at[0] - at[5]));
                        finished.countDown();
                    }
                }
            }).using((ok, message, error) -> {
                if (finished.getCount() > 0) { System.err.println(message + " " + error); System.exit(1); }
            }).build();
        new Thread(engine).start();
        finished.await();
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
