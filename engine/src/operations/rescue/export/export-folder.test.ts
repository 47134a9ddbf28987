import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../../../base/errors.ts';
import { createIdentity, openIdentities, recipientOf } from '../../../repository/index.ts';
import { hostileValue, replaceOne } from '../testing/hostile.ts';
import { writeExportFile } from './export-file.ts';
import { checkFiles, openExport } from './export-folder.ts';
import { type ExportManifest, manifestText } from './manifest.ts';

const rows = Buffer.from(`id,name\n${'1,a name\n'.repeat(20_000)}`);
const manifest: ExportManifest = {
  format: 'helvino-organization',
  version: 1,
  id: '0123456789abcdef',
  made: '2026-11-25T12:00:00Z',
  moment: '2026-11-25T12:00:00Z',
  program: 'test',
  source: { database: 'db', system: null, server: 180000 },
  root: { table: '"public"."t"', where: { id: '1' } },
  tables: [
    {
      schema: 'public',
      name: 't',
      key: ['id'],
      columns: [{ name: 'id', type: 'bigint', base: 'bigint' }],
      own: {
        file: 'data/001.csv',
        rows: 20_000,
        bytes: rows.length,
        sha256: createHash('sha256').update(rows).digest('hex'),
      },
      shared: null,
    },
  ],
  notes: [],
};

interface Made {
  readonly folder: string;
  readonly suffix: '' | '.age';
  readonly open: (folder?: string) => Promise<void>;
}

/** The same in clear and sealed. */
async function eachWay(work: (made: Made) => Promise<void>): Promise<void> {
  for (const suffix of ['', '.age'] as const) {
    const folder = await mkdtemp(join(tmpdir(), 'hv-folder-'));
    const identity = await createIdentity();
    const recipients = suffix === '' ? undefined : [await recipientOf(identity)];
    const write = (name: string, content: Buffer) =>
      writeExportFile(join(folder, name + suffix), recipients, (sink) => sink(content));
    try {
      await mkdir(join(folder, 'data'));
      await write('data/001.csv', rows);
      await write('manifest.json', Buffer.from(manifestText(manifest)));
      const open = async (place = folder) =>
        checkFiles(await openExport(place, () => openIdentities(identity, 'the test')));
      await open();
      await work({ folder, suffix, open });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
}

const isRefused = (thrown: unknown) => {
  assert.ok(thrown instanceof HelvinoError, String(thrown));
  // A stanza that was changed is one for somebody else.
  assert.match(thrown.code, /^(EXPORT_INVALID|KEY_WRONG)$/, thrown.message);
  return true;
};

test('any byte of a folder changed, any end cut off – refused, in clear and sealed', () =>
  eachWay(async ({ folder, suffix, open }) => {
    for (const name of ['manifest.json', 'data/001.csv']) {
      const file = join(folder, name + suffix);
      const content = await readFile(file);
      await fc.assert(
        fc.asyncProperty(
          fc.oneof(fc.nat(400), fc.nat(content.length - 1)),
          fc.integer({ min: 1, max: 255 }),
          fc.boolean(),
          async (place, flip, cut) => {
            const at = place % content.length;
            const bytes = Buffer.from(cut ? content.subarray(0, at) : content);
            if (!cut) bytes[at]! ^= flip;
            // What the manifest says for people, or of rows that nobody counts yet, is not said twice.
            if (suffix === '' && name === 'manifest.json' && !cut) return;
            await writeFile(file, bytes);
            await assert.rejects(open(), isRefused);
          },
        ),
        { numRuns: 60 },
      );
      await writeFile(file, content);
    }
    await open();
  }));

test('files that have no end, lead elsewhere, or are not there – refused without waiting, and what is in clear never stands in for what is sealed', () =>
  eachWay(async ({ folder, suffix, open }) => {
    for (const name of ['manifest.json', 'data/001.csv']) {
      const file = join(folder, name + suffix);
      const content = await readFile(file);
      await rm(file);
      await assert.rejects(open(), isRefused);
      if (suffix !== '') {
        // A sealed file exchanged for one in clear.
        await writeFile(join(folder, name), rows);
        if (name !== 'manifest.json') await assert.rejects(open(), isRefused);
        await rm(join(folder, name));
      }
      execFileSync('mkfifo', [file]);
      await assert.rejects(open(), isRefused);
      await rm(file);
      for (const target of ['/dev/zero', folder, file]) {
        await symlink(target, file);
        await assert.rejects(open(), (thrown: unknown) => {
          assert.ok(thrown instanceof HelvinoError && thrown.code !== 'INTERNAL', String(thrown));
          return true;
        });
        await rm(file);
      }
      await writeFile(file, content);
      // Sparse, and very long.
      await truncate(file, 200 * 1024 * 1024);
      await assert.rejects(open(), isRefused);
      await writeFile(file, content);
    }
    await assert.rejects(open(join(folder, 'none')), isRefused);
  }));

test('any value of a manifest replaced by any other – read, or refused', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-folder-'));
  try {
    await mkdir(join(folder, 'data'));
    await writeFile(join(folder, 'data', '001.csv'), rows);
    await fc.assert(
      fc.asyncProperty(fc.nat(), hostileValue, async (place, value) => {
        await writeFile(join(folder, 'manifest.json'), manifestText(replaceOne(manifest, place, value)));
        await openExport(folder, async () => assert.fail('it is in clear'))
          .then(checkFiles)
          .catch(isRefused);
      }),
      { numRuns: 300 },
    );
    for (const text of [
      '',
      'null\n',
      '{}\n',
      `${'['.repeat(100_000)}\n`,
      manifestText(manifest).replace('{', '{"id":1,'),
    ]) {
      await writeFile(join(folder, 'manifest.json'), text);
      await assert.rejects(
        openExport(folder, async () => assert.fail('it is in clear')),
        { code: 'EXPORT_INVALID' },
      );
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('a head of an age file without end, or of very many recipients – refused before they are tried', () =>
  eachWay(async ({ folder, suffix, open }) => {
    if (suffix === '') return;
    const stanza = `-> X25519 ${'A'.repeat(43)}\n${'A'.repeat(43)}\n`;
    for (const text of ['age-encryption.org/v1\n', `age-encryption.org/v1\n${stanza.repeat(1_000_000)}`]) {
      await writeFile(join(folder, `manifest.json${suffix}`), text);
      await assert.rejects(open(), { code: 'EXPORT_INVALID' });
    }
  }));
