/**
 * Worker thread of the log opener pool: authenticates, decrypts and decompresses pieces of a log, and writes their parts to
 * their places in files. Files exist already; a worker only opens them for writing.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { systemCode } from '../base/errors.ts';
import { onMessage } from '../base/workers.ts';
import { freeBytes } from './free-bytes.ts';
import type { FromLogOpener, LogSlice, OpenLogJob } from './log-opener-messages.ts';
import { PieceOpener } from './piece-opener.ts';

const opener = new PieceOpener();

onMessage((job: OpenLogJob) => {
  parentPort!.postMessage({ job: job.job, ...run(job) } satisfies FromLogOpener);
});

function run({ name, sealed, dataKey, slices }: OpenLogJob): Omit<FromLogOpener, 'job'> {
  let plain: Uint8Array;
  try {
    plain = opener.open(sealed, name, dataKey);
  } catch (thrown) {
    return { damage: thrown instanceof Error ? thrown.message : String(thrown) };
  } finally {
    freeBytes(sealed);
  }
  for (const slice of slices) {
    const failure = write(slice, plain);
    if (failure) return { failure };
  }
  return {};
}

function write({ path, at, start, length }: LogSlice, plain: Uint8Array): FromLogOpener['failure'] {
  try {
    const file = openSync(path, 'r+');
    try {
      for (let done = 0; done < length; )
        done += writeSync(file, plain, start + done, length - done, at + done);
    } finally {
      closeSync(file);
    }
    return undefined;
  } catch (thrown) {
    return { code: systemCode(thrown) ?? 'UNKNOWN', message: (thrown as Error).message, path };
  }
}
