import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const child = fileURLToPath(new URL('./many-objects-child.ts', import.meta.url));
const [few, many] = [1000, 1_000_000];
/** Threads take their own memory in their first second: what uses them is compared with a run that lasts as long. */
const someForThreads = 10_000;
/** Reading every byte takes its time. */
const manyRead = 300_000;
/** MiB that an operation may take more with a million objects than with a thousand. */
const limit = 64;
const operations = [
  'collect',
  'retention',
  'apply',
  'status',
  'plan',
  'wal',
  'copy',
  'list',
  'missing',
  'find',
  'lifecycle',
  'recovery',
  'verify',
];

describe('a million packs that ten backups name, and a million pieces of WAL with their index', () => {
  let folder: string;
  const run = async (operation: string, count: number) => {
    // Garbage is collected before the heap has grown by as much as it may by default: what is kept is measured.
    const words = [
      '--max-old-space-size=64',
      '--max-semi-space-size=1',
      '--disable-warning=ExperimentalWarning',
    ];
    const limits = operation === 'prepare' ? words.slice(2) : words;
    const args = [...limits, child, operation, String(count), join(folder, String(count))];
    return (await promisify(execFile)(process.execPath, args)).stdout;
  };
  const growth = async (operation: string, count: number) => {
    const { said, growth } = JSON.parse(await run(operation, count)) as { said: unknown; growth: number };
    assert.equal(said, count);
    return growth;
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hv-many-'));
    for (const count of [few, someForThreads, manyRead, many]) await run('prepare', count);
  });

  after(() => rm(folder, { recursive: true, force: true }));

  for (const [operation, base, count] of [
    ...operations.map((operation) => [operation, few, many] as const),
    ['restore', someForThreads, many] as const,
    ['read-data', someForThreads, manyRead] as const,
  ]) {
    test(`${operation} – takes hardly more memory with ${count} than with ${base}`, async () => {
      const least = await growth(operation, base);
      const more = (await growth(operation, count)) - least;
      console.log(`${operation}: ${more} MiB more than the ${least} MiB with ${base}`);
      assert.ok(more <= limit, `${operation} took ${more} MiB more`);
    });
  }
});
