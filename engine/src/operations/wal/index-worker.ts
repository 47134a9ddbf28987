/** Worker thread: reads the records of WAL that is being stored, checks the CRC of each, and makes the index of `find`. */
import { parentPort, workerData } from 'node:worker_threads';
import {
  encodeLogIndex,
  type IndexedTransaction,
  type LogIndexPart,
  WalIndexer,
} from '../../postgres/index.ts';
import type { FromIndexer, IndexerSetup, ToIndexer } from './index-messages.ts';

const port = parentPort!;
const indexer = new WalIndexer(workerData as IndexerSetup);
/** Of the parts since the last whole one. */
let kept: { begin: bigint; transactions: IndexedTransaction[]; damaged: LogIndexPart['damaged'] } | undefined;

function send(message: FromIndexer): void {
  port.postMessage(message);
}

port.on('message', (message: ToIndexer) => {
  try {
    if (message.type === 'wal') {
      const { memory, length } = message;
      indexer.push(new Uint8Array(memory, 0, length));
      send({ type: 'read', memory, length });
    } else if (message.type === 'snapshot') indexer.addSnapshot(message.snapshot);
    else take(message.whole);
  } catch (thrown) {
    send({ type: 'failed', message: thrown instanceof Error ? thrown.message : String(thrown) });
  }
});

function take(whole: boolean): void {
  const part = indexer.take();
  kept ??= { begin: part.begin, transactions: [], damaged: [] };
  kept.transactions.push(...part.transactions);
  kept.damaged = [...kept.damaged, ...part.damaged];
  const stored: LogIndexPart = whole ? { ...part, ...kept } : part;
  if (whole) kept = undefined;
  send({
    type: 'part',
    begin: stored.begin,
    end: stored.end,
    encoded: encodeLogIndex(stored),
    damaged: part.damaged,
    changed: indexer.takeChangedDatabases(),
  });
}
