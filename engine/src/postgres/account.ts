/** Whom a server that Helvino starts runs as: the server refuses to run as root. */
import { readFile } from 'node:fs/promises';
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
