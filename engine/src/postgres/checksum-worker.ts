/** Worker thread of verifyDirectoryChecksums: one file after the other, one mebibyte at a time. */
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
  const fd = openSync(path, 'r');
  const bad: BadPage[] = [];
  let pages = 0;
  try {
    for (let at = 0; ; ) {
      const got = readSync(fd, buffer, 0, buffer.length, at);
      const whole = got - (got % pageSize);
      if (whole === 0) break;
      bad.push(...verifyPages(buffer.subarray(0, whole), firstBlock + at / pageSize));
      pages += whole / pageSize;
      at += whole;
    }
  } finally {
    closeSync(fd);
  }
  return { path, pages, bad };
}
