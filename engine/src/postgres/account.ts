/** Whom a server that Helvino starts runs as: the server refuses to run as root. */
import { lchown, readdir, readFile, realpath, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HelvinoError } from '../base/errors.ts';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined for a normal user, who runs the server as himself; for root `postgres` if there is one, else `nobody`. */
export async function serverAccount(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => ''))
    .split('\n')
    .map((line) => line.split(':'));
  const found = lines.find(([name]) => name === 'postgres') ?? lines.find(([name]) => name === 'nobody');
  if (found) return { uid: Number(found[2]), gid: Number(found[3]) };
  throw new HelvinoError(
    'LOCAL_SERVER',
    'a PostgreSQL server does not run as root, and there is neither a user postgres nor nobody',
    {
      hint: 'run helvino as a normal user',
    },
  );
}

/** Whether the account can reach what is in a folder. */
export async function mayEnter(directory: string, account: Account): Promise<boolean> {
  for (let at = await realpath(directory); ; at = dirname(at)) {
    const { mode, uid } = await stat(at);
    if ((mode & 0o001) === 0 && !(uid === account.uid && (mode & 0o100) !== 0)) return false;
    if (at === dirname(at)) return true;
  }
}

/** Makes a data directory and its tablespaces the account's, if they are not: the server refuses what is another's. */
export async function giveDataDirectory(dataDir: string, account: Account): Promise<void> {
  const owner = await stat(dataDir).catch(() => undefined);
  if (owner === undefined || owner.uid === account.uid) return;
  const spaces = join(dataDir, 'pg_tblspc');
  for (const name of await readdir(spaces).catch(() => [])) {
    await giveTree(await realpath(join(spaces, name)), account);
  }
  await giveTree(dataDir, account);
}

async function giveTree(place: string, account: Account): Promise<void> {
  for (const entry of await readdir(place, { withFileTypes: true })) {
    const path = join(place, entry.name);
    if (entry.isDirectory()) await giveTree(path, account);
    else await lchown(path, account.uid, account.gid);
  }
  await lchown(place, account.uid, account.gid);
}
