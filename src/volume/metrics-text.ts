import { Gauge, Registry } from 'prom-client';

/** Numbers as Prometheus text; names as docs/volumes.md lists them. */
export async function metricsText(
  values: readonly {
    readonly name: string;
    readonly help: string;
    readonly samples: readonly { readonly labels?: Record<string, string>; readonly value: number }[];
  }[],
): Promise<string> {
  const registry = new Registry();
  for (const { name, help, samples } of values) {
    const gauge = new Gauge({ name, help, registers: [registry], labelNames: Object.keys(samples[0]?.labels ?? {}) });
    for (const { labels, value } of samples) gauge.set(labels ?? {}, value);
  }
  return registry.metrics();
}
