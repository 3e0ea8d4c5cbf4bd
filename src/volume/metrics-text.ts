import { Counter, Gauge, Registry } from 'prom-client';

/** Numbers as Prometheus text; those whose name ends in `_total` only grow. */
export async function metricsText(
  values: readonly {
    readonly name: string;
    readonly help: string;
    readonly samples: readonly { readonly labels?: Record<string, string>; readonly value: number }[];
  }[],
): Promise<string> {
  const registry = new Registry();
  for (const { name, help, samples } of values) {
    const options = { name, help, registers: [registry], labelNames: Object.keys(samples[0]?.labels ?? {}) };
    if (name.endsWith('_total')) {
      const counter = new Counter(options);
      for (const { labels, value } of samples) counter.inc(labels ?? {}, value);
    } else {
      const gauge = new Gauge(options);
      for (const { labels, value } of samples) gauge.set(labels ?? {}, value);
    }
  }
  return registry.metrics();
}
