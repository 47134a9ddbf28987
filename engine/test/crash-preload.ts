/**
 * Preloaded (`node --import`) into a process and its worker threads: counts every step that changes files below a folder
 * and kills the process at one of them, so that a restore can be killed anywhere without a hook in it. A step that writes
 * bytes is killed when half of them are written. Environment: HELVINO_TEST_BELOW (folder), HELVINO_TEST_TRACE (a file that gets
 * a line a step, shared by the threads), HELVINO_TEST_KILL_AT (from 1; 0: never).
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

type Call = (...args: unknown[]) => unknown;
type Half = (args: unknown[]) => unknown;

const below = process.env.HELVINO_TEST_BELOW ?? '';
const killAt = Number(process.env.HELVINO_TEST_KILL_AT ?? 0);
const { writeSync, readFileSync } = fs;
const trace = fs.openSync(process.env.HELVINO_TEST_TRACE ?? '/dev/null', 'a+');
const kill = () => process.kill(process.pid, 'SIGKILL');
/** Descriptors of files below the folder. */
const descriptors = new Set<number>();
/** The last, half step is under way: what it calls is no step of its own. */
let dying = false;

function concerns(first: unknown): boolean {
  return typeof first === 'number' ? descriptors.has(first) : String(first).startsWith(below);
}

/** True when the process is to die at this step. */
function step(name: string, args: unknown[]): boolean {
  if (dying) return false;
  writeSync(trace, `${name} ${String(args[0]).slice(below.length)}\n`);
  if (killAt === 0) return false;
  const text = readFileSync(process.env.HELVINO_TEST_TRACE!, 'latin1');
  dying = text.split('\n').length - 1 >= killAt;
  return dying;
}

function watch(holder: object, name: string, half?: Half): void {
  const methods = holder as Record<string, Call>;
  const original = methods[name]!;
  methods[name] = (...args: unknown[]) => {
    if (!concerns(args[0])) return original(...args);
    if (step(name, args)) {
      if (half) original(...(half(args) as unknown[]));
      kill();
    }
    return original(...args);
  };
}

const { openSync, closeSync } = fs;
const opened = (args: unknown[]) => String(args[0]).startsWith(below) && args[1] !== 'r';
fs.openSync = ((...args: Parameters<typeof openSync>) => {
  if (opened(args) && step('openSync', args)) kill();
  const fd = openSync(...args);
  if (opened(args)) descriptors.add(fd);
  return fd;
}) as typeof openSync;
fs.closeSync = (fd) => {
  descriptors.delete(fd);
  closeSync(fd);
};
watch(fs, 'writeSync', ([fd, bytes, at = 0, length, place]) => [
  fd,
  bytes,
  at,
  Math.floor(Number(length) / 2),
  place,
]);
for (const name of [
  'ftruncateSync',
  'fchmodSync',
  'fchownSync',
  'mkdirSync',
  'chmodSync',
  'lchownSync',
  'rmSync',
])
  watch(fs, name);
// `symlinkSync(to, path)` is the one whose path comes second; test clusters have no links.
for (const name of ['mkdir', 'chmod', 'chown', 'rename', 'rm', 'open']) watch(fs.promises, name);
// Half of a file's text: written synchronously, since the process dies in this very call.
for (const name of ['writeFile', 'appendFile'] as const) {
  const original = fs.promises[name] as (...args: unknown[]) => Promise<void>;
  const sync = (name === 'writeFile' ? fs.writeFileSync : fs.appendFileSync) as Call;
  const replacement = async (...args: unknown[]) => {
    if (concerns(args[0]) && step(name, args)) {
      sync(args[0], String(args[1]).slice(0, String(args[1]).length / 2), args[2]);
      kill();
    }
    return original(...args);
  };
  Object.assign(fs.promises, { [name]: replacement });
}
syncBuiltinESMExports();
