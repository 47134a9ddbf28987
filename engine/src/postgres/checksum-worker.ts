/**
 * Worker thread of verifyDirectoryChecksums: one file after the other, one mebibyte at a time. Takes a ChecksumJob, answers
 * with a ChecksumResult; nothing that goes wrong with a file ends the thread.
 */
import { closeSync, openSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { readAt } from '../base/read-at.ts';
import { onMessage } from '../base/workers.ts';
import type { ChecksumJob, ChecksumResult } from './directory-checksums.ts';
import { type BadPage, verifyPages } from './page-checksum.ts';

const buffer = Buffer.from(new ArrayBuffer(1 << 20));
const pageSize = 8192;

onMessage((job: ChecksumJob) => {
  parentPort!.postMessage(checkFile(job));
});

function checkFile({ path, firstBlock }: ChecksumJob): ChecksumResult {
  const bad: BadPage[] = [];
  let bytes = 0;
  try {
    const fd = openSync(path, 'r');
    try {
      for (let got = readAt(fd, buffer, bytes); got > 0; got = readAt(fd, buffer, bytes)) {
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
