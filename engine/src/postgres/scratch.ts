/**
 * Scratch places: folders that are gone when their work ends, however it ends. Each carries the process that owns it; the
 * next run removes those whose owner is dead, and stops servers that still run in them.
 */
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { HelvinoError, systemCode } from '../base/errors.ts';
import { type Account, serverAccount } from './account.ts';

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
    directory = await mkdtemp(join(await realpath(parent), `${prefix}${options.purpose}-`));
    await writeFile(
      join(directory, ownerFile),
      JSON.stringify({ pid: process.pid, start: await processStart(process.pid) }),
    );
    await giveTo(directory, await serverAccount());
  } catch (thrown) {
    const denied = ['EACCES', 'EPERM', 'EROFS'].includes(systemCode(thrown) ?? '');
    throw new HelvinoError(
      denied ? 'TARGET_DENIED' : 'TARGET_IO',
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

/** Removes what dead runs left. */
export async function sweepScratch({ parent = tmpdir() }: { parent?: string }): Promise<string[]> {
  const swept: string[] = [];
  for (const name of await readdir(parent).catch(() => [])) {
    const directory = join(parent, name);
    if (!name.startsWith(prefix) || (await ownerAlive(directory))) continue;
    await stopServers(directory);
    await removeTree(directory);
    swept.push(directory);
  }
  return swept;
}

/** True also for what is not ours: it has no owner file. */
async function ownerAlive(directory: string): Promise<boolean> {
  const text = await readFile(join(directory, ownerFile), 'utf8').catch(() => undefined);
  if (text === undefined) return true;
  try {
    const owner = JSON.parse(text) as { pid: number; start: string };
    return (await processStart(owner.pid)) === owner.start;
  } catch {
    return false;
  }
}

/** The process's start in clock ticks, which tells a reused number apart; undefined when there is no such process. */
async function processStart(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (text !== undefined) return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
  try {
    process.kill(pid, 0);
    return 'alive';
  } catch {
    return undefined;
  }
}

async function stopServers(directory: string): Promise<void> {
  const children = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const child of children.filter((entry) => entry.isDirectory())) {
    const here = join(directory, child.name);
    const text = await readFile(join(here, 'postmaster.pid'), 'utf8').catch(() => '');
    const [pid, dataDir] = text.split('\n');
    if (!pid || dataDir !== here) continue;
    try {
      process.kill(Number(pid), 'SIGQUIT');
      for (let i = 0; i < 100; i++) {
        process.kill(Number(pid), 0);
        await systemClock.sleep(50);
      }
    } catch {
      // gone
    }
  }
}

async function removeTree(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}
