import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notedProgress } from '../../../test/noted-progress.ts';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { encodeLogIndex, type LogIndexPart } from '../../postgres/index.ts';
import { logPieceName, putLogFile, putLogNote, type Repository } from '../../repository/index.ts';
import type { StorageDriver } from '../../storage/index.ts';
import { findTransactions } from './find.ts';

const segment = 1n << 20n;
/** Positions are counted in tenths of a segment. */
const at = (tenths: number) => (BigInt(tenths) * segment) / 10n;

type Transactions = LogIndexPart['transactions'];

/** One that is numbered by its position. */
function transactionAt(tenths: number): Transactions[number] {
  const lsn = at(tenths);
  const time = tenths * 1_000_000;
  return { xid: tenths, time, lsn, end: lsn + 40n, partial: false, changes: [], droppedDatabases: [] };
}

interface Stored {
  readonly line: number;
  readonly begin: number;
  readonly end: number;
  /** Where there is a transaction; undefined: it has no index. */
  readonly transactions?: readonly number[];
  /** Where its index tells damage. */
  readonly damaged?: number;
}

/** Timeline 2 left timeline 1 at 65 tenths. */
async function given(stored: readonly Stored[]) {
  const { repository } = await memoryRepository();
  const { driver } = repository;
  for (const { line, begin, end, transactions, damaged } of stored) {
    const place = { line, begin: at(begin), end: at(end) };
    await driver.put(logPieceName('main', place), [Buffer.from('sealed')], { ifAbsent: true });
    if (!transactions) continue;
    const bytes = encodeLogIndex({
      begin: place.begin,
      end: place.end,
      transactions: transactions.map(transactionAt),
      damaged: damaged === undefined ? [] : [damageAt(damaged)],
      state: { lastEnd: String(place.end), order: 0, wholeFrom: null, open: [], recent: [] },
    });
    await putLogNote(repository, { ...place, database: 'main', kind: 'index', bytes });
  }
  const name = '00000002.history';
  const bytes = Buffer.from(`1\t0/${at(65).toString(16).toUpperCase()}\tx\n`);
  await putLogFile(repository, { database: 'main', kind: 'history', name, bytes });
  const { progress, notes } = notedProgress();
  const find = async (timeline?: number, limit = 100) => {
    const { transactions, notSearched, more } = await findTransactions({
      ...{ repository, database: 'main', timeline, limit, progress },
      filter: { tables: [], drops: false, truncates: false, all: true },
      signal: new AbortController().signal,
    });
    return { found: transactions.map(({ xid, timeline: on }) => [xid, on]), notSearched, more };
  };
  return { repository, find, notes, history: `wal/main/history/${name}` };
}

function damageAt(tenths: number): LogIndexPart['damaged'][number] {
  const place = (n: number) => `0/${at(n).toString(16).toUpperCase()}`;
  return { lsn: place(tenths), message: 'torn', lost: { from: place(tenths), to: place(tenths + 1) } };
}

/** The first segment of timeline 2 has what is missing at the end of timeline 1, which later went on alone. */
const failedOver: readonly Stored[] = [
  { line: 1, begin: 40, end: 60, transactions: [45, 55] },
  { line: 1, begin: 70, end: 80, transactions: [75] },
  { line: 2, begin: 60, end: 80, transactions: [62, 64, 67, 78], damaged: 76 },
];

test('transactions before a fork of which only the next timeline has the WAL – found with --timeline of theirs, in order', async () => {
  const { find } = await given(failedOver);
  const theirs = [45, 55, 62, 64, 75].map((xid) => [xid, 1]);
  assert.deepEqual(await find(1), { found: theirs, notSearched: [], more: false });
  assert.deepEqual((await find(1, 2)).found, theirs.slice(-2));
  const { found, notSearched } = await find(2);
  assert.deepEqual(
    [found, notSearched.length],
    [
      [
        [67, 2],
        [78, 2],
      ],
      1,
    ],
  );
  assert.equal((await find()).found.length, 7);
  const [, , child] = failedOver;
  const later = await given([child!]);
  assert.deepEqual((await later.find(1)).found, [
    [62, 1],
    [64, 1],
  ]);
  await assert.rejects(later.find(3), { code: 'USAGE', hint: 'there is WAL of timeline 2' });
});

test('transactions before a fork in WAL of the next timeline that has no index – told as not searched', async () => {
  const { find } = await given([failedOver[0]!, { line: 2, begin: 60, end: 80 }]);
  const { notSearched } = await find(1);
  assert.deepEqual(
    notSearched.map(({ timeline, from, to }) => [timeline, from, to]),
    [[2, '0/600000', '0/680000']],
  );
});

test('a history is damaged – everything is searched all the same, and the damage is told', async () => {
  const changes = (change: (bytes: Buffer) => Buffer) => async (driver: StorageDriver, name: string) =>
    driver.put(name, [change(Buffer.from(await driver.get(name)))], { ifAbsent: false });
  const damages = [
    changes((bytes) => bytes.subarray(0, -1)),
    // Of the key's id.
    changes((bytes) => Buffer.from(bytes.map((byte, i) => (i === 9 ? byte ^ 1 : byte)))),
    async (driver: StorageDriver, name: string, repository: Repository) => {
      await driver.remove(name);
      const bytes = Buffer.from('no line');
      await putLogFile(repository, { database: 'main', kind: 'history', name: '00000002.history', bytes });
    },
  ];
  for (const damage of damages) {
    const { repository, find, notes, history } = await given(failedOver);
    await damage(repository.driver, history, repository);
    const { found } = await find();
    assert.deepEqual(found.map(([xid]) => xid).sort(), [45, 55, 62, 64, 67, 75, 78]);
    assert.equal(notes.length, 1);
    assert.match(notes[0]!, /^the history of timeline 2 cannot be read \((wal\/main\/history\/|"no line")/);
  }
});
