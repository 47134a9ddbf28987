/** Worker thread of the log sealer: compresses, hashes and encrypts pieces of a log. */
import { parentPort } from 'node:worker_threads';
import type { FromLogSealer, SealLogJob } from './log-sealer-messages.ts';
import { sealLogPiece } from './log-store.ts';

parentPort!.on('message', ({ job, name, bytes, keys }: SealLogJob) => {
  // It has its memory for itself.
  const { buffer } = sealLogPiece(bytes, name, keys);
  const message: FromLogSealer = { job, sealed: new Uint8Array(buffer) };
  parentPort!.postMessage(message, [buffer]);
});
