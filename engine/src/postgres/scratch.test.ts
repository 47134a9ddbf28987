import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createScratch, sweepScratch } from './scratch.ts';

let parent: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'hv-scratch-'));
  await chmod(parent, 0o711);
});
afterEach(() => rm(parent, { recursive: true, force: true }));

/** A scratch place of a process that was killed. */
async function orphan(): Promise<string> {
  const module = fileURLToPath(new URL('./scratch.ts', import.meta.url));
  const program = `const { createScratch } = await import(${JSON.stringify(module)});
    const scratch = await createScratch({ parent: ${JSON.stringify(parent)}, purpose: 'test' });
    console.log(scratch.directory); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  assert.deepEqual(await sweepScratch({ parent }), [], 'its owner lives');
  child.kill('SIGKILL');
  await once(child, 'exit');
  return line.toString().trim();
}

test('made and removed – private while it is there, nothing left', async () => {
  const scratch = await createScratch({ parent: join(parent, 'new'), purpose: 'test' });
  assert.match(scratch.directory, /\/helvino-test-\w+$/);
  assert.equal((await stat(scratch.directory)).mode & 0o066, 0);
  await writeFile(join(scratch.directory, 'file'), '');
  await scratch.remove();
  assert.deepEqual(await readdir(join(parent, 'new')), []);
});

test('a place that cannot be made – TARGET_ error that names it', async () => {
  await writeFile(join(parent, 'file'), '');
  await assert.rejects(createScratch({ parent: join(parent, 'file/below'), purpose: 'test' }), {
    code: 'TARGET_IO',
    message: /file\/below/,
  });
});

test('a folder that the account of the servers may not enter – TARGET_DENIED', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, async () => {
  await chmod(parent, 0o700);
  await assert.rejects(createScratch({ parent, purpose: 'test' }), {
    code: 'TARGET_DENIED',
    message: /may not enter/,
  });
  assert.deepEqual(await readdir(parent), []);
});

test('the owner was killed – swept; the living, the kept, and what is not ours stay', async () => {
  const dead = await orphan();
  const living = await createScratch({ parent, purpose: 'living' });
  const kept = await createScratch({ parent, purpose: 'kept' });
  await kept.keep();
  await mkdir(join(parent, 'helvino-other'));
  await mkdir(join(parent, 'else'));
  await writeFile(join(parent, 'else/.helvino-owner'), await readFile(join(dead, '.helvino-owner')));
  await symlink(join(parent, 'else'), join(parent, 'helvino-link'));
  assert.deepEqual(await sweepScratch({ parent }), [dead]);
  const names = (await readdir(parent)).map((name) => name.replace(/-\w{6}$/, '')).sort();
  assert.deepEqual(names, ['else', 'helvino-kept', 'helvino-link', 'helvino-living', 'helvino-other'].sort());
  await living.remove();
});

test('an owner on another host or in another container, or half an owner file – stays; one from before a reboot – swept', async () => {
  const dead = await orphan();
  const file = join(dead, '.helvino-owner');
  const owner = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
  for (const change of [{ host: 'elsewhere' }, { space: 'pid:[1]' }]) {
    await writeFile(file, JSON.stringify({ ...owner, ...change }));
    assert.deepEqual(await sweepScratch({ parent }), [], JSON.stringify(change));
  }
  await writeFile(file, '{"pid": 1');
  assert.deepEqual(await sweepScratch({ parent }), []);
  await writeFile(file, JSON.stringify({ ...owner, pid: process.pid, boot: 'before' }));
  assert.deepEqual(await sweepScratch({ parent }), [dead]);
});

test('a folder with the process of someone else in postmaster.pid – the process lives on', async () => {
  const dead = await orphan();
  const bystander = spawn('sleep', ['60'], { stdio: 'ignore', cwd: '/' });
  await once(bystander, 'spawn');
  await mkdir(join(dead, 'data'));
  await writeFile(join(dead, 'data/postmaster.pid'), `${bystander.pid}\n${join(dead, 'data')}\n`);
  assert.deepEqual(await sweepScratch({ parent }), [dead]);
  assert.equal(bystander.exitCode ?? bystander.signalCode, null);
  bystander.kill();
});
