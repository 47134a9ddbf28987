import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../../base/errors.ts';
import { ChangesetReader, ChangesetWriter } from './changeset-file.ts';
import type { ChangesetHeader } from './changeset-header.ts';

const header: ChangesetHeader = {
  kind: 'plan',
  id: '0123456789abcdef',
  made: '2026-11-25T12:00:00Z',
  program: '0.1.0',
  database: 'db',
  system: null,
  tables: [
    { schema: 'public', name: 't', key: ['id'], columns: ['id', 'x'], insert: 2, revert: 0, remove: 1 },
    { schema: 'public', name: 'u', key: null, columns: ['x'], insert: 1, revert: 0, remove: 0 },
  ],
};

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'hv-plan-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function write(file: string): Promise<{ bytes: number; sha256: string }> {
  const writer = await ChangesetWriter.create(file, header);
  await writer.rows(0, Buffer.from('i\t\\N\t\\N\t1\ta\nd\t\\\\x00\t\\N\t3\t\\N\n'));
  await writer.rows(1, Buffer.from('i\t\\N\t1\t'.concat('x'.repeat(100_000), '\n')));
  return writer.close();
}

async function read(file: string): Promise<{ header: ChangesetHeader; rows: string[] }> {
  await using reader = await ChangesetReader.open(file);
  const rows: string[] = [];
  for await (const { table, lines } of reader.rows()) rows.push(`${table} ${lines}`);
  return { header: reader.header, rows };
}

test('a file of changes – read as written, readable by its owner alone, never over another, nothing left of one given up', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'a.plan');
    const { bytes, sha256 } = await write(file);
    const facts = await stat(file);
    assert.deepEqual([facts.size, facts.mode & 0o777], [bytes, 0o600]);
    const content = await readFile(file);
    assert.equal(createHash('sha256').update(content.subarray(0, -32)).digest('hex'), sha256);
    const back = await read(file);
    assert.deepEqual(back.header, header);
    assert.equal(back.rows.length, 2);
    await assert.rejects(write(file), { code: 'TARGET_NOT_EMPTY' });
    const writer = await ChangesetWriter.create(join(folder, 'b.plan'), header);
    await writer.abandon();
    assert.deepEqual(await readdir(folder), ['a.plan']);
  }));

test('any byte changed, any end cut off – refused', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'a.plan');
    await write(file);
    const content = await readFile(file);
    const damaged = join(folder, 'damaged');
    await fc.assert(
      fc.asyncProperty(
        fc.nat(content.length - 1),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        async (at, flip, cut) => {
          const bytes = Buffer.from(cut ? content.subarray(0, at) : content);
          if (!cut) bytes[at]! ^= flip;
          await writeFile(damaged, bytes);
          await assert.rejects(read(damaged), { code: 'PLAN_INVALID' });
        },
      ),
      { numRuns: 300 },
    );
  }));

test('nonsense with a right SHA-256 – refused or read, with an error of ours at worst', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'a.plan');
    await write(file);
    const content = (await readFile(file)).subarray(0, -32);
    const damaged = join(folder, 'damaged');
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(content.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(200),
        async (changes, cut) => {
          const bytes = Buffer.from(content.subarray(0, content.length - (cut > 150 ? cut : 0)));
          for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
          await writeFile(damaged, Buffer.concat([bytes, createHash('sha256').update(bytes).digest()]));
          await read(damaged).catch((thrown: unknown) => {
            assert.ok(thrown instanceof HelvinoError && thrown.code === 'PLAN_INVALID', String(thrown));
            refused++;
          });
        },
      ),
      { numRuns: 500 },
    );
    assert.ok(refused > 100, `${refused}`);
  }));
