import assert from 'node:assert/strict';
import { test } from 'node:test';
import { physicalFactsWith } from '../../../test/physical-facts.ts';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { commitBytes, recordBytes, walOf } from '../../../test/wal-bytes.ts';
import { formatLsn } from '../../postgres/index.ts';
import { putLogFile } from '../../repository/index.ts';
import { type ResolveOptions, resolveTarget } from './resolve-target.ts';

const segmentSize = 1 << 20;
const at = (segment: number) => BigInt(segment) << 20n;
const filler = recordBytes({ xid: 0, info: 0, resourceManager: 22, body: Buffer.alloc(8000, 7) });
/** About 2.1 MB, a commit, 2.4 MB. */
const wal = walOf(
  [
    ...Array.from({ length: 262 }, () => filler),
    commitBytes(777),
    ...Array.from({ length: 300 }, () => filler),
  ],
  { start: at(3), segmentSize, magic: 0xd118, segments: 5 },
);

/** Pieces, and backups by their ids and the ends of their WAL, as they are stored. */
function given(
  pieces: readonly (readonly [number, number])[],
  backups: Readonly<Record<string, bigint>>,
  histories: Readonly<Record<string, string>> = {},
): Pick<ResolveOptions, 'repository' | 'log'> {
  const places = pieces.map(([begin, end]) => ({ line: 1, begin: at(begin), end: at(end) }));
  const log = {
    pieces: places,
    lines: [1],
    async *bytes({ from, to }: { from: bigint; to: bigint }) {
      yield wal.subarray(Number(from - at(3)), Number(to - at(3)));
    },
  };
  const manifests = new Map(
    Object.entries(backups).map(([id, end]) => {
      const facts = { ...physical, walEnd: formatLsn(end) };
      return [id, { id, database: 'main', method: 'physical', finished: '2026-01-01T00:00:00Z', facts }];
    }),
  );
  const repository = {
    driver: {
      async *list(prefix: string) {
        for (const name of Object.keys(histories))
          if (prefix.includes('history')) yield { name: `${prefix}${name}` };
      },
    },
    backups: async () => [...manifests.keys()].map((id) => ({ database: 'main', id })),
    manifest: async (_: string, id: string) => manifests.get(id),
  };
  return { repository, log } as unknown as Pick<ResolveOptions, 'repository' | 'log'>;
}

const physical = physicalFactsWith({ walSegmentSize: segmentSize });

const resolve = (options: Pick<ResolveOptions, 'repository' | 'log'>, xid: number) =>
  resolveTarget({
    ...options,
    database: 'main',
    target: { kind: 'xid', xid },
    signal: new AbortController().signal,
  });

test('a backup that began first and ended behind a gap, and one that ended before it – a transaction is found with the first', async () => {
  // In order of their ids, which is that of their begins.
  const backups = { first: at(5) + 40n, second: at(3) + 40n };
  const target = await resolve(
    given(
      [
        [3, 4],
        [5, 7],
      ],
      backups,
    ),
    777,
  );
  assert.equal(target.manifest.id, 'first');
});

test('two backups one after the other – a transaction between their ends is found with the older, one after both with the newer', async () => {
  const later = at(5) + 40n;
  const between = given([[3, 7]], { older: at(3) + 40n, newer: at(6) + 40n });
  assert.equal((await resolve(between, 777)).manifest.id, 'older');
  assert.equal(
    (await resolve(given([[3, 7]], { older: at(3) + 40n, newer: later }), 777)).manifest.id,
    'newer',
  );
  await assert.rejects(resolve(between, 778), { code: 'TARGET_UNREACHABLE' });
});

test('a transaction behind a gap, with and without a backup behind it – the gap is told, from where to where', async () => {
  const pieces = [
    [3, 5],
    [6, 7],
  ] as const;
  const told =
    /from 0\/300028 to 0\/500000; there is a gap from 0\/500000 to 0\/600000 \(nobody has recorded why/;
  const older = { older: at(3) + 40n };
  for (const backups of [older, { ...older, newer: at(6) + 40n }])
    await assert.rejects(resolve(given(pieces, backups), 778), {
      code: 'TARGET_UNREACHABLE',
      message: told,
      hint: /docs\/operations\/point-in-time\.md/,
    });
  const whole = given([[3, 7]], { older: at(3) + 40n });
  await assert.rejects(resolve(whole, 778), { message: /from 0\/300028 to 0\/700000$/ });
});

test('the WAL at the end of a timeline that was left is missing – the gap goes to where the next one is stored', async () => {
  const { repository } = await memoryRepository();
  const bytes = Buffer.from('1\t0/680000\tno recovery target specified\n');
  await putLogFile(repository, { database: 'main', kind: 'history', name: '00000002.history', bytes });
  for (const [begin, to] of [
    [6, '0/680000'],
    [8, '0/800000'],
  ] as const) {
    const { log, ...rest } = given([[3, 5]], { older: at(3) + 40n });
    // The former primary went on alone: its WAL is behind the fork.
    const alone = { line: 1, begin: at(7), end: at(8) };
    const pieces = [...log.pieces, alone, { line: 2, begin: at(begin), end: at(9) }];
    const options = {
      repository: { ...rest.repository, driver: repository.driver, ring: repository.ring },
      log: { ...log, pieces, lines: [1, 2] },
    } as unknown as Pick<ResolveOptions, 'repository' | 'log'>;
    await assert.rejects(resolve(options, 778), { message: new RegExp(`gap from 0/500000 to ${to} `) });
  }
});
