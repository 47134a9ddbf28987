import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { HelvinoError } from '../../base/errors.ts';
import { ChangesetReader, ChangesetWriter } from './changeset-file.ts';
import type { ChangesetHeader } from './changeset-header.ts';
import { noRows } from './diff.ts';
import { forgeFile, packBlock } from './testing/forge.ts';
import { hostileValue, replaceOne } from './testing/hostile.ts';

const header = {
  kind: 'undo',
  id: '0123456789abcdef',
  made: '2026-11-25T12:00:00Z',
  program: '0.1.0',
  database: 'db',
  system: null,
  tables: [
    { schema: 'public', name: 't', key: ['id'], columns: ['id', 'x'], insert: 2, revert: 0, remove: 1 },
    { schema: 'public', name: 'u', key: null, columns: ['x'], insert: 1, revert: 0, remove: 0 },
  ],
  undoes: { id: 'fedcba9876543210', xid: '4711' },
} satisfies ChangesetHeader;

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

test('forged headers with a right SHA-256 – refused: what is said twice and differs, what is there twice, what is no text, what has no end', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'forged');
    const refused = async (text: string | Buffer, why: string) => {
      await forgeFile(file, text);
      await assert.rejects(read(file), { code: 'PLAN_INVALID' }, why);
    };
    await forgeFile(file, JSON.stringify(header));
    assert.deepEqual((await read(file)).header, header);

    const text = JSON.stringify(header);
    await refused(text.replace('{', '{"kind":"undo",'), 'a key twice');
    await refused(text.replace('"id":', '"__proto__":{"polluted":1},"id":'), '__proto__');
    await refused(text.replace('"db"', '"d\\u0062"'), 'written otherwise than Helvino does');
    await refused(` ${text}`, 'white space');
    await refused(`\uFEFF${text}`, 'a byte order mark');
    await refused(
      Buffer.concat([Buffer.from(text.replace('"db"', '"db')), Buffer.from([0xff, 0x22])]),
      'no UTF-8',
    );
    await refused('['.repeat(1_000_000), 'no end');
    await refused(`${'['.repeat(1000)}${']'.repeat(1000)}`, 'nested deep');
    await refused('[0'.padEnd(9_000_000, ',0').concat(']'), 'very many values');
    await refused('null', 'nothing');
    const [first, second] = header.tables;
    const other = (change: object) => JSON.stringify({ ...header, ...change });
    const table = (change: object) => other({ tables: [{ ...first, ...change }, second] });
    for (const [why, forged] of Object.entries({
      'of another kind': other({ kind: 'export' }),
      'undoes nothing': other({ undoes: undefined }),
      'a transaction that cannot be': other({ undoes: { ...header.undoes, xid: '18446744073709551616' } }),
      'a table twice': other({ tables: [first, first] }),
      'a column twice': table({ columns: ['id', 'id'] }),
      'a key of a column that is not written': table({ key: ['other'] }),
      'a negative number': table({ insert: -1 }),
      'a number that is none': table({ insert: 1.5 }),
      'a number beyond all': table({ insert: 2 ** 60 }),
      'a NUL': table({ name: 't\0; drop table t' }),
      'a revert without a key': table({ key: null, revert: 1 }),
      'a word that no version has': other({ sql: 'drop table t' }),
    }))
      await refused(forged, why);
    assert.equal(({} as { polluted?: number }).polluted, undefined);

    const rows = noRows;
    const shown = {
      table: 'public.t',
      keyed: true,
      rows,
      insert: 2,
      revert: 0,
      remove: 1,
      parents: 0,
      skipped: 0,
      samples: [],
    };
    const { undoes: _, ...common } = header;
    const summary = {
      moments: { before: 'then' },
      tables: [shown],
      conflicts: [],
      problems: [],
      sideEffects: [],
      seconds: 1,
    };
    const plan = {
      ...common,
      kind: 'plan',
      tables: [first],
      root: { table: 'public.t', where: { id: '1' } },
      summary,
    };
    await forgeFile(file, JSON.stringify(plan));
    assert.equal((await read(file)).header.kind, 'plan');
    for (const tables of [
      [],
      [{ ...shown, remove: 0 }],
      [{ ...shown, table: 'public.u' }],
      [shown, { ...shown, table: 'public.u' }],
    ])
      await refused(
        JSON.stringify({ ...plan, summary: { ...summary, tables } }),
        'more is done than is shown',
      );
    await refused(JSON.stringify({ ...plan, summary: undefined }), 'nothing is shown');
  }));

test('any value of a header replaced by any other – read, or refused as PLAN_INVALID', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'forged');
    await fc.assert(
      fc.asyncProperty(fc.nat(), hostileValue, async (place, value) => {
        await forgeFile(file, JSON.stringify(replaceOne(header, place, value)));
        await read(file).catch((thrown: unknown) => {
          assert.ok(thrown instanceof HelvinoError && thrown.code === 'PLAN_INVALID', String(thrown));
        });
      }),
      { numRuns: 500 },
    );
  }));

test('a block that unpacks to more than memory, or to other than it says – refused; a very large row comes in parts', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'block');
    const block = (raw: number, packed: Buffer) =>
      Buffer.concat([packBlock(0, raw, packed), Buffer.alloc(13)]);
    const row = Buffer.alloc(16 * 1024 * 1024, 'x');
    const packed = zstdCompressSync(row);
    assert.ok(packed.length < 100_000);
    await forgeFile(file, JSON.stringify(header), block(row.length, packed));
    await using reader = await ChangesetReader.open(file);
    let bytes = 0;
    let largest = 0;
    const parts = new Set<string>();
    for await (const { lines, part } of reader.rows()) {
      bytes += lines.length;
      largest = Math.max(largest, lines.length);
      parts.add(part);
    }
    assert.equal(bytes, row.length);
    assert.ok(largest <= 1024 * 1024, `${largest}`);
    assert.deepEqual([...parts], ['first', 'more']);
    for (const raw of [0, 1, row.length - 1, row.length + 1, 0x7fff_0000, 0xffff_ffff]) {
      await forgeFile(file, JSON.stringify(header), block(raw, packed));
      await assert.rejects(read(file), { code: 'PLAN_INVALID' }, `${raw}`);
    }
    await forgeFile(file, JSON.stringify(header), block(row.length, packed.subarray(0, -100)));
    await assert.rejects(read(file), { code: 'PLAN_INVALID' });
  }));

test('a file that changes after it was opened – its rows are refused at the end', () =>
  inFolder(async (folder) => {
    const file = join(folder, 'a.plan');
    await write(file);
    const content = await readFile(file);
    const rows = async (reader: ChangesetReader) => {
      for await (const _ of reader.rows());
    };
    for (const at of [20, content.length - 40]) {
      await writeFile(file, content);
      await using reader = await ChangesetReader.open(file);
      const handle = await open(file, 'r+');
      await handle.write(Buffer.from([content[at]! ^ 1]), 0, 1, at);
      await handle.close();
      await assert.rejects(rows(reader), { code: 'PLAN_INVALID' });
    }
    await writeFile(file, content);
    await using reader = await ChangesetReader.open(file);
    await truncate(file, content.length - 50);
    await assert.rejects(rows(reader), { code: 'PLAN_INVALID' });
  }));

test('what is no file – refused without waiting', () =>
  inFolder(async (folder) => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    for (const path of [pipe, folder, '/dev/zero'])
      await assert.rejects(read(path), { code: 'PLAN_INVALID' });
    await assert.rejects(read(join(folder, 'none')), { code: 'TARGET_IO' });
  }));
