/** Worker thread: reads the records of WAL that is being stored, checks the CRC of each, and makes the index of `find`. */
import { parentPort, workerData } from 'node:worker_threads';
import { onMessage } from '../../base/workers.ts';
import {
  encodeLogIndex,
  type IndexedTransaction,
  type LogIndexPart,
  parseLsn,
  type WalDamage,
  WalIndexer,
} from '../../postgres/index.ts';
import type { FromIndexer, IndexerSetup, ToIndexer } from './index-messages.ts';

const port = parentPort!;
const indexer = new WalIndexer(workerData as IndexerSetup);
/** Of the parts since the last whole one. */
let kept: { begin: bigint; transactions: IndexedTransaction[]; damaged: readonly WalDamage[] } | undefined;
/** Seen, and not told yet. */
let damage: WalDamage[] = [];

function send(message: FromIndexer): void {
  port.postMessage(message);
}

onMessage((message: ToIndexer) => {
  try {
    if (message.type === 'wal') {
      const { memory, length } = message;
      indexer.push(new Uint8Array(memory, 0, length));
      send({ type: 'read', memory, length });
    } else if (message.type === 'snapshot') indexer.addSnapshot(message.snapshot);
    else take(message);
  } catch (thrown) {
    send({ type: 'failed', message: thrown instanceof Error ? thrown.message : String(thrown) });
  }
});

function take({ whole, storedTo }: Extract<ToIndexer, { type: 'take' }>): void {
  const part = indexer.take(storedTo);
  damage.push(...part.damaged);
  const isStored = ({ lost }: WalDamage) => lost === undefined || parseLsn(lost.to) <= storedTo;
  const told = damage.filter(isStored);
  damage = damage.filter((one) => !isStored(one));
  kept ??= { begin: part.begin, transactions: [], damaged: [] };
  kept.transactions.push(...part.transactions);
  kept.damaged = [...kept.damaged, ...told];
  let stored: LogIndexPart = whole ? { ...part, ...kept } : { ...part, damaged: told };
  if (whole) kept = undefined;
  // Nothing ended in the segment: its index is empty, and says how the record goes on.
  const goesOn = whole && stored.begin === stored.end && part.state.spanning?.at === String(storedTo);
  if (goesOn) stored = { ...stored, begin: storedTo, end: storedTo };
  send({
    type: 'part',
    begin: stored.begin,
    end: stored.end,
    encoded: encodeLogIndex(stored),
    goesOn,
    damaged: told,
    changed: indexer.takeChangedDatabases(),
  });
}
