import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { endWorker } from './workers.ts';

const workers = new URL('./workers.ts', import.meta.url);
const start = (code: string) =>
  new Worker(`import { onMessage } from '${workers}';\n${code}`, {
    eval: true,
    execArgv: ['--input-type=module'],
  });

test('a worker that makes streams of zlib all the time – ends at any moment, and the process goes on', async () => {
  for (let i = 0; i < 40; i++) {
    const worker = start(`
      import { createZstdDecompress } from 'node:zlib';
      setInterval(() => { for (let i = 0; i < 50; i++) createZstdDecompress(); }, 0);
      onMessage(() => undefined);`);
    await sleep(30 + i);
    await endWorker(worker);
  }
});

test('what a worker was given before – is done before it ends', async () => {
  const worker = start(`
    import { parentPort } from 'node:worker_threads';
    onMessage((n) => parentPort.postMessage(n * 2));`);
  const got: number[] = [];
  worker.on('message', (n: number) => got.push(n));
  for (let n = 0; n < 100; n++) worker.postMessage(n);
  await endWorker(worker);
  assert.deepEqual(
    got,
    Array.from({ length: 100 }, (_, n) => n * 2),
  );
});

test('a worker that has failed, or has been ended – ends at once', async () => {
  const worker = start(`throw new Error('as a test wants it');`);
  const failed = new Promise((resolve) => worker.once('error', resolve));
  assert.match(String(await failed), /as a test wants it/);
  await endWorker(worker);
  await endWorker(worker);
});
