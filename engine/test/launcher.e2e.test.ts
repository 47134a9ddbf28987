/** The launcher on the Node.js that the machine has, and the program's manners: signals, closed pipes, exit statuses. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const launcher = fileURLToPath(new URL('../bin/helvino.mjs', import.meta.url));
/** Without npm's additions to PATH, so that `node` is the machine's own where it has one. */
const path = (process.env.PATH ?? '')
  .split(delimiter)
  .filter((folder) => !folder.includes('node_modules'))
  .join(delimiter);
const own = spawnSync('node', ['--version'], { env: { PATH: path }, encoding: 'utf8' });
const node = own.status === 0 ? 'node' : process.execPath;
const env = { PATH: path, HOME: tmpdir() };

let home: string;
let silent: Server;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-launcher-'));
  // A server that accepts and says nothing, so that a backup is under way for as long as a test needs.
  silent = createServer((socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as { port: number };
  const made = run(
    'init',
    '--no-check',
    '--path',
    'repository',
    '--url',
    `postgresql://backup@127.0.0.1:${port}/x`,
  );
  assert.equal(made.status, 0, made.stderr);
});

after(async () => {
  silent.close();
  await rm(home, { recursive: true, force: true });
});

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(node, [launcher, ...args], { cwd: home, env, encoding: 'utf8' });
}

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
  readonly milliseconds: number;
}

/** Starts a backup of the silent server and does something to it once it is connected. */
async function duringBackup(
  act: (child: {
    kill(signal: NodeJS.Signals): void;
    group(signal: NodeJS.Signals): void;
    pid: number;
  }) => Promise<void> | void,
  on = node,
): Promise<Ended> {
  const child = spawn(on, [launcher, 'backup'], { cwd: home, env, detached: true });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<{ status: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.on('close', (status, signal) => resolve({ status, signal })),
  );
  await new Promise<void>((resolve) => silent.once('connection', () => resolve()));
  const begun = performance.now();
  await act({
    kill: (signal) => child.kill(signal),
    group: (signal) => process.kill(-child.pid!, signal),
    pid: child.pid!,
  });
  return { ...(await ended), stderr, milliseconds: performance.now() - begun };
}

test('the machine’s own Node.js – the engine runs on Node.js 26 or newer', () => {
  const { status, stdout } = run('version', '--json');
  assert.equal(status, 0);
  const { ok, result } = JSON.parse(stdout) as { ok: boolean; result: { node: string } };
  assert.equal(ok, true);
  assert.ok(Number(/^v(\d+)/.exec(result.node)?.[1]) >= 26, result.node);
});

test('an unknown verb – exit 64, what was meant, nothing on standard output', () => {
  const { status, stdout, stderr } = run('bakup');
  assert.deepEqual(
    [status, stdout, stderr],
    [64, '', 'error: unknown command "bakup"\nhint: did you mean backup?\ncode: USAGE\n'],
  );
});

test('an error with --json – one object on standard output, the same exit status', () => {
  const { status, stdout, stderr } = run('--json', 'bakup');
  assert.deepEqual([status, stderr], [64, '']);
  assert.equal((JSON.parse(stdout) as { error: { code: string } }).error.code, 'USAGE');
});

test('SIGTERM during a backup – stopped in order, exit 130, says so', async () => {
  const { status, stderr } = await duringBackup((child) => child.kill('SIGTERM'));
  assert.equal(status, 130, stderr);
  assert.match(stderr, /error: stopped by SIGTERM\n.*code: INTERRUPTED/s);
});

test('Ctrl-C, which reaches the engine twice – counts as one, so that cleaning up is not cut short', async () => {
  const { status, stderr } = await duringBackup((child) => child.group('SIGINT'));
  assert.equal(status, 130, stderr);
  assert.match(stderr, /code: INTERRUPTED/);
});

test('on Node.js 26 – the launcher is the engine, no second process; a signal stops it in order', async (t) => {
  if (process.platform !== 'linux') return t.skip('looks into /proc');
  let children: number[] | undefined;
  const { status, stderr } = await duringBackup((child) => {
    children = childrenOf(child.pid);
    child.kill('SIGTERM');
  }, process.execPath);
  assert.deepEqual([status, children], [130, []], stderr);
  assert.doesNotMatch(stderr, /Warning/);
});

test('the first process of a container, and the engine is killed – the status is not 0', async (t) => {
  const words = ['--pid', '--fork', '--mount-proc', node, launcher, 'backup'];
  if (process.getuid?.() !== 0 || spawnSync('unshare', ['--pid', '--fork', 'true']).status !== 0)
    return t.skip('unshare --pid wants root');
  if (Number(/^v(\d+)/.exec(own.stdout ?? '')?.[1] ?? 26) >= 26)
    return t.skip('there the launcher is the engine');
  const child = spawn('unshare', words, { cwd: home, env });
  const ended = new Promise((resolve) => child.on('close', (status) => resolve(status)));
  await new Promise<void>((resolve) => silent.once('connection', () => resolve()));
  const [inside] = childrenOf(child.pid!);
  const [engine] = childrenOf(inside!);
  process.kill(engine!, 'SIGKILL');
  assert.equal(await ended, 137);
});

function childrenOf(pid: number): number[] {
  return (readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').match(/\d+/g) ?? []).map(Number);
}

test('the reader of standard output is gone – no error, the work’s own exit status', async () => {
  const child = spawn('bash', ['-c', `set -o pipefail; "${node}" "${launcher}" bakup --json | true`], {
    cwd: home,
    env,
  });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const status = await new Promise((resolve) => child.on('close', resolve));
  assert.deepEqual([status, stderr], [64, '']);
});
