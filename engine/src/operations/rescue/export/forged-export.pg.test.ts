/** Exported folders by someone else's hand, every sum of them right, against a real server. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../../../test/pg-server.ts';
import { systemClock } from '../../../base/clock.ts';
import { silentProgress } from '../../../base/progress.ts';
import { assertNoCanary, assertRefused, hostileValue, replaceOne } from '../testing/hostile.ts';
import { type Lab, makeLab, same } from '../testing/rescue-lab.ts';
import { exportOrganization, openExport, planImport } from './index.ts';
import { type ExportManifest, manifestText } from './manifest.ts';

let server: TestServer;

before(async () => {
  server = await startTestServer({
    templates: true,
    major: 18,
    config: { fsync: 'off', max_connections: '300' },
  });
});

after(() => server[Symbol.asyncDispose]());

const common = {
  clock: systemClock,
  progress: silentProgress,
  signal: new AbortController().signal,
  program: 'test',
  model: {},
};

class Folder {
  readonly lab: Lab;
  readonly path: string;
  readonly original: ExportManifest;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly clients: { readonly staging: pg.Client; readonly now: pg.Client };

  private constructor(facts: Pick<Folder, 'lab' | 'path' | 'original' | 'files' | 'clients'>) {
    this.lab = facts.lab;
    this.path = facts.path;
    this.original = facts.original;
    this.files = facts.files;
    this.clients = facts.clients;
  }

  static async make(lab: Lab): Promise<Folder> {
    const path = join(lab.folder, 'export');
    const { manifest } = await exportOrganization({
      ...common,
      source: await lab.client('past'),
      root: { table: 'organizations', where: { key: 'demo' } },
      folder: path,
      recipients: undefined,
    });
    const files = new Map<string, Buffer>();
    for (const name of await readdir(join(path, 'data')))
      files.set(`data/${name}`, await readFile(join(path, 'data', name)));
    const clients = { staging: await lab.client('live'), now: await lab.client('live') };
    return new Folder({ lab, path, original: manifest, files, clients });
  }

  /** With the sums of what it says that is there. */
  async write(manifest: unknown, files: ReadonlyMap<string, Buffer>): Promise<void> {
    const sums = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null) return value;
      if (Array.isArray(value)) return value.map(sums);
      const { file } = value as { file?: unknown };
      const own = typeof file === 'string' ? files.get(file) : undefined;
      if (!own) return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, sums(one)]));
      return { ...value, bytes: own.length, sha256: createHash('sha256').update(own).digest('hex') };
    };
    await writeFile(join(this.path, 'manifest.json'), manifestText(sums(manifest) as ExportManifest));
    for (const [name, content] of files) await writeFile(join(this.path, name), content);
  }

  async plan() {
    const folder = await openExport(this.path, async () => assert.fail('it is not encrypted'));
    const file = join(this.lab.folder, 'import.plan');
    for (const suffix of ['', '.undo']) await rm(file + suffix, { force: true });
    const all = { insert: true, revert: true, remove: true };
    const policies = { all, onConflict: 'stop', onSchemaChange: 'stop' } as const;
    return planImport({ ...common, ...this.clients, folder, policies, file });
  }
}

/** What belongs to the other tenant, and must not change whatever a folder says. */
const ofOthers = (lines: readonly string[]) =>
  lines.filter((line) =>
    /^public\.(organizations \(2,|users \([^,]*,2,|conversations \(\d+,2,|log \(2,|events \(\d+,[^,]*,2)/.test(
      line,
    ),
  );

test('any value of a manifest and any byte of a file changed – refused with a code, or planned; no SQL of it runs, rows of others stay', async (t) => {
  await using lab = await makeLab(server);
  const folder = await Folder.make(lab);
  const { now } = folder.clients;
  await now.query(
    `delete from conversations where id in (2, 4); update users set email = 'x' where email = 'u2'`,
  );
  const earlier = await lab.content('live');
  const counts = { refused: 0, planned: 0, applied: 0 };
  const change = fc.record({
    values: fc.array(fc.tuple(fc.nat(), hostileValue), { maxLength: 2 }),
    bytes: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 2 }),
  });
  await fc.assert(
    fc.asyncProperty(change, async ({ values, bytes }) => {
      const manifest = values.reduce<unknown>(
        (all, [place, value]) => replaceOne(all, place, value),
        folder.original,
      );
      const files = new Map([...folder.files].map(([name, content]) => [name, Buffer.from(content)]));
      const contents = [...files.values()];
      for (const [place, value] of bytes) {
        const content = contents[place % contents.length]!;
        content[place % content.length] = value;
      }
      await folder.write(manifest, files);
      try {
        const { plan } = await folder.plan();
        counts.planned++;
        same(await lab.content('live'), earlier);
        if (plan.problems.length > 0) return;
        const result = await lab.apply(plan.file, { now });
        counts.applied++;
        same(ofOthers(await lab.content('live')), ofOthers(earlier));
        if (result.state === 'applied')
          await lab.undo(result.undoFile!, { now, redoFile: `${plan.file}.redo${counts.applied}` });
        same(await lab.content('live'), earlier);
      } catch (thrown) {
        assertRefused(thrown);
        counts.refused++;
        same(await lab.content('live'), earlier);
      }
    }),
    // The folder as it is comes first.
    { numRuns: 15, examples: [[{ values: [], bytes: [] }]], endOnFailure: true },
  );
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.applied > 0, JSON.stringify(counts));
  await assertNoCanary(now);
});

test('rows with keys of another tenant, said to be shared – refused, although the file does not say that they are its own', async () => {
  await using lab = await makeLab(server);
  const folder = await Folder.make(lab);
  const earlier = await lab.content('live');
  const users = folder.original.tables.find(({ name }) => name === 'users')!;
  const file = users.own!.file;
  // The first user of this tenant under the key of the other's first: with --revert it would change hands.
  const text = folder.files.get(file)!.toString();
  const forged = text.replace(/0{11}2,/, '000000000001,');
  assert.notEqual(forged, text);
  const shared = { ...users.own!, file };
  const manifest = {
    ...folder.original,
    tables: folder.original.tables.map((one) => (one === users ? { ...one, own: null, shared } : one)),
  };
  await folder.write(manifest, new Map([...folder.files, [file, Buffer.from(forged)]]));
  await assert.rejects(folder.plan(), { code: 'IMPORT_CONFLICT', message: /public\.users/ });
  same(await lab.content('live'), earlier);
});

test('a folder that leaves things out, or leads elsewhere – refused with a code', async () => {
  await using lab = await makeLab(server);
  const folder = await Folder.make(lab);
  const { original, files } = folder;
  const [first] = original.tables;
  const column = { name: 'x', type: 'text', base: 'text' };
  const forged: Record<string, [unknown, string]> = {
    'no root': [{ ...original, root: { table: 'organizations', where: {} } }, 'EXPORT_INVALID'],
    'a root that is no table': [{ ...original, root: { table: 'none', where: { key: 'demo' } } }, 'USAGE'],
    'a root of no column': [
      { ...original, root: { table: 'organizations', where: { 'key" = 1; --': '' } } },
      'USAGE',
    ],
    'a root with a NUL': [
      { ...original, root: { table: 'organizations', where: { key: 'demo\0' } } },
      'EXPORT_INVALID',
    ],
    'a table twice': [{ ...original, tables: [first, first] }, 'EXPORT_INVALID'],
    'a column twice': [{ ...original, tables: [{ ...first, columns: [column, column] }] }, 'EXPORT_INVALID'],
    'a path out of it': [
      { ...original, tables: [{ ...first, own: { ...first!.own, file: 'data/../../../etc/passwd.csv' } }] },
      'EXPORT_INVALID',
    ],
    'a catalog': [
      { ...original, tables: [{ ...first, schema: 'pg_catalog', name: 'pg_authid' }] },
      'IMPORT_CONFLICT',
    ],
  };
  for (const [what, [manifest, code]] of Object.entries(forged)) {
    await folder.write(manifest, files);
    await assert.rejects(folder.plan(), { code }, what);
  }
  // A key that the file has not is no key: the rows could not be found again.
  const users = original.tables.find(({ name }) => name === 'users')!;
  const bare = { ...users, columns: users.columns.filter(({ name }) => name !== 'id') };
  await folder.write(
    { ...original, tables: original.tables.map((one) => (one === users ? bare : one)) },
    files,
  );
  await assert.rejects(folder.plan(), { code: 'EXPORT_INVALID' });
});
