import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notedProgress } from '../../../test/noted-progress.ts';
import { physicalFactsWith } from '../../../test/physical-facts.ts';
import type { ErrorCode } from '../../base/error-codes.ts';
import { HelvinoError } from '../../base/errors.ts';
import { backupId } from '../../base/ids.ts';
import { Reaches, type ReachesOptions } from './reaches.ts';

const segment = 1n << 20n;
const at = (segments: number) => BigInt(Math.round(segments * 100)) * (segment / 100n);
const hourMs = 3_600_000;
/** A segment of WAL is written in an hour: when it was at so many segments. */
const when = (segments: number) => Date.UTC(2026, 0, 1) + segments * hourMs;

interface GivenBackup {
  readonly timeline?: number;
  /** In segments: the time in its id (default: a tenth before the end), and where its WAL ends. */
  readonly began?: number;
  /** Hours that the host's clock is before the server's. */
  readonly ahead?: number;
  readonly end: number;
  /** What reading it throws. */
  readonly broken?: ErrorCode;
  /** By the store's clock (default: when it ended). */
  readonly committed?: number;
}

interface Circumstances {
  readonly unknownLines?: readonly number[];
  readonly signal?: AbortSignal;
}

/** Backups oldest first; timeline 2 left 1 at 6.5. `read` has which were read, by their place in the list. */
function given(
  pieces: readonly (readonly [number, number, number])[],
  backups: readonly GivenBackup[],
  { unknownLines = [], signal = new AbortController().signal }: Circumstances = {},
) {
  const read: number[] = [];
  const { progress, notes } = notedProgress();
  const ids = backups.map(({ began, end, ahead = 0 }) =>
    backupId(new Date(when((began ?? end - 0.1) + ahead))),
  );
  const options = {
    ...{ database: 'main', gaps: [], progress, signal, unknownLines: new Set(unknownLines) },
    pieces: pieces.map(([line, begin, end]) => ({ line, begin: at(begin), end: at(end) })),
    histories: new Map([['00000002.history', Buffer.from(`1\t0/${at(6.5).toString(16)}\tx\n`)]]),
    repository: {
      backups: async () =>
        backups.map(({ end, committed = end }, i) => ({ id: ids[i], committed: new Date(when(committed)) })),
      summary: async (_: string, id: string) => {
        const number = ids.indexOf(id);
        read.push(number);
        const { timeline = 1, end, ahead = 0, broken } = backups[number]!;
        if (broken) throw new HelvinoError(broken, `${broken} at backup ${number}`);
        const walEnd = `0/${at(end).toString(16).toUpperCase()}`;
        const finished = new Date(when(end + ahead)).toISOString();
        return { id, finished, facts: { ...physical, timeline, walEnd } };
      },
    },
  };
  const reaches = new Reaches(options as unknown as ReachesOptions);
  return { read, reaches, notes, ids };
}

const physical = physicalFactsWith({ walSegmentSize: Number(segment) });

const place = (timeline: number, segments: number) => ({
  timeline,
  lsn: at(segments),
  end: at(segments) + 40n,
  time: when(segments) * 1000,
});

const none = 'no backup that is there ended before it';

test('transactions before each backup, behind a gap, before and after a failover – a backup leads there or not, and why', async () => {
  const wal = [
    [1, 0, 3],
    [1, 4, 8],
    [2, 6, 9],
  ] as const;
  const { reaches, ids } = given(wal, [{ end: 1.5 }, { end: 5.5 }]);
  const places = [place(1, 1), place(1, 2), place(1, 4.5), place(1, 6), place(1, 7), place(2, 8)];
  const judged = await reaches.judge(places, 2);
  assert.deepEqual(
    judged.map(({ isPast }) => isPast),
    [false, false, false, false, true, false],
  );
  assert.deepEqual(
    judged.map(({ unreachable }) => unreachable?.replace(/0\/[0-9A-F]+/, 'LSN')),
    [
      none,
      undefined,
      `from the backup before it, ${ids[0]}, stored WAL leads to LSN only`,
      undefined,
      undefined,
      undefined,
    ],
  );
});

/** WAL that is whole up to 100, and one backup for each of `count` segments. */
const hourly = (count: number) => Array.from({ length: count }, (_, i) => ({ end: i + 2 }));

test('many backups – of those that are newer than a transaction none is read, of the others the one that leads there', async () => {
  const { reaches, read } = given([[1, 0, 100]], hourly(50));
  const [judged] = await reaches.judge([place(1, 10.5)], 1);
  assert.equal(judged!.unreachable, undefined);
  assert.deepEqual(read, [8]);
  // Transactions that one backup leads to.
  const several = given([[1, 0, 100]], hourly(50));
  const places = Array.from({ length: 20 }, (_, i) => place(1, 30.5 + i / 100));
  for (const one of await several.reaches.judge(places, 1)) assert.equal(one.unreachable, undefined);
  assert.deepEqual(several.read, [28]);
});

test('many backups, and a transaction before the first or behind a gap – one to three are read', async () => {
  const before = given([[1, 0, 100]], hourly(50));
  assert.equal((await before.reaches.judge([place(1, 1.2)], 1))[0]!.unreachable, none);
  assert.deepEqual(before.read, [0]);
  const wal = [
    [1, 0, 30.2],
    [1, 30.6, 100],
  ] as const;
  const behind = given(wal, hourly(50));
  const [judged] = await behind.reaches.judge([place(1, 30.7)], 1);
  assert.match(judged!.unreachable ?? '', new RegExp(`${behind.ids[28]}, stored WAL leads to`));
  assert.deepEqual(behind.read, [28, 29]);
  // In a copy all objects are younger than any backup.
  const copy = given(
    wal,
    hourly(50).map((one) => ({ ...one, committed: 200 })),
  );
  assert.ok((await copy.reaches.judge([place(1, 30.7)], 1))[0]!.unreachable);
  assert.deepEqual(copy.read, [28, 27, 29]);
});

test('a backup that began before another one and ended behind the gap – it leads there', async () => {
  const wal = [
    [1, 0, 5],
    [1, 6, 9],
  ] as const;
  // Also where the store's clock is behind, or there are only the times of a copy.
  for (const [long, next] of [
    [7, 4.5],
    [2, -0.5],
    [50, 50],
  ] as const) {
    const { reaches, read } = given(wal, [
      { end: 1.5 },
      { began: 4, end: 7, committed: long },
      { began: 4.2, end: 4.5, committed: next },
    ]);
    assert.equal((await reaches.judge([place(1, 8)], 1))[0]!.unreachable, undefined);
    assert.deepEqual(read, [2, 1]);
  }
});

test('the host’s clock is hours before or behind the server’s – no backup that leads to a transaction is left out', async () => {
  for (const hours of [-5, 5]) {
    const backups = hourly(20).map(({ end }) => ({ end: end + 0.2, ahead: hours }));
    // Only from the last one before it: each segment has a gap.
    const wal = Array.from({ length: 25 }, (_, i) => [1, i, i + 0.9] as const);
    const { reaches, read, ids } = given(wal, backups);
    const [leads, short] = await reaches.judge([place(1, 10.5), place(1, 10.95)], 1);
    assert.equal(leads!.unreachable, undefined);
    assert.match(short!.unreachable ?? '', new RegExp(`the backup before it, ${ids[8]},`));
    assert.ok(read.length < 10, read.join());
  }
});

test('the store is away, or refuses – said once with what it answered; that nothing leads there is never said', async () => {
  // Of a store that is away no more than are asked for at a time.
  for (const [broken, most] of [
    ['STORAGE_UNAVAILABLE', 3],
    ['STORAGE_DENIED', 9],
    ['STORAGE_IO', 9],
    ['KEY_WRONG', 9],
  ] as const) {
    const backups = hourly(50).map((one) => ({ ...one, broken }));
    const { reaches, read, notes } = given([[1, 0, 100]], backups);
    const judged = await reaches.judge([place(1, 1.2), place(1, 10.5), place(1, 10.6)], 1);
    assert.deepEqual(
      judged.map(({ unreachable }) => unreachable),
      [undefined, undefined, undefined],
    );
    assert.equal(new Set(read).size, read.length);
    assert.ok(read.length <= most, `${broken}: ${read}`);
    assert.equal(notes.length, 1);
    assert.match(notes[0]!, new RegExp(`just before 3 transactions .*: ${broken} at backup \\d+; `));
  }
  // Another one leads there.
  const other = given([[1, 0, 100]], [{ end: 2 }, { end: 3, broken: 'STORAGE_IO' }]);
  assert.equal((await other.reaches.judge([place(1, 4)], 1))[0]!.unreachable, undefined);
  assert.deepEqual(other.notes, []);
});

test('a backup is damaged or was removed just now – it leads nowhere, an older one may', async () => {
  for (const broken of ['REPOSITORY_DAMAGED', 'BACKUP_NOT_FOUND'] as const) {
    const { reaches, notes } = given([[1, 0, 9]], [{ end: 2, broken }, { end: 3 }, { end: 4, broken }]);
    const judged = await reaches.judge([place(1, 2.5), place(1, 5)], 1);
    assert.deepEqual(
      judged.map(({ unreachable }) => unreachable),
      [none, undefined],
    );
    assert.deepEqual(notes, []);
  }
});

test('the history of a timeline cannot be read – that no backup leads to it is not said', async () => {
  const { reaches } = given([[2, 6, 9]], [], { unknownLines: [2] });
  const judged = await reaches.judge([place(2, 7), place(1, 6)], 2);
  assert.deepEqual(
    judged.map(({ unreachable }) => unreachable),
    [undefined, undefined],
  );
});

test('stopped while backups are read – no other one is', async () => {
  const stop = new AbortController();
  const { reaches, read } = given([], hourly(50), { signal: stop.signal });
  const judging = reaches.judge([place(1, 40)], 1);
  stop.abort();
  await assert.rejects(judging, { name: 'AbortError' });
  assert.ok(read.length <= 1, read.join());
});
