import { KeyfleetError } from '../../base/errors.ts';
import type { RecordFormat } from './input-records.ts';

export const FORMATS: readonly RecordFormat[] = ['ndjson', 'tsv', 'csv'];

/** The format that `--format` names, or the ending of the file, or NDJSON. @throws KF_USAGE. */
export function formatOf(named: string | undefined, file: string): RecordFormat {
  if (named !== undefined) {
    const format = FORMATS.find((one) => one === named);
    if (!format) throw new KeyfleetError('KF_USAGE', `--format: must be one of ${FORMATS.join(', ')}, not ${JSON.stringify(named)}`);
    return format;
  }
  return FORMATS.find((format) => file.toLowerCase().endsWith(`.${format}`)) ?? 'ndjson';
}
