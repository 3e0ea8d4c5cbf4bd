/** Where each dialect of ketama puts the points of its servers. The arithmetic is that of the originals, single precision included. */
import { KeyfleetError } from '../base/errors.ts';
import { type HashkitName, hashkit } from './hash/hashkit.ts';
import { loaded, loadText } from './hash/key-bytes.ts';
import { md5, md5Words } from './hash/md5.ts';
import type { Hasher, KeyInput } from './hasher.ts';

/**
 * - `twemproxy`: 160 points a server by share of the weights, from MD5; keys by any of its hashes (`fnv1a_64` when absent).
 * - `libmemcached`: 100 points a server, weights ignored; points and keys by one hash (`one_at_a_time` when absent).
 * - `libmemcached-weighted`: as twemproxy, with libmemcached's rounding (`one_at_a_time` when absent).
 * - `libmemcached-spy`, `libmemcached-spy-weighted`: as these two, but points named as spymemcached names them, `/host:port-0`.
 * - `go-ketama`: Perl's Algorithm::ConsistentHash::Ketama and Go's go-ketama; keys by MD5.
 * - `hashring`: npm hashring 3 and Python's hash_ring; keys by the same digest as points.
 */
export type KetamaDialect =
  | 'twemproxy'
  | 'libmemcached'
  | 'libmemcached-weighted'
  | 'libmemcached-spy'
  | 'libmemcached-spy-weighted'
  | 'go-ketama'
  | 'hashring';

export interface KetamaOptions<N> {
  readonly dialect?: KetamaDialect;
  /** The hash of keys. `go-ketama` and `hashring` have their own. */
  readonly hash?: HashkitName;
  /** Two characters, `{}` for example: the part of a key between them decides alone. */
  readonly hashTag?: string;
  /** What a server's points are named after. When absent the id, without a trailing `:11211` for twemproxy and libmemcached (spy apart). */
  readonly nameOf?: (node: N) => string;
  /** For the dialect `hashring`. */
  readonly hashring?: HashRingCompat<N>;
}

/** The options of npm hashring. */
export interface HashRingCompat<N> {
  /** Its `algorithm`; `md5` when absent. A digest of at least 4 × `pointsPerDigest` bytes. */
  readonly hasher?: Hasher;
  /** Its `vnode count`: 40 when absent. */
  readonly virtualNodes?: number;
  /** Its `replicas`: 4 when absent; 3 to agree with Python's hash_ring. */
  readonly pointsPerDigest?: number;
  /** Its `vnodes` of one server, which overrides the weight. */
  readonly virtualNodesOf?: (node: N) => number | undefined;
}

export interface Server {
  readonly name: string;
  readonly weight: number;
  readonly virtualNodes: number | undefined;
}

export interface Point {
  readonly at: number;
  readonly owner: number;
}

export interface KetamaScheme {
  readonly keyHash: (key: KeyInput) => number;
  readonly points: (servers: readonly Server[]) => Point[];
}

export function schemeOf<N>(options: KetamaOptions<N>): KetamaScheme {
  const dialect = options.dialect ?? 'twemproxy';
  switch (dialect) {
    case 'twemproxy':
      return {
        keyHash: hashkit(options.hash ?? 'fnv1a_64', options.hashTag),
        points: (servers) => weightedPoints(servers, twemproxyDigests, ''),
      };
    case 'libmemcached':
    case 'libmemcached-spy':
      return {
        keyHash: hashkit(options.hash ?? 'one_at_a_time', options.hashTag),
        points: plainPoints(hashkit(options.hash ?? 'one_at_a_time'), dialect === 'libmemcached-spy' ? '/' : ''),
      };
    case 'libmemcached-weighted':
    case 'libmemcached-spy-weighted': {
      const prefix = dialect === 'libmemcached-spy-weighted' ? '/' : '';
      return {
        keyHash: hashkit(options.hash ?? 'one_at_a_time', options.hashTag),
        points: (servers) => weightedPoints(servers, libmemcachedDigests, prefix),
      };
    }
    case 'go-ketama':
      return { keyHash: hashkit('md5', options.hashTag), points: (servers) => weightedPoints(servers, goDigests, '') };
    case 'hashring':
      return hashringScheme(options.hashring ?? {});
    default:
      throw new KeyfleetError('KF_BAD_OPTION', `ketama has no dialect ${String(dialect satisfies never)}`);
  }
}

/** How the dialect names a server when the user does not. */
export function defaultName(dialect: KetamaDialect, id: string): string {
  return dialect === 'twemproxy' || dialect === 'libmemcached' || dialect === 'libmemcached-weighted' ? id.replace(/:11211$/, '') : id;
}

const float = Math.fround;

/** Digests of a server, of four points each. */
type Digests = (weight: number, totalWeight: number, serverCount: number) => number;

/** `(float)` throughout, but the small addend is a double: `pct * 160 / 4 * (float)n + 0.0000000001`. */
const twemproxyDigests: Digests = (weight, total, count) => {
  const share = float(float(weight) / float(total));
  return Math.floor(float(float(float(float(share * 160) / 4) * count) + 0.0000000001));
};

/** As twemproxy, but the small addend is a `float` too. */
const libmemcachedDigests: Digests = (weight, total, count) => {
  const share = float(float(weight) / float(total));
  return Math.floor(float(float(float(float(share * 160) / 4) * count) + float(0.0000000001)));
};

/** `int(float32(float64(pct) * 40.0 * n))`, where only the share is a float32. */
const goDigests: Digests = (weight, total, count) => Math.trunc(float(float(float(weight) / float(total)) * 40 * count));

function weightedPoints(servers: readonly Server[], digests: Digests, prefix: string): Point[] {
  const total = servers.reduce((sum, server) => sum + server.weight, 0);
  const words = new Uint32Array(4);
  const points: Point[] = [];
  servers.forEach((server, owner) => {
    const count = digests(server.weight, total, servers.length);
    for (let k = 0; k < count; k++) {
      const length = loadText(`${prefix}${server.name}-${k}`);
      md5Words(loaded, length, words);
      for (const at of words) points.push({ at, owner });
    }
  });
  return points;
}

function plainPoints(hash: (key: KeyInput) => number, prefix: string): (servers: readonly Server[]) => Point[] {
  return (servers) =>
    servers.flatMap((server, owner) => Array.from({ length: 100 }, (_, k) => ({ at: hash(`${prefix}${server.name}-${k}`), owner })));
}

function hashringScheme<N>(options: HashRingCompat<N>): KetamaScheme {
  const hasher = options.hasher ?? md5;
  const standard = options.virtualNodes ?? 40;
  const perDigest = options.pointsPerDigest ?? 4;
  if (!Number.isInteger(perDigest) || perDigest < 1 || 4 * perDigest > hasher.digestBytes)
    throw new KeyfleetError('KF_BAD_OPTION', `${hasher.name} gives 1 to ${hasher.digestBytes >> 2} points a digest, not ${perDigest}`);
  const word = (digest: Uint8Array, at: number): number =>
    (digest[at]! | (digest[at + 1]! << 8) | (digest[at + 2]! << 16) | (digest[at + 3]! << 24)) >>> 0;
  return {
    keyHash: (key) => word(hasher.digest(key), 0),
    points: (servers) => {
      const total = servers.reduce((sum, server) => sum + server.weight, 0);
      return servers.flatMap((server, owner) => {
        const own = server.virtualNodes || standard;
        const count = own === standard ? Math.floor((server.weight / total) * standard * servers.length) : own;
        const points: Point[] = [];
        for (let i = 0; i < count; i++) {
          const digest = hasher.digest(`${server.name}-${i}`);
          for (let j = 0; j < perDigest; j++) points.push({ at: word(digest, 4 * j), owner });
        }
        return points;
      });
    },
  };
}
