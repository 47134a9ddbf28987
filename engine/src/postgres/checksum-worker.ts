/**
 * Worker thread of verifyDirectoryChecksums: one file after the other, one mebibyte at a time. Takes a ChecksumJob, answers
 * with a ChecksumResult; nothing that goes wrong with a file ends the thread.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { ChecksumJob, ChecksumResult } from './directory-checksums.ts';
import { type BadPage, verifyPages } from './page-checksum.ts';

const buffer = Buffer.from(new ArrayBuffer(1 << 20));
const pageSize = 8192;

parentPort!.on('message', (job: ChecksumJob) => {
  parentPort!.postMessage(checkFile(job));
});

function checkFile({ path, firstBlock }: ChecksumJob): ChecksumResult {
  const bad: BadPage[] = [];
  let bytes = 0;
  try {
    const fd = openSync(path, 'r');
    try {
      for (let got = fill(fd, bytes); got > 0; got = fill(fd, bytes)) {
        bad.push(...verifyPages(buffer.subarray(0, got), firstBlock + bytes / pageSize));
        bytes += got;
        if (got < buffer.length) break;
      }
    } finally {
      closeSync(fd);
    }
  } catch (thrown) {
    return { path, error: (thrown as Error).message };
  }
  return { path, pages: Math.ceil(bytes / pageSize), bad };
}

/** A read may return less than there is; only the end of the file leaves the buffer partly empty. */
function fill(fd: number, at: number): number {
  let got = 0;
  while (got < buffer.length) {
    const more = readSync(fd, buffer, got, buffer.length - got, at + got);
    if (more === 0) break;
    got += more;
  }
  return got;
}
