import { fromUtf8, utf8 } from '../../base/bytes.ts';
import type { Reply } from '../../shard/redis/reply.ts';
import { REDIS_VERSION } from '../codec/connection-words.ts';
import { infoText } from '../info-text.ts';
import { afterEarlier, atOnce, type LocalCommand } from '../local-command.ts';
import { help, verbatim } from './reply-text.ts';

// INFO, TIME, LOLWUT, OBJECT HELP.

export const SERVER_COMMANDS: readonly (readonly [string, LocalCommand])[] = [
  [
    'info',
    afterEarlier(({ door, args }) =>
      verbatim(
        infoText(
          door,
          args.slice(1).map((arg) => fromUtf8(arg).toLowerCase()),
        ),
      ),
    ),
  ],
  ['time', atOnce(time)],
  ['lolwut', atOnce(({ door }) => verbatim(`Keyfleet ${door.info.version}, speaking Redis ${REDIS_VERSION}\n`))],
  ['object|help', atOnce(({ door, spec }) => help(door.containerOf(spec)))],
];

function time(): Reply {
  const micros = Math.round((performance.timeOrigin + performance.now()) * 1_000);
  return [utf8(String(Math.floor(micros / 1_000_000))), utf8(String(micros % 1_000_000))];
}
