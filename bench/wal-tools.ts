/** What the parts of the WAL bench share: load, questions to the server, Helvino by its command line. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Account, type Cluster, debianBin } from './cluster.ts';
import { connect, type Place } from './data.ts';
import { type Launched, launch, run, say } from './tools.ts';

export interface WalOptions {
  readonly home: string;
  readonly account: Account;
  readonly rounds: number;
  /** Of pgbench; 1 is 15 MB. */
  readonly scale: number;
  /** Bytes of WAL for intake and replay. */
  readonly bytes: number;
  /** Bytes of WAL to search. */
  readonly findBytes: number;
  /** Of pgbench in a round of the lag. */
  readonly seconds: number;
  /** Of pgbench before it, with the receiver. */
  readonly warmSeconds: number;
}

export async function pgbench(
  cluster: Place,
  words: readonly string[],
  processors?: string,
): Promise<string> {
  const where = ['-h', cluster.socketDir, '-p', String(cluster.port), '-U', 'postgres'];
  const all = [...where, ...words, 'postgres'];
  const { output } = await run(join(debianBin, 'pgbench'), all, { processors });
  return output;
}

/** Runs statements; the first column of the last one's first row. */
export async function execute(place: Place, ...statements: string[]): Promise<string> {
  const client = await connect(place);
  try {
    let value = '';
    for (const statement of statements) {
      const { rows } = await client.query<Record<string, unknown>>(statement);
      value = String(Object.values(rows[0] ?? {})[0] ?? '');
    }
    return value;
  } finally {
    await client.end();
  }
}

/** The end of WAL as a number. */
export async function endOfWal(place: Place): Promise<bigint> {
  return BigInt(await execute(place, `select (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text`));
}

/** So many bytes of WAL of a load like an application's: rows that are inserted, found and changed, full pages after checkpoints. */
export async function makeWal(cluster: Place, bytes: number): Promise<void> {
  const begun = performance.now();
  const until = (await endOfWal(cluster)) + BigInt(bytes);
  // Commits that do not wait for the disk: the same WAL in less time.
  await execute(cluster, 'alter system set synchronous_commit = off', 'select pg_reload_conf()');
  while ((await endOfWal(cluster)) < until) {
    await pgbench(cluster, ['-n', '-c', '8', '-j', '2', '-T', '5']);
    await execute(cluster, 'checkpoint');
  }
  await execute(cluster, 'alter system reset synchronous_commit', 'select pg_reload_conf()');
  const segment = await execute(cluster, 'select pg_switch_wal()');
  say(
    `made ${(bytes / 1e6).toFixed(0)} MB of WAL up to ${segment} in ${((performance.now() - begun) / 1000).toFixed(0)} s`,
  );
}

const main = fileURLToPath(new URL('../engine/src/main.ts', import.meta.url));

/** A configuration with its repository in a folder of its own, by `helvino init`. */
export class HelvinoHome {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(
    folder: string,
    cluster: Cluster,
    repository = join(folder, 'repository'),
  ): Promise<HelvinoHome> {
    await rm(folder, { recursive: true, force: true });
    await run('mkdir', ['-p', folder]);
    const home = new HelvinoHome(folder);
    await run(
      process.execPath,
      home.words([
        'init',
        '--url',
        cluster.url,
        '--path',
        repository,
        '--identity-out',
        home.identity,
        '--no-check',
      ]),
    );
    return home;
  }

  get identity(): string {
    return join(this.folder, 'identity.txt');
  }

  /** The arguments of Node.js for a command. */
  words(command: readonly string[]): string[] {
    const config = join(this.folder, 'helvino.yaml');
    return [
      '--disable-warning=ExperimentalWarning',
      main,
      ...command,
      '--config',
      config,
      '--quiet',
      '--json',
    ];
  }

  stream(slot: string, processors?: string): Launched {
    return launch(process.execPath, this.words(['wal', 'stream', '--slot', slot]), { processors });
  }
}

/** Asks again until it is so; throws after ten minutes. */
export async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let waited = 0; waited < 600_000; waited += 20) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`did not happen: ${what}`);
}
