/** Worker thread of the log sealer: compresses, hashes and encrypts pieces of a log. */
import { parentPort } from 'node:worker_threads';
import type { FromLogSealer, SealLogJob } from './log-sealer-messages.ts';
import { sealLogPiece } from './log-store.ts';

parentPort!.on('message', ({ job, name, bytes, keys }: SealLogJob) => {
  const sealed = new Uint8Array(sealLogPiece(bytes, name, keys));
  const message: FromLogSealer = { job, sealed };
  parentPort!.postMessage(message, [sealed.buffer]);
});
