/**
 * `helvino demo`: everything once, on a server of its own: database, keys, repository, full backup, load, incremental
 * backup, restore that is proven. Leaves nothing behind unless asked to.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ConnectionParams,
  connectSql,
  createScratch,
  findBinaries,
  initCluster,
  type LocalServer,
  type Scratch,
  startLocalServer,
  sweepScratch,
} from '../../postgres/index.ts';
import {
  createIdentity,
  createRepository,
  formatCatalogRing,
  type Manifest,
  openIdentities,
  type Repository,
  recipientOf,
} from '../../repository/index.ts';
import { openFsDriver } from '../../storage/index.ts';
import { backup } from '../backup/backup.ts';
import { drill } from '../drill/drill.ts';
import type { DrillReport } from '../drill/report.ts';
import { createDemoTables, demoLoad, demoSize, loadDemoRows } from './demo-data.ts';

export interface DemoOptions {
  readonly keep: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly program: string;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface DemoBackup {
  readonly id: string;
  readonly kind: 'full' | 'incremental';
  readonly seconds: number;
  /** Bytes of the cluster. */
  readonly bytes: number;
  /** Bytes that came from the server. */
  readonly received: number;
  /** Bytes added to the repository. */
  readonly stored: number;
}

export interface DemoResult {
  readonly server: string;
  readonly rows: number;
  readonly changedRows: number;
  readonly backups: readonly DemoBackup[];
  readonly drill: DrillReport;
  readonly seconds: number;
  /** With `keep`: where everything is. */
  readonly kept?: string;
}

const major = 18;

export async function demo(options: DemoOptions): Promise<DemoResult> {
  const begun = options.clock.monotonic();
  await sweepScratch({});
  const scratch = await createScratch({ purpose: 'demo' });
  const run = new DemoRun(options, scratch);
  let done = false;
  try {
    const result = await run.all();
    done = true;
    return {
      ...result,
      seconds: (options.clock.monotonic() - begun) / 1000,
      kept: options.keep ? scratch.directory : undefined,
    };
  } finally {
    await run.stop();
    if (done && options.keep) await scratch.keep();
    else await scratch.remove();
  }
}

class DemoRun {
  readonly #options: DemoOptions;
  readonly #scratch: Scratch;
  #server: LocalServer | undefined;

  constructor(options: DemoOptions, scratch: Scratch) {
    this.#options = options;
    this.#scratch = scratch;
  }

  async all(): Promise<Omit<DemoResult, 'seconds' | 'kept'>> {
    const { progress } = this.#options;
    progress.phase('starting PostgreSQL');
    const server = await this.#startServer();
    const { repository, identity, recipient } = await this.#makeRepository();
    progress.phase('filling the tables');
    const rows = await this.#sql(server, async (client) => {
      await createDemoTables(client);
      await loadDemoRows(client, demoSize);
      return demoSize.organizations + demoSize.conversations + demoSize.messages;
    });
    const full = await this.#backup(server, { repository, recipient, kind: 'full' });
    progress.phase('changing some rows');
    const changedRows = await this.#sql(server, (client) => demoLoad(client, demoSize));
    const incremental = await this.#backup(server, { repository, recipient, kind: 'incremental' });
    const identities = await openIdentities(identity, 'the demo');
    const report = await drill({
      ...this.#options,
      repository,
      identities,
      manifest: incremental.manifest,
      parent: this.#scratch.directory,
      binDirs: [],
      fetchServers: true,
      readyTimeoutMs: 120_000,
    });
    return {
      server: report.server ?? '',
      rows,
      changedRows,
      backups: [full.row, incremental.row],
      drill: report,
    };
  }

  async stop(): Promise<void> {
    await this.#server?.stop('fast').catch(() => undefined);
  }

  async #startServer(): Promise<ConnectionParams> {
    const binaries = await findBinaries(major, { env: this.#options.env, extraDirs: [], fetch: true });
    const dataDir = join(this.#scratch.directory, 'server');
    await initCluster({ binaries, dataDir, checksums: true });
    // A throw-away server: not flushing makes the demo quick, and nothing that it shows depends on it.
    const settings = {
      summarize_wal: 'on',
      wal_level: 'replica',
      max_wal_senders: '5',
      max_replication_slots: '5',
      fsync: 'off',
      max_wal_size: '1GB',
    };
    this.#server = await startLocalServer({
      binaries,
      dataDir,
      runDir: this.#scratch.directory,
      settings,
      readyTimeoutMs: 60_000,
    });
    return this.#server.connection;
  }

  async #makeRepository(): Promise<{ repository: Repository; identity: string; recipient: string }> {
    const root = join(this.#scratch.directory, 'repository');
    await mkdir(root, { mode: 0o700 });
    const identity = await createIdentity();
    const recipient = await recipientOf(identity);
    const repository = await createRepository(await openFsDriver({ root }), { recipients: [recipient] });
    if (this.#options.keep) await this.#writeConfig({ root, identity, recipient, repository });
    return { repository, identity, recipient };
  }

  async #writeConfig({
    root,
    identity,
    recipient,
    repository,
  }: {
    root: string;
    identity: string;
    recipient: string;
    repository: Repository;
  }): Promise<void> {
    const here = this.#scratch.directory;
    const url = `postgresql:///postgres?host=${encodeURIComponent(join(here, 'run'))}&port=5432&user=postgres`;
    await writeFile(join(here, 'catalog.key'), formatCatalogRing(repository.ring.keys), { mode: 0o600 });
    await writeFile(join(here, 'recovery-identity.txt'), `${identity}\n`, { mode: 0o600 });
    const text = [
      'version: 1',
      'repositories:',
      '  main:',
      `    storage: { type: fs, path: ${JSON.stringify(root)} }`,
      `    recipients: [${recipient}]`,
      '    catalogKey: { file: ./catalog.key }',
      'databases:',
      '  demo:',
      `    connection: { url: ${JSON.stringify(url)} }`,
      '    repository: main',
    ];
    await writeFile(join(here, 'helvino.yaml'), `${text.join('\n')}\n`, { mode: 0o600 });
  }

  async #backup(
    connection: ConnectionParams,
    what: { repository: Repository; recipient: string; kind: 'full' | 'incremental' },
  ): Promise<{ manifest: Manifest; row: DemoBackup }> {
    const { clock } = this.#options;
    const begun = clock.monotonic();
    const manifest = await backup({
      ...this.#options,
      repository: what.repository,
      recipients: [what.recipient],
      database: 'demo',
      connection,
      kind: what.kind,
      checkpoint: 'fast',
      verifyChecksums: true,
      fingerprint: 'full',
      fingerprintMaxBytes: Number.MAX_SAFE_INTEGER,
      notes: {},
      newCluster: false,
      level: 1,
    });
    const { bytes, received, stored } = manifest.totals;
    const seconds = (clock.monotonic() - begun) / 1000;
    return { manifest, row: { id: manifest.id, kind: manifest.kind, seconds, bytes, received, stored } };
  }

  async #sql<T>(
    connection: ConnectionParams,
    work: (client: Awaited<ReturnType<typeof connectSql>>) => Promise<T>,
  ): Promise<T> {
    const client = await connectSql(connection, { database: 'postgres' });
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  }
}
