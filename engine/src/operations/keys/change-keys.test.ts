import assert from 'node:assert/strict';
import { chmod, chown, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { asUser, isRoot } from '../../../test/as-user.ts';
import { newConfigText, parseConfigText } from '../../config/index.ts';
import {
  createIdentity,
  createRepository,
  formatCatalogRing,
  openIdentities,
  openRepository,
  parseCatalogRing,
  recipientOf,
} from '../../repository/index.ts';
import { openMemoryDriver } from '../../storage/index.ts';
import { changeRecipients, rotateCatalogKey } from './change-keys.ts';

const helvino = { uid: 23, gid: 34 };

/** A repository for one identity, and a folder with helvino.yaml and the catalog key, which as root are root's and of group 34. */
async function newLab(t: TestContext, modes: { readonly folder: number; readonly file: number }) {
  const folder = await mkdtemp(join(tmpdir(), 'hv-keys-'));
  t.after(async () => {
    await chmod(folder, 0o700);
    await rm(folder, { recursive: true });
  });
  const [file, keyFile] = [join(folder, 'helvino.yaml'), join(folder, 'helvino.catalog.key')];
  const [mine, other] = [await createIdentity(), await createIdentity()];
  const recipients = [await recipientOf(mine), await recipientOf(other)];
  const driver = openMemoryDriver();
  const repository = await createRepository(driver, { recipients });
  const storage = { type: 'fs', path: '/var/backups/helvino' } as const;
  const named = { name: 'main', storage, recipients, catalogKeyFile: './helvino.catalog.key' };
  const database = { name: 'shop', connection: {}, repository: 'main' };
  await writeFile(file, newConfigText({ repository: named, database }));
  await writeFile(keyFile, formatCatalogRing(repository.ring.keys));
  for (const path of [file, keyFile, folder]) {
    if (isRoot) await chown(path, 0, helvino.gid);
    await chmod(path, path === folder ? modes.folder : modes.file);
  }
  const identities = await openIdentities(mine, 'here');
  const change = { repository, file, repositoryNames: ['main'], recipients: recipients.slice(0, 1) };
  const stored = async () => {
    const names: string[] = [];
    for await (const { name } of driver.list('')) names.push(name);
    return names;
  };
  return { folder, file, keyFile, driver, change, identities, other, stored };
}

test("a recipient removed, the catalog key rotated, in root's files for our group – the repository and the files agree", async (t) => {
  const { folder, file, keyFile, driver, change, identities, other } = await newLab(t, {
    folder: 0o2770,
    file: 0o660,
  });
  await asUser(helvino, () => changeRecipients(change, identities));
  const { repositories } = parseConfigText(await readFile(file, 'utf8'), 'f');
  assert.deepEqual(repositories.main!.recipients, change.recipients);
  const outsider = await openIdentities(other, 'there');
  await assert.rejects(openRepository(driver, { identities: outsider }), { code: 'KEY_WRONG' });

  const id = await asUser(helvino, () => rotateCatalogKey(change, keyFile));
  const ring = parseCatalogRing(await readFile(keyFile, 'utf8'), 'f');
  assert.deepEqual([ring.currentId, ring.ids.length], [id, 2]);
  const recovered = await openRepository(driver, { identities });
  assert.deepEqual([...recovered.ring.ids].sort(), [...ring.ids].sort());
  assert.deepEqual((await readdir(folder)).sort(), ['helvino.catalog.key', 'helvino.yaml']);
});

test('files that cannot be changed – refused before anything in the repository is', async (t) => {
  const { file, keyFile, change, identities, stored } = await newLab(t, { folder: 0o550, file: 0o440 });
  const [names, text] = [await stored(), await readFile(file, 'utf8')];
  for (const work of [() => changeRecipients(change, identities), () => rotateCatalogKey(change, keyFile)])
    await asUser(helvino, () =>
      assert.rejects(work, {
        code: 'CONFIG_INVALID',
        message: /cannot be changed/,
        hint: /^it is as it was/,
      }),
    );
  assert.deepEqual([await stored(), await readFile(file, 'utf8')], [names, text]);
});

test('a file taken away meanwhile – the error says what the repository has already', async (t) => {
  const { file, change, identities } = await newLab(t, { folder: 0o770, file: 0o660 });
  // After it was read, and before it gets the new recipients.
  const remove = change.repository.driver.remove;
  change.repository.driver.remove = async (name) => {
    await rm(file, { force: true });
    await remove.call(change.repository.driver, name);
  };
  await assert.rejects(changeRecipients(change, identities), {
    code: 'CONFIG_INVALID',
    hint: new RegExp(`every key is sealed to ${change.recipients[0]} already: name exactly these`),
  });
});
