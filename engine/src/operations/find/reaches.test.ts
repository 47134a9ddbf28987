import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Reaches, type ReachesOptions } from './reaches.ts';

const segment = 1n << 20n;
const at = (segments: number) => BigInt(Math.round(segments * 100)) * (segment / 100n);

/** Backups by the ends of their WAL, in segments; timeline 2 left 1 at 6.5. `read` counts. */
function given(
  pieces: readonly (readonly [number, number, number])[],
  ends: Readonly<Record<string, readonly [number, number]>>,
) {
  const read: string[] = [];
  const options = {
    database: 'main',
    gaps: [],
    pieces: pieces.map(([line, begin, end]) => ({ line, begin: at(begin), end: at(end) })),
    histories: new Map([['00000002.history', Buffer.from(`1\t0/${at(6.5).toString(16)}\tx\n`)]]),
    repository: {
      backups: async () => Object.keys(ends).map((id) => ({ database: 'main', id })),
      summary: async (_: string, id: string) => {
        read.push(id);
        const [timeline, end] = ends[id]!;
        return { id, facts: { ...physical, timeline, walEnd: `0/${at(end).toString(16).toUpperCase()}` } };
      },
    },
  };
  return { read, reaches: new Reaches(options as unknown as ReachesOptions) };
}

const physical = {
  method: 'physical',
  systemId: '1',
  serverVersion: 180000,
  serverVersionText: '18',
  server: 'x',
  fromStandby: false,
  superuser: 'p',
  startLsn: '0/1',
  stopLsn: '0/1',
  walSegmentSize: Number(segment),
  dataChecksums: false,
  tablespaces: [],
  transfer: 'all',
  checksumsVerified: true,
  fingerprint: { state: 'taken', tables: 0, skipped: 0 },
  warnings: [],
};

const place = (timeline: number, segments: number) => ({
  timeline,
  lsn: at(segments),
  end: at(segments) + 40n,
});

test('transactions before each backup, behind a gap, before and after a failover – a backup leads there or not, and why', async () => {
  const wal = [
    [1, 0, 3],
    [1, 4, 8],
    [2, 6, 9],
  ] as const;
  const { reaches } = given(wal, { first: [1, 1.5], second: [1, 5.5] });
  const places = [place(1, 1), place(1, 2), place(1, 4.5), place(1, 6), place(1, 7), place(2, 8)];
  const judged = await reaches.judge(places, 2);
  assert.deepEqual(
    judged.map(({ isPast }) => isPast),
    [false, false, false, false, true, false],
  );
  assert.deepEqual(
    judged.map(({ unreachable }) => unreachable?.replace(/0\/[0-9A-F]+/, 'LSN')),
    [
      'no backup that is there ended before it',
      undefined,
      'from the backup before it, first, stored WAL leads to LSN only',
      undefined,
      undefined,
      undefined,
    ],
  );
});

test('a few newest transactions and many backups – only the newest backups are read', async () => {
  const ends = Object.fromEntries(
    Array.from({ length: 50 }, (_, i) => [`b${i + 10}`, [1, 1 + i / 10] as const]),
  );
  const { reaches, read } = given([[1, 0, 6.5]], ends);
  const [judged] = await reaches.judge([place(1, 6.2)], 1);
  assert.equal(judged!.unreachable, undefined);
  assert.ok(read.length < 10, read.join());
});
