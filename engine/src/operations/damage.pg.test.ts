import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { query } from '../../test/backup-fixture.ts';
import { assertSameTree, type Case, CrashLab, type Tree, treeOf } from '../../test/crash-fixture.ts';
import { exchange, flip } from '../../test/damage-files.ts';
import { HelvinoError } from '../base/errors.ts';
import {
  type Manifest,
  openRepository,
  packName,
  putRunNote,
  readPackContents,
} from '../repository/index.ts';
import { openFsDriver } from '../storage/index.ts';
import { hasCode } from '../storage/testing/contract-tools.ts';
import type { VerifyReport } from './verify/verify.ts';

interface Kept {
  readonly manifest: Manifest;
  readonly tree: Tree;
}

// Two backups that share packs, and one of the same server that shares nothing with them.
describe('damage', { concurrency: 1 }, () => {
  let lab: CrashLab;
  let template: Case;
  let [full, incremental, alone]: Kept[] = [];
  let table = { path: '', name: '' };
  const good = ['good', 'good', 'good'];

  before(async () => {
    lab = await CrashLab.open();
    template = await lab.newCase();
    const { rows } = await query<{ path: string }>(
      lab.server,
      'create table orders as select i, md5(i::text) from generate_series(1, 20000) i',
      'checkpoint',
      `select pg_relation_filepath('orders') as path`,
    );
    table = { path: rows[0]!.path, name: 'postgres: public.orders' };
    const manifests = [await template.backup()];
    await query(lab.server, 'create table later as select * from orders limit 5000', 'checkpoint');
    manifests.push(await template.backup({ kind: 'incremental' }));
    manifests.push(await template.backup({ database: 'other', kind: 'full' }));
    await template.repository.putProof(manifests[1]!.id, 'one', { verdict: 'proven', n: 1 });
    await template.repository.putProof(manifests[1]!.id, 'two', { verdict: 'failed', n: 2 });
    const kept: Kept[] = [];
    for (const manifest of manifests) kept.push({ manifest, tree: await template.restoredTree(manifest) });
    [full, incremental, alone] = kept;
  });
  after(() => lab[Symbol.asyncDispose]());

  /** A copy with a damaged object, for the time of `look`. */
  async function damaged(
    damage: (file: (name: string) => string) => Promise<unknown>,
    look: (one: Case) => Promise<void>,
  ): Promise<void> {
    const one = await lab.copyOf(template);
    try {
      await damage((name) => join(one.root, name));
      await look(one);
    } finally {
      await rm(one.root, { recursive: true });
    }
  }

  /** Backups that a report calls damaged by `object`. */
  function touchedBy(report: VerifyReport, object: string): string[] {
    assert.equal(report.verdict, 'failed', `${object}: ${JSON.stringify(report)}`);
    for (const backup of report.backups) {
      assert.deepEqual(
        backup.damage.map((one) => one.object).filter((one) => one !== object),
        [],
        'nothing else is named',
      );
    }
    return report.backups.filter((backup) => backup.damage.length > 0).map(({ id }) => id);
  }

  async function assertRestores(one: Case, ...kept: (Kept | undefined)[]): Promise<void> {
    for (const each of kept) {
      assertSameTree(await one.restoredTree(each!.manifest), each!.tree, each!.manifest.id);
    }
  }

  /** Fails with an error that names `what`, and no server starts on what is there; or else is equal. */
  async function assertFails(
    one: Case,
    kept: Kept | undefined,
    what: RegExp,
    orEqual = false,
  ): Promise<void> {
    const directory = `${one.root}-target`;
    try {
      await one.restore(await one.repository.manifest(kept!.manifest.database, kept!.manifest.id), directory);
      assert.ok(orEqual, 'the restore must fail');
      assertSameTree(await treeOf(directory), kept!.tree, 'what was restored all the same');
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError)) throw thrown;
      assert.match(thrown.message, what);
      assert.equal(existsSync(join(directory, 'global/pg_control')), false, 'no server starts on it');
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  /** The chunk that holds the beginning of the table, as the full backup has it. */
  async function tableChunk() {
    for await (const file of template.repository.files(full!.manifest)) {
      const chunk = file.path === table.path ? file.extents.find((extent) => extent.chunk)?.chunk : undefined;
      if (chunk) return chunk;
    }
    throw new Error(`${table.path} is not in the backup`);
  }

  function idsNaming(pack: string): string[] {
    return [full, incremental, alone]
      .filter((kept) => kept!.manifest.packs.withId(pack) !== undefined)
      .map((kept) => kept!.manifest.id);
  }

  test('no damage – verify passes at each depth', async () => {
    for (const options of [{ readData: false }, { identities: undefined }, {}]) {
      const report = await template.verify(options);
      assert.deepEqual([report.verdict, report.others], ['passed', []]);
    }
  });

  test('a bit of a data chunk – found in its stored bytes and in plain, with file and table', async () => {
    const chunk = await tableChunk();
    const object = packName(chunk.pack);
    assert.deepEqual(idsNaming(chunk.pack), [full!.manifest.id, incremental!.manifest.id]);
    for (const at of [0, chunk.stored >> 1, chunk.stored - 1]) {
      await damaged(
        (file) => flip(file(object), chunk.offset + at),
        async (one) => {
          assert.equal((await one.verify({ readData: false })).verdict, 'passed', 'structure says nothing');
          for (const identities of [undefined, one.keys.identities]) {
            const report = await one.verify({ identities });
            assert.deepEqual(touchedBy(report, object), [full!.manifest.id, incremental!.manifest.id]);
            const files = report.backups[0]!.damage[0]!.files;
            assert.equal(files.find(({ path }) => path === table.path)?.table, table.name);
          }
          for (const kept of [full, incremental]) {
            await assertFails(
              one,
              kept,
              new RegExp(`${object} is damaged .*${table.path} \\(${table.name}\\)`),
            );
          }
          if (at === 0) await assertRestores(one, alone);
        },
      );
    }
  });

  test('a bit of header, directory or trailer of a pack – found without reading the data', async () => {
    const { pack } = await tableChunk();
    const structure = [...incremental!.manifest.packs].find(
      (one) => one.structure && full!.manifest.packs.withId(one.id) === undefined,
    )!;
    for (const id of [pack, structure.id]) {
      const object = packName(id);
      const { size, body } = await readPackContents(template.repository.driver, id, template.repository.ring);
      const places = [0, 9, 25, 33, 43, 46, body, (body + size) >> 1, size - 12, size - 1];
      for (const at of places) {
        await damaged(
          (file) => flip(file(object), at),
          async (one) => {
            assert.deepEqual(
              touchedBy(await one.verify({ readData: false }), object),
              idsNaming(id),
              `${at}`,
            );
            // A restore needs the chunks alone.
            if (at === 0 || at === body) await assertRestores(one, incremental);
          },
        );
      }
    }
  });

  test('a bit of a structure chunk – found without reading the data; others restore', async () => {
    const block = incremental!.manifest.blocks.find((one) => idsNaming(one.pack).length === 1)!;
    const object = packName(block.pack);
    for (const at of [block.offset, block.offset + block.stored - 1]) {
      await damaged(
        (file) => flip(file(object), at),
        async (one) => {
          for (const readData of [false, true]) {
            assert.deepEqual(touchedBy(await one.verify({ readData }), object), [incremental!.manifest.id]);
          }
          await assertFails(one, incremental, new RegExp(`${object} is damaged`));
          await assertRestores(one, full, alone);
        },
      );
    }
  });

  test('a pack is cut, missing or exchanged – found without reading the data', async () => {
    const { pack } = await tableChunk();
    const structure = incremental!.manifest.blocks.find((one) => idsNaming(one.pack).length === 1)!.pack;
    const other = [...alone!.manifest.packs].find((one) => !one.structure)!.id;
    const sameSize = async (from: string, to: string) => {
      const [bytes, size] = [await readFile(from), (await readFile(to)).length];
      await writeFile(to, Buffer.concat([bytes, Buffer.alloc(size)]).subarray(0, size));
    };
    const ways: readonly [string, (file: string, home: string) => Promise<unknown>][] = [
      ['cut by a byte', async (file) => truncate(file, (await readFile(file)).length - 1)],
      ['half', async (file) => truncate(file, (await readFile(file)).length >> 1)],
      ['empty', (file) => writeFile(file, '')],
      ['longer', (file) => writeFile(file, 'x', { flag: 'a' })],
      ['missing', (file) => rm(file)],
      ['another pack', (file, home) => sameSize(join(home, packName(other)), file)],
    ];
    for (const id of [pack, structure]) {
      const object = packName(id);
      for (const [way, change] of ways) {
        await damaged(
          (file) => change(file(object), file('')),
          async (one) => {
            for (const readData of [false, true])
              assert.deepEqual(touchedBy(await one.verify({ readData }), object), idsNaming(id), way);
            const mayPass = way === 'cut by a byte' || way === 'longer' || way === 'half';
            await assertFails(one, incremental, new RegExp(object), mayPass);
            if (way === 'missing') await assertRestores(one, ...(id === pack ? [alone] : [full, alone]));
          },
        );
      }
    }
  });

  test('the newest backup misses a pack – the next one is a full one, and good; an incremental is refused', async () => {
    const { pack } = await tableChunk();
    await damaged(
      (file) => rm(file(packName(pack))),
      async (one) => {
        await assert.rejects(one.backup({ kind: 'incremental' }), (thrown: HelvinoError) => {
          return thrown.code === 'REPOSITORY_DAMAGED' && thrown.message.includes(packName(pack));
        });
        const next = await one.backup();
        assert.equal(next.kind, 'full');
        assert.equal((await one.verify({ backupId: next.id })).verdict, 'passed');
      },
    );
  });

  test('a manifest is changed, cut or missing – named; the others restore', async () => {
    const object = `backups/main/${incremental!.manifest.id}`;
    const size = (await readFile(join(template.root, object))).length;
    const ways: ((file: string) => Promise<unknown>)[] = [
      ...[0, 9, 20, 30, size >> 1, size - 1].map((at) => (file: string) => flip(file, at)),
      (file) => truncate(file, size - 1),
      (file) => truncate(file, 10),
      (file) => writeFile(file, ''),
      (file) => rm(file),
    ];
    for (const change of ways) {
      await damaged(
        (file) => change(file(object)),
        async (one) => {
          for (const readData of [false, true])
            assert.deepEqual(touchedBy(await one.verify({ readData }), object), [incremental!.manifest.id]);
          await assertFails(one, incremental, new RegExp(incremental!.manifest.id));
        },
      );
    }
    await damaged(
      (file) => flip(file(object), 9),
      async (one) => {
        await assertRestores(one, full, alone);
        await assert.rejects(one.collect(), hasCode('REPOSITORY_DAMAGED'), 'nothing is collected then');
        assert.equal(
          (await one.backup()).parent,
          full!.manifest.id,
          'the next backup builds on the last good one',
        );
      },
    );
  });

  test('two manifests are exchanged – both are named', async () => {
    const names = [full, incremental].map((kept) => `backups/main/${kept!.manifest.id}`);
    await damaged(
      (file) => exchange(file(names[0]!), file(names[1]!)),
      async (one) => {
        const report = await one.verify({ readData: false });
        const bad = report.backups.flatMap((backup) => backup.damage.map((each) => each.object));
        assert.deepEqual(bad, names);
        for (const kept of [full, incremental]) await assertFails(one, kept, /is damaged/);
        await assertRestores(one, alone);
      },
    );
  });

  test('a data key is changed, cut, missing or exchanged – named; backups under other keys restore', async () => {
    const keyId = full!.manifest.keys[0]!;
    const [name = ''] = await template.names(`keys/data/${keyId}/`);
    const [other = ''] = await template.names(`keys/data/${alone!.manifest.keys[0]}/`);
    const object = `keys/data/${keyId}`;
    const size = (await readFile(join(template.root, name))).length;
    const ways: ((file: (name: string) => string) => Promise<unknown>)[] = [
      ...[0, 40, 120, size >> 1, size - 1].map(
        (at) => (file: (name: string) => string) => flip(file(name), at),
      ),
      (file) => truncate(file(name), size - 1),
      (file) => writeFile(file(name), ''),
      async (file) => writeFile(file(name), await readFile(file(other))),
      (file) => rm(file(name)),
    ];
    for (const change of ways) {
      await damaged(change, async (one) => {
        const touched = [full!.manifest.id, incremental!.manifest.id];
        assert.deepEqual(touchedBy(await one.verify({ readData: false }), object), touched);
        await assertFails(one, full, new RegExp(object));
        assert.equal(existsSync(`${one.root}-target`), false, 'refused before anything is written');
      });
    }
    await damaged(
      (file) => rm(file(name)),
      async (one) => {
        // Without the recovery identity, too.
        const report = await one.verify({ readData: false, identities: undefined });
        assert.equal(touchedBy(report, object).length, 2);
        await assertRestores(one, alone);
      },
    );
  });

  test('the catalog key is changed, missing or exchanged – named; backups restore with the key of the host', async () => {
    const keyId = template.repository.ring.currentId;
    const [name = ''] = await template.names('keys/catalog/');
    const [other = ''] = await template.names('keys/data/');
    const ways: ((file: (name: string) => string) => Promise<unknown>)[] = [
      (file) => flip(file(name), 200),
      (file) => rm(file(name)),
      async (file) => writeFile(file(name), await readFile(file(other))),
    ];
    for (const change of ways) {
      await damaged(change, async (one) => {
        const report = await one.verify({ readData: false });
        assert.deepEqual(
          [report.verdict, report.others.map(({ object }) => object)],
          ['failed', [`keys/catalog/${keyId}`]],
        );
        const driver = await openFsDriver({ root: one.root });
        await assert.rejects(openRepository(driver, { identities: one.keys.identities }), HelvinoError);
      });
    }
    await damaged(ways[0]!, (one) => assertRestores(one, full));
  });

  test('a wrong identity – is no damage', async () => {
    const { keys } = await lab.newCase();
    await assert.rejects(template.verify({ identities: keys.identities }), hasCode('KEY_WRONG'));
  });

  test('helvino.json is changed, cut or missing – refused, or named', async () => {
    const text = await readFile(join(template.root, 'helvino.json'), 'utf8');
    const open = async (one: Case) =>
      openRepository(await openFsDriver({ root: one.root }), { ring: one.repository.ring });
    const refused: [string, HelvinoError['code']][] = [
      [text.slice(1), 'REPOSITORY_DAMAGED'],
      [text.slice(0, 20), 'REPOSITORY_DAMAGED'],
      ['', 'REPOSITORY_DAMAGED'],
      [text.replace('"id"', '"ie"'), 'REPOSITORY_DAMAGED'],
      [text.replace('"format":1', '"format":0'), 'REPOSITORY_DAMAGED'],
      [text.replace('"format":1', '"format":3'), 'REPOSITORY_TOO_NEW'],
    ];
    for (const [content, code] of refused) {
      await damaged(
        (file) => writeFile(file('helvino.json'), content),
        async (one) => {
          await assert.rejects(open(one), hasCode(code));
        },
      );
    }
    await damaged(
      (file) => rm(file('helvino.json')),
      async (one) => {
        await assert.rejects(open(one), hasCode('REPOSITORY_NOT_FOUND'));
      },
    );
    const { id } = template.repository;
    const changed = text.replace(id, `${id[0] === 'a' ? 'b' : 'a'}${id.slice(1)}`);
    await damaged(
      (file) => writeFile(file('helvino.json'), changed),
      async (one) => {
        const other = { ...one, repository: await open(one) };
        const report = await template.verify({ repository: other.repository });
        assert.equal(report.verdict, 'failed');
        assert.match(report.others[0]!.why, /while helvino\.json says/);
        await assert.rejects(
          template.restore(full!.manifest, `${one.root}-target`, { repository: other.repository }),
          (thrown: HelvinoError) =>
            thrown.code === 'REPOSITORY_DAMAGED' && /helvino\.json/.test(thrown.message),
        );
      },
    );
  });

  test('proofs are changed or exchanged – named; the backup is good', async () => {
    const names = await template.names('proofs/');
    assert.equal(names.length, 2);
    const [first] = names;
    const ways: [(file: (name: string) => string) => Promise<unknown>, readonly string[]][] = [
      [(file) => flip(file(first!), 60), [first!]],
      [(file) => flip(file(first!), 9), [first!]],
      [(file) => exchange(file(first!), file(names[1]!)), names],
      [(file) => writeFile(file(first!), ''), [first!]],
    ];
    for (const [change, named] of ways) {
      await damaged(change, async (one) => {
        const report = await one.verify({ readData: false });
        assert.deepEqual(
          [report.verdict, report.others.map(({ object }) => object).sort()],
          ['failed', named],
        );
        assert.ok(report.backups.every(({ state }) => state === 'good'));
      });
    }
  });

  test('a note of a run is changed – named; the backups are good', async () => {
    const name = 'runs/main/a-physical/begun';
    for (const at of [3, 40]) {
      const one = await lab.copyOf(template);
      await putRunNote(one.repository, { database: 'main', run: 'a-physical', what: 'begun' }, 'began');
      assert.deepEqual((await one.verify()).others, []);
      await flip(join(one.root, name), at);
      const { others, backups } = await one.verify();
      assert.deepEqual(
        [others.map(({ object }) => object), backups.map(({ state }) => state)],
        [[name], good],
      );
    }
  });

  test('ledger entries are missing or changed – entered again and told, or named; nothing is lost', async () => {
    const [first = '', second = ''] = await template.names('ledger/');
    await damaged(
      async (file) => {
        await rm(file(first));
        await writeFile(file(second), 'not empty');
      },
      async (one) => {
        const { verdict, entered, others, backups } = await one.verify();
        assert.deepEqual(entered, [first]);
        assert.deepEqual([verdict, others.map(({ object }) => object)], ['failed', [second]]);
        assert.deepEqual(
          backups.map(({ state }) => state),
          good,
        );
        assert.deepEqual(await one.names('ledger/'), await template.names('ledger/'));
        await rm(join(one.root, second));
        const again = await one.verify();
        assert.deepEqual([again.verdict, again.entered], ['passed', [second]]);
      },
    );
  });

  test('a lease is damaged – backups go on, collection waits for it', async () => {
    const garbage = `packs/aa/${'a'.repeat(32)}`;
    await damaged(
      async (file) => {
        const driver = await openFsDriver({ root: file('') });
        await driver.put('leases/run/00000001', [Buffer.from('{"kin')], { ifAbsent: true });
        await driver.put(garbage, [Buffer.from('garbage')], { ifAbsent: true });
      },
      async (one) => {
        await one.backup();
        await one.collect();
        assert.ok((await one.names('packs/aa/')).includes(garbage));
        assert.equal((await one.verify()).verdict, 'passed');
      },
    );
  });

  test('a pack in use is marked as garbage – nothing is lost, a backup that needs it waits for collection', async () => {
    const { pack } = await tableChunk();
    await damaged(
      async (file) => (await openFsDriver({ root: file('') })).put(`trash/${pack}`, [], { ifAbsent: true }),
      async (one) => {
        assert.equal((await one.verify()).verdict, 'passed');
        await assert.rejects(one.backup(), hasCode('REPOSITORY_BUSY'));
        await one.collect();
        assert.deepEqual(await one.names('trash/'), []);
        await assertRestores(one, full);
        await one.backup({ kind: 'incremental' });
      },
    );
  });
});
