/**
 * Scratch places: folders that are gone when their work ends, however it ends. Each carries the process that owns it; the
 * next run removes those whose owner is dead, and stops servers that still run in them.
 */
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { HelvinoError, targetCode } from '../base/errors.ts';
import { isGone, startTime } from '../base/process-state.ts';
import { type Account, mayEnter, serverAccount } from './account.ts';

const prefix = 'helvino-';
const ownerFile = '.helvino-owner';

export interface Scratch {
  /** Absolute; may be entered by the account that servers run as. */
  readonly directory: string;
  remove(): Promise<void>;
  /** Keeps it for the user: it is no longer ours to remove. */
  keep(): Promise<void>;
}

export async function createScratch(options: { parent?: string; purpose: string }): Promise<Scratch> {
  const parent = options.parent ?? tmpdir();
  let directory: string;
  try {
    await mkdir(parent, { recursive: true });
    const account = await serverAccount();
    if (account && !(await mayEnter(parent, account))) {
      throw Object.assign(new Error('the account that servers run as may not enter it'), { code: 'EACCES' });
    }
    directory = await mkdtemp(join(await realpath(parent), `${prefix}${options.purpose}-`));
    await writeOwner(directory);
    await giveTo(directory, account);
  } catch (thrown) {
    throw new HelvinoError(
      targetCode(thrown),
      `no temporary place can be made in ${parent}: ${(thrown as Error).message}`,
      {
        cause: thrown,
        hint: 'name another folder with --directory, or set TMPDIR',
      },
    );
  }
  return {
    directory,
    remove: () => removeTree(directory),
    keep: () => rm(join(directory, ownerFile), { force: true }),
  };
}

/** 0711: the server's account passes through to the folders that are its own; nobody can list it. */
async function giveTo(directory: string, account: Account | undefined): Promise<void> {
  await chmod(directory, account ? 0o711 : 0o700);
  if (account) await chown(directory, account.uid, account.gid);
}

/** Removes what dead runs left, and returns which. Only what this user, or root for the servers' account, has made. */
export async function sweepScratch({ parent = tmpdir() }: { parent?: string }): Promise<string[]> {
  const swept: string[] = [];
  const account = await serverAccount();
  for (const name of await readdir(parent).catch(() => [])) {
    const directory = join(await realpath(parent), name);
    if (!name.startsWith(prefix) || !(await isOurs(directory, account)) || !(await ownerIsDead(directory)))
      continue;
    await stopServers(directory, 3);
    await removeTree(directory);
    swept.push(directory);
  }
  return swept;
}

/** In a folder for all, anyone can make one of that name, to have a process stopped. */
async function isOurs(directory: string, account: Account | undefined): Promise<boolean> {
  const facts = await lstat(directory).catch(() => undefined);
  return facts?.isDirectory() === true && (facts.uid === process.getuid?.() || facts.uid === account?.uid);
}

/** The process that owns a scratch place; its start tells a reused number apart. */
interface Owner {
  readonly pid: number;
  readonly start: string | undefined;
  /** Of the machine's run, and of the container: numbers of processes mean something within both only. */
  readonly boot: string;
  readonly space: string;
  readonly host: string;
}

async function thisProcess(): Promise<Owner> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  const space = await readlink('/proc/self/ns/pid').catch(() => '');
  return {
    pid: process.pid,
    start: processStart(process.pid),
    boot: boot.trim(),
    space,
    host: hostname(),
  };
}

/** Whole or not at all: one that sweeps at this moment must not see half of it. */
async function writeOwner(directory: string): Promise<void> {
  const path = join(directory, ownerFile);
  await writeFile(`${path}.new`, JSON.stringify(await thisProcess()));
  await rename(`${path}.new`, path);
}

/** False whenever it cannot be known: without the file (kept, or not ours), or for an owner on another machine. */
async function ownerIsDead(directory: string): Promise<boolean> {
  try {
    const owner = JSON.parse(await readFile(join(directory, ownerFile), 'utf8')) as Owner;
    const here = await thisProcess();
    if (owner.host !== here.host) return false;
    if (owner.boot !== here.boot) return true;
    return owner.space === here.space && processStart(owner.pid) !== owner.start;
  } catch {
    return false;
  }
}

/** Undefined when it is gone. */
function processStart(pid: number): string | undefined {
  return isGone(pid) ? undefined : (startTime(pid) ?? 'alive');
}

/** A scratch place may hold another. A server's folder is its data directory. */
async function stopServers(directory: string, depth: number): Promise<void> {
  const children = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const child of children.filter((entry) => entry.isDirectory())) {
    const here = join(directory, child.name);
    const text = await readFile(join(here, 'postmaster.pid'), 'utf8').catch(() => undefined);
    if (text === undefined) {
      if (depth > 1) await stopServers(here, depth - 1);
      continue;
    }
    const pid = Number(text.split('\n')[0]);
    if (pid > 1 && (await readlink(`/proc/${pid}/cwd`).catch(() => here)) === here) await stopProcess(pid);
  }
}

async function stopProcess(pid: number): Promise<void> {
  try {
    process.kill(pid, 'SIGQUIT');
  } catch {
    return;
  }
  for (let i = 0; i < 100 && !isGone(pid); i++) await systemClock.sleep(50);
}

async function removeTree(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}
