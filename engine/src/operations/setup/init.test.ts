import assert from 'node:assert/strict';
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { asUser, isRoot } from '../../../test/as-user.ts';
import { HelvinoError } from '../../base/errors.ts';
import { parseConfigText } from '../../config/index.ts';
import { createIdentity, recipientOf } from '../../repository/index.ts';
import { type InitOptions, init } from './init.ts';

const identityName = 'helvino-recovery-identity.txt';

async function newFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hv-init-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

function optionsFor(folder: string, more: Partial<InitOptions> = {}): InitOptions {
  return {
    file: join(folder, 'helvino.yaml'),
    database: 'main',
    connection: { service: 'shop' },
    repositoryName: undefined,
    storage: { type: 'fs', path: join(folder, 'repository') },
    recipients: [],
    identityFile: undefined,
    cwd: folder,
    env: {},
    ...more,
  };
}

const at = (path: string) => ({ storage: { type: 'fs', path } }) as const;

async function configIn(folder: string) {
  return parseConfigText(await readFile(join(folder, 'helvino.yaml'), 'utf8'), 'f');
}

async function errorOf(work: Promise<unknown>): Promise<HelvinoError> {
  const thrown = await work.then(
    () => assert.fail('it was accepted'),
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof HelvinoError, String(thrown));
  return thrown;
}

test('one more database, with options that its repository does not have – refused, nothing changes', async (t) => {
  const folder = await newFolder(t);
  const { recipients } = await init(optionsFor(folder));
  const before = await readFile(join(folder, 'helvino.yaml'), 'utf8');
  const names = await readdir(folder);
  const other = await recipientOf(await createIdentity());
  const none = { storage: undefined };
  for (const [more, message, hint] of [
    [
      { ...none, repositoryName: 'offsite' },
      /--repository: .* has no repository "offsite"/,
      /main; .*--path/,
    ],
    [
      { ...none, recipients: [other] },
      /--recipient: the repository "main" .* is for age1/,
      /`helvino key add`/,
    ],
    [{ ...none, identityFile: 'x.txt' }, /--identity-out: the repository "main"/, /leave it out/],
    [
      { ...at(join(folder, 'other')), repositoryName: 'main' },
      /--path: the repository "main" .* is at .*repository, not at .*other/,
      /leave --path out/,
    ],
  ] as const) {
    const error = await errorOf(init(optionsFor(folder, { database: 'shop', ...more })));
    assert.equal(error.code, 'USAGE');
    assert.match(error.message, message);
    assert.match(error.hint, hint);
  }
  const bad = { ...at(join(folder, 'other')), database: 'shop', recipients: ['age1nonsense'] };
  assert.equal((await errorOf(init(optionsFor(folder, bad)))).code, 'KEY_WRONG');
  assert.equal(await readFile(join(folder, 'helvino.yaml'), 'utf8'), before);
  assert.deepEqual(await readdir(folder), names);

  const same = { database: 'shop', recipients };
  assert.equal((await init(optionsFor(folder, same))).repository, 'main');
  assert.deepEqual(Object.keys((await configIn(folder)).databases), ['main', 'shop']);
});

test('one more database at another place – a repository with its own keys; the file keeps its mode, its owner and its comments', async (t) => {
  const folder = await newFolder(t);
  const first = await init(optionsFor(folder));
  const file = join(folder, 'helvino.yaml');
  await chmod(file, 0o640);
  const inode = (await stat(file)).ino;
  const shop = await init(optionsFor(folder, { ...at(join(folder, 'other')), database: 'shop' }));
  assert.notEqual(
    (await stat(file)).ino,
    inode,
    'it was written in place, and a power cut would have cut it',
  );
  assert.deepEqual(
    shop.written.map((path) => path.slice(folder.length + 1)),
    ['helvino.yaml', 'helvino-recovery-identity-shop.txt', 'helvino.catalog.shop.key'],
  );
  const stored = { ...at(join(folder, 'third')), database: 'stock', repositoryName: 'cellar' };
  await init(optionsFor(folder, { ...stored, recipients: first.recipients }));
  const { databases, repositories } = await configIn(folder);
  assert.deepEqual(
    Object.entries(databases).map(([name, { repository }]) => [name, repository]),
    [
      ['main', 'main'],
      ['shop', 'shop'],
      ['stock', 'cellar'],
    ],
  );
  assert.notDeepEqual(repositories.shop?.recipients, first.recipients);
  assert.deepEqual(repositories.cellar?.recipients, first.recipients);
  for (const place of ['repository', 'other', 'third']) {
    assert.ok((await readdir(join(folder, place))).includes('helvino.json'), place);
    assert.equal((await readdir(join(folder, place, 'evidence', 'keys'))).length, 1, place);
  }
  assert.equal((await stat(file)).mode & 0o777, 0o640);
  assert.match(await readFile(file, 'utf8'), /# Who can restore/);
  assert.match(
    (await errorOf(init(optionsFor(folder, { storage: undefined, repositoryName: 'x' })))).hint,
    /main \| shop \| cellar/,
  );
});

test('a place that cannot be – at once, and nothing is left: the corrected command works', async (t) => {
  const folder = await newFolder(t);
  await writeFile(join(folder, 'file'), '');
  await init(optionsFor(join(folder, 'elsewhere')));
  const before = await readdir(folder, { recursive: true });
  const begun = performance.now();
  for (const [place, code] of [
    [join(folder, 'file', 'repository'), 'STORAGE_DENIED'],
    ['/proc/x', 'STORAGE_DENIED'],
    [join(folder, 'elsewhere', 'repository'), 'REPOSITORY_EXISTS'],
  ] as const) {
    for (const home of [folder, join(folder, 'new', 'home')]) {
      const error = await errorOf(init(optionsFor(home, at(place))));
      assert.equal(error.code, code, error.message);
    }
  }
  assert.ok(performance.now() - begun < 3000, 'it was tried again, though that cannot help');
  for (const more of [{ recipients: ['age1nonsense'] }, { database: 'Shop 2' }, { repositoryName: '../x' }])
    await errorOf(init(optionsFor(folder, more)));
  assert.deepEqual(await readdir(folder, { recursive: true }), before);
  await init(optionsFor(folder));
});

test('it fails after the repository was made – the identity stays, and what is there is said', async (t) => {
  const folder = await newFolder(t);
  await mkdir(join(folder, 'repository'));
  await symlink('elsewhere', join(folder, 'repository', 'evidence'));
  const error = await errorOf(init(optionsFor(folder)));
  assert.equal(error.code, 'STORAGE_DENIED');
  assert.match(error.message, /the repository at .*repository was begun, but is not in .*helvino\.yaml/);
  assert.match(error.hint, /it is empty: move it and the keys/);
  const there = await readdir(folder);
  for (const name of [identityName, 'helvino.catalog.key', 'repository'])
    assert.ok(there.includes(name), name);
});

for (const name of ['keys', 'evidence'] as const) {
  test(`a plain file named ${name} in the place – never a repository whose ${name} are nowhere`, async (t) => {
    const folder = await newFolder(t);
    await mkdir(join(folder, 'repository'));
    await writeFile(join(folder, 'repository', name), '');
    const error = await errorOf(init(optionsFor(folder)));
    assert.equal(error.code, 'STORAGE_DENIED');
    assert.match(error.message, new RegExp(`repository/${name} is a file where a folder is needed`));
    assert.match(error.hint, /move it away/);
    const begun = name === 'evidence';
    assert.equal((await readdir(join(folder, 'repository'))).includes('helvino.json'), begun);
    assert.equal((await readdir(folder)).includes(identityName), begun);
    assert.ok(!(await readdir(folder)).includes('helvino.yaml'));
  });
}

test('an identity that is there, or in the place of another file – refused, and left as it is', async (t) => {
  const folder = await newFolder(t);
  await writeFile(join(folder, identityName), 'precious');
  assert.match((await errorOf(init(optionsFor(folder)))).message, /identity\.txt exists, though there is no/);
  assert.equal(await readFile(join(folder, identityName), 'utf8'), 'precious');
  for (const identityFile of ['helvino.yaml', 'helvino.catalog.key'])
    assert.equal((await errorOf(init(optionsFor(folder, { identityFile })))).code, 'USAGE');
  assert.deepEqual(await readdir(folder), [identityName]);
});

// What is there after a kill at once, in the order in which it comes to be.
const steps = [identityName, 'helvino.drill.key', 'repository', 'helvino.catalog.key', 'helvino.yaml'];

test('the steps of init – each when the one before is done', async (t) => {
  const folder = await newFolder(t);
  await init(optionsFor(folder));
  const paths = steps.map((name) => join(folder, name === 'repository' ? 'repository/helvino.json' : name));
  const times = await Promise.all(paths.map(async (path) => (await stat(path, { bigint: true })).mtimeNs));
  assert.deepEqual(
    times,
    times.toSorted((a, b) => (a < b ? -1 : 1)),
  );
  assert.deepEqual((await readdir(folder)).sort(), [...steps].sort());
});

for (let done = 1; done < steps.length; done++) {
  test(`init killed after ${steps[done - 1]} – run again it says what is there; with that moved away it works`, async (t) => {
    const folder = await newFolder(t);
    await init(optionsFor(folder));
    for (const name of steps.slice(done)) await rm(join(folder, name), { recursive: true });
    const files = steps.slice(0, done).filter((name) => name !== 'repository');
    const error = await errorOf(init(optionsFor(folder)));
    assert.equal(error.code, 'CONFIG_INVALID');
    for (const name of files) assert.ok(error.message.includes(join(folder, name)), error.message);
    assert.match(error.message, /though there is no .*helvino\.yaml; nothing is overwritten/);
    assert.match(
      error.hint,
      /move them away, with the repository if it was begun.*if backups were made.*keep them/,
    );

    await mkdir(join(folder, 'aside'));
    for (const name of files) await rename(join(folder, name), join(folder, 'aside', name));
    if (done > 2) {
      const again = await errorOf(init(optionsFor(folder)));
      assert.deepEqual(
        [again.code, /if `helvino init` was cut off, .*move it away/.test(again.hint)],
        ['REPOSITORY_EXISTS', true],
      );
      await rename(join(folder, 'repository'), join(folder, 'aside', 'repository'));
    }
    await init(optionsFor(folder));
  });
}

test('init killed when all was made – run again it says how to go on', async (t) => {
  const folder = await newFolder(t);
  await init(optionsFor(folder));
  const again = await errorOf(init(optionsFor(folder)));
  assert.match(`${again.message} | ${again.hint}`, /has a database "main" \| `helvino doctor` checks it/);
});

test("another repository in root's file for our group – made; where the file cannot be changed nothing is", {
  skip: !isRoot && 'needs root',
}, async (t) => {
  const folder = await newFolder(t);
  const file = join(folder, 'helvino.yaml');
  const { recipients } = await init(optionsFor(folder));
  const helvino = { uid: 23, gid: 34 };
  for (const path of [file, folder]) await chown(path, 0, helvino.gid);
  await chown(join(folder, 'helvino.drill.key'), helvino.uid, helvino.gid);
  await chmod(file, 0o660);
  // Each may take away only what is his own there.
  await chmod(folder, 0o3770);
  const second = { ...at(join(folder, 'second')), database: 'shop', recipients };
  await asUser(helvino, () => init(optionsFor(folder, second)));
  assert.deepEqual(Object.keys((await configIn(folder)).repositories), ['main', 'shop']);
  await chmod(file, 0o640);
  const before = await readdir(folder);
  const third = { ...at(join(folder, 'third')), database: 'stock', recipients };
  const error = await asUser(helvino, () => errorOf(init(optionsFor(folder, third))));
  assert.deepEqual([error.code, /neither write to it/.test(error.message)], ['CONFIG_INVALID', true]);
  assert.deepEqual(await readdir(folder), before);
});
