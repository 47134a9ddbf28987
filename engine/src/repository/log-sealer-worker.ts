/** Worker thread of the log sealer: compresses, hashes and encrypts pieces of a log. */
import { parentPort } from 'node:worker_threads';
import { onMessage } from '../base/workers.ts';
import type { FromLogSealer, SealLogJob } from './log-sealer-messages.ts';
import { sealLogPiece } from './log-store.ts';

onMessage(({ job, name, bytes, keys, memory }: SealLogJob) => {
  const { length } = sealLogPiece(bytes, name, keys, new Uint8Array(memory));
  parentPort!.postMessage({ job, length } satisfies FromLogSealer);
});
