import { KeyfleetError } from '../base/errors.ts';
import { GIB, KIB, MIB } from '../base/units.ts';

/** The settings of the RESP door, as CONFIG GET and CONFIG SET name them where Redis has them too. Changed at run time by CONFIG SET. */
export interface RespSettings {
  /** Connections at once; one more is told so and closed. */
  maxclients: number;
  /** Seconds without a request after which a connection is closed; 0: never. */
  timeout: number;
  /** The password; empty: none is asked for. */
  requirepass: string;
  /** The longest argument of a request. */
  'proto-max-bulk-len': number;
  /** The most received bytes that wait: for the rest of their request, or since MULTI for EXEC. */
  'client-query-buffer-limit': number;
  /** Bytes waiting for a client above which it is closed. Reading from it stops at `client-output-pause-bytes`, so only large replies get here. */
  'client-output-hard-bytes': number;
  /** Bytes waiting for a client above which no more of its requests are read. */
  'client-output-pause-bytes': number;
  /** Seconds in which a client takes none of the bytes that wait for it, after which it is closed; 0: never. */
  'client-output-stall-timeout': number;
  /** Requests of one connection that run at once; the others wait, unread. */
  'client-pipeline-limit': number;
  /** Seconds of silence after which TCP asks whether the other side is still there; 0: never. */
  'tcp-keepalive': number;
}

export const DEFAULT_RESP_SETTINGS: Readonly<RespSettings> = {
  maxclients: 10_000,
  timeout: 0,
  requirepass: '',
  'proto-max-bulk-len': 512 * MIB,
  'client-query-buffer-limit': GIB,
  'client-output-hard-bytes': GIB,
  'client-output-pause-bytes': MIB,
  'client-output-stall-timeout': 60,
  'client-pipeline-limit': 1_024,
  'tcp-keepalive': 300,
};

type NumberName = Exclude<keyof RespSettings, 'requirepass'>;

/** Bounds of the numeric settings, and which take sizes such as `64mb`. */
const NUMBERS: Readonly<Record<NumberName, { readonly min: number; readonly max: number; readonly isSize?: boolean }>> = {
  maxclients: { min: 1, max: 2 ** 32 - 1 },
  timeout: { min: 0, max: 2 ** 31 - 1 },
  'proto-max-bulk-len': { min: MIB, max: 512 * MIB, isSize: true },
  'client-query-buffer-limit': { min: MIB, max: 2 ** 40, isSize: true },
  'client-output-hard-bytes': { min: MIB, max: 2 ** 40, isSize: true },
  'client-output-pause-bytes': { min: KIB, max: 2 ** 40, isSize: true },
  'client-output-stall-timeout': { min: 0, max: 2 ** 31 - 1 },
  'client-pipeline-limit': { min: 1, max: 1_000_000 },
  'tcp-keepalive': { min: 0, max: 2 ** 31 - 1 },
};

const UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, k: 1_000, kb: KIB, m: 1_000_000, mb: MIB, g: 1_000_000_000, gb: GIB };

export const SETTING_NAMES: readonly (keyof RespSettings)[] = ['requirepass', ...(Object.keys(NUMBERS) as NumberName[])];

export function isSettingName(name: string): name is keyof RespSettings {
  return name === 'requirepass' || Object.hasOwn(NUMBERS, name);
}

/** What CONFIG GET shows. */
export function showSetting(settings: RespSettings, name: keyof RespSettings): string {
  return String(settings[name]);
}

/**
 * Reads `text` as the value of a setting and returns the call that puts it in place, or the words of Redis for what is wrong with it.
 */
export function parseSetting(name: keyof RespSettings, text: string): { readonly apply: (settings: RespSettings) => void } | string {
  if (name === 'requirepass') {
    return { apply: (settings) => void (settings.requirepass = text) };
  }
  const { min, max, isSize } = NUMBERS[name];
  const match = (isSize ? /^(-?\d+)([a-z]*)$/i : /^(-?\d+)()$/).exec(text);
  const unit = match && UNITS[match[2]!.toLowerCase()];
  if (!match || unit === undefined || unit === null) {
    return isSize ? 'argument must be a memory value' : "argument couldn't be parsed into an integer";
  }
  const value = Number(match[1]) * unit;
  if (!(value >= min && value <= max)) return `argument must be between ${min} and ${max} inclusive`;
  return { apply: (settings) => void (settings[name] = value) };
}

/**
 * The defaults with `given` laid over them.
 * @throws {KeyfleetError} `KF_RESP_SETTING`, naming the setting and its bounds.
 */
export function respSettings(given: Partial<RespSettings> = {}): RespSettings {
  const settings: RespSettings = { ...DEFAULT_RESP_SETTINGS };
  for (const [name, value] of Object.entries(given)) {
    if (!isSettingName(name)) throw new KeyfleetError('KF_RESP_SETTING', `no RESP setting is called ${name}`);
    const parsed = parseSetting(name, String(value));
    if (typeof parsed === 'string') throw new KeyfleetError('KF_RESP_SETTING', `RESP setting ${name} = ${value}: ${parsed}`);
    parsed.apply(settings);
  }
  return settings;
}
