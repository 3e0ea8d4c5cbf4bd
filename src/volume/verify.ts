import type { Bytes } from '../base/bytes.ts';
import { messageOf } from '../base/errors.ts';
import type { Master } from './master.ts';
import type { VolumeRecord } from './metakeys.ts';
import { fileName } from './value-paths.ts';

/** A difference between the metakeys and the volumes. */
export type VerifyFinding =
  | { readonly kind: 'damaged'; readonly volume: string; readonly name: string; readonly message: string }
  /** A metakey refers to a copy that is not there. */
  | { readonly kind: 'missing'; readonly volume: string; readonly key: Bytes }
  /** The copy is not what the metakey says: an older value, or a newer one whose write never ended. */
  | { readonly kind: 'different'; readonly volume: string; readonly key: Bytes }
  /** A file that no metakey refers to. */
  | { readonly kind: 'unreferred'; readonly volume: string; readonly key: Bytes }
  | { readonly kind: 'unavailable'; readonly volume: string; readonly message: string };

export type VerifyEvent = VerifyFinding | { readonly kind: 'progress'; readonly files: number };

/**
 * Reads every value of every volume against its checksums and compares volumes and metakeys both ways. With `repair`, bad copies are made
 * anew from their replicas and files that nobody refers to are removed. Values written or moved meanwhile are looked at twice before
 * anything is said of them. Memory: the file names of the volume under way.
 */
export async function* verify(master: Master, options: { readonly repair: boolean }): AsyncGenerator<VerifyEvent, void> {
  let files = 0;
  for (const volume of master.metakeys.volumes.filter(({ state }) => state !== 'lost')) {
    const sound = new Set<string>();
    const damaged = new Set<string>();
    try {
      for await (const event of filesOf(master, volume, { sound, damaged, repair: options.repair })) {
        if (event === undefined) {
          if (++files % 1_000 === 0) yield { kind: 'progress', files };
        } else yield event;
      }
      yield* metakeysOf(master, volume, { sound, damaged, repair: options.repair });
    } catch (error) {
      yield { kind: 'unavailable', volume: volume.address, message: messageOf(error) };
    }
  }
  yield { kind: 'progress', files };
}

interface Look {
  readonly sound: Set<string>;
  readonly damaged: Set<string>;
  readonly repair: boolean;
}

/** Each file of a volume: is it sound, and does a metakey refer to it? `undefined` for each one looked at. */
async function* filesOf(
  master: Master,
  volume: VolumeRecord,
  { sound, damaged, repair }: Look,
): AsyncGenerator<VerifyFinding | undefined, void> {
  for await (const listed of master.clients.of(volume.number).list({ verify: true })) {
    yield undefined;
    if ('error' in listed) {
      damaged.add(listed.name);
      yield { kind: 'damaged', volume: volume.address, name: listed.name, message: listed.message };
      continue;
    }
    const { key, version, sha256 } = listed;
    sound.add(listed.name);
    const before = master.metakeys.get(key);
    if (before?.volumes.includes(volume.number) && (before.deleting || before.sha256 === sha256)) continue;
    if (master.isUnderWay({ volume: volume.number, key, version })) continue;
    // The list is a little old: look again before anything is said.
    const found = await master.clients.of(volume.number).head(key);
    const metakey = master.metakeys.get(key);
    if (found === undefined || metakey?.deleting || master.isUnderWay({ volume: volume.number, key, version: found.version })) continue;
    const isReferred = metakey?.volumes.includes(volume.number) === true;
    if (isReferred && metakey.sha256 === found.sha256) continue;
    yield { kind: isReferred ? 'different' : 'unreferred', volume: volume.address, key };
    if (!repair) continue;
    if (isReferred && found.version < metakey.version) await master.dropCopy(metakey, volume.number);
    else await master.suspects.clear([{ volume: volume.number, key, version: found.version }]);
  }
}

/** Each metakey that refers to a volume: is its file there? */
async function* metakeysOf(master: Master, volume: VolumeRecord, { sound, damaged, repair }: Look): AsyncGenerator<VerifyFinding, void> {
  let after: Bytes | undefined;
  do {
    const page = master.metakeys.page(after, 1_000);
    for (const metakey of page.metakeys) {
      const name = fileName(metakey.key);
      if (metakey.deleting || !metakey.volumes.includes(volume.number) || sound.has(name)) continue;
      if (!damaged.has(name)) {
        const head = await master.clients.of(volume.number).fetch('HEAD', metakey.key, {});
        await head.body.dump();
        const now = master.metakeys.get(metakey.key);
        if (head.status === 200 || now?.version !== metakey.version || !now.volumes.includes(volume.number)) continue;
        yield { kind: 'missing', volume: volume.address, key: metakey.key };
      }
      if (repair) await master.dropCopy(metakey, volume.number);
    }
    after = page.next;
    await new Promise((resolve) => setImmediate(resolve));
  } while (after !== undefined);
}
