import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const child = fileURLToPath(new URL('./many-objects-child.ts', import.meta.url));
const million = 1_000_000;

/** MiB that an operation may take more than what it began with. The plan of retention names packs and pieces: 100 bytes each. */
const limits = { collect: 96, status: 128, plan: 48, copy: 48, retention: 320 };

for (const [operation, limit] of Object.entries(limits)) {
  test(`${operation} with a million packs and a million pieces of WAL – memory stays flat`, async () => {
    // Garbage is collected before the heap has grown by as much as it may by default.
    const words = ['--expose-gc', '--max-old-space-size=200', '--disable-warning=ExperimentalWarning'];
    const run = promisify(execFile)(process.execPath, [...words, child, operation, String(million)]);
    const { said, growth } = JSON.parse((await run).stdout) as { said: number; growth: number };
    assert.equal(said, million);
    assert.ok(growth <= limit, `${operation} took ${growth} MiB more`);
  });
}
