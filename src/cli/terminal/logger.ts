import pino, { type Logger } from 'pino';

export type { Logger } from 'pino';

/** The server's log, on standard error: one JSON object a line, or one line of text for people. */
export function createLogger({ level, format }: { readonly level: string; readonly format: 'text' | 'json' }): Logger {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  // Synchronous: the last lines before an exit are the ones that matter most.
  const out = pino.destination({ fd: 2, sync: true });
  return pino(options, format === 'json' ? out : { write: (line: string) => void out.write(`${textLine(line)}\n`) });
}

/** `2026-01-31T12:00:00.000Z info  message  port=7379`. */
export function textLine(json: string): string {
  const { time, level, msg, err, ...fields } = JSON.parse(json) as Readonly<Record<string, unknown>>;
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const stack = (err as { readonly stack?: string } | undefined)?.stack;
  return [`${time} ${String(level).padEnd(5)} ${msg ?? ''}`.trimEnd(), ...shown].join('  ') + (stack ? `\n${stack}` : '');
}
