/**
 * `helvino demo`: everything once, on a server of its own, in three acts. Backups: database, keys, repository, full backup,
 * load, incremental backup. An accident: rows are deleted, found and brought back. A drill: the restore is proven, with a
 * signed report. Leaves nothing behind unless asked to.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import { backupFacts } from '../../catalog/index.ts';
import {
  type ConnectionParams,
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
  type Identities,
  type Manifest,
  openIdentities,
  type Repository,
  recipientOf,
} from '../../repository/index.ts';
import { openFsDriver } from '../../storage/index.ts';
import { backup } from '../backup/backup.ts';
import { drill } from '../drill/drill.ts';
import type { Exercise } from '../drill/exercise.ts';
import {
  chooseDrill,
  createSigningKey,
  knownDrills,
  signingKeyFile,
  writeReport,
} from '../drill/report/index.ts';
import type { DrillReport } from '../drill/report.ts';
import { type DemoAccident, playAccident, whileStreaming } from './accident.ts';
import { createDemoTables, demoLoad, demoSize, loadDemoRows } from './demo-data.ts';
import { withDemoClient } from './with-demo-client.ts';

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
  readonly accident: DemoAccident;
  readonly drill: DrillReport;
  /** The signed report, as a page; gone with the rest unless it is kept. */
  readonly report: string;
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

/** What a plan of the configuration would ask for. */
const demoExercise: Exercise = {
  plan: 'demo',
  skip: [],
  objectives: { rtoSeconds: 900, rpoSeconds: 900 },
  assertions: [
    {
      name: 'the organization demo has conversations',
      database: 'postgres',
      sql: `select count(*) > 0 from conversations c join organizations o on o.id = organization_id where key = 'demo'`,
      expect: true,
    },
  ],
  heartbeat: undefined,
  migrations: undefined,
  application: undefined,
};

class DemoRun {
  readonly #options: DemoOptions;
  readonly #scratch: Scratch;
  #server: LocalServer | undefined;

  constructor(options: DemoOptions, scratch: Scratch) {
    this.#options = options;
    this.#scratch = scratch;
  }

  async all(): Promise<Omit<DemoResult, 'seconds' | 'kept'>> {
    const { progress, signal } = this.#options;
    progress.phase('starting PostgreSQL');
    const server = await this.#startServer();
    const store = await this.#makeRepository();
    progress.phase('filling the tables');
    const rows = await withDemoClient(server, signal, async (client) => {
      await createDemoTables(client);
      await loadDemoRows(client, demoSize);
      return demoSize.organizations + demoSize.conversations + demoSize.messages;
    });
    const identities = await openIdentities(store.identity, 'the demo');
    const shared = { ...this.#options, ...store, connection: server };
    return whileStreaming(shared, async (stored) => {
      const full = await this.#backup(server, { ...store, kind: 'full' });
      progress.phase('changing some rows');
      const changedRows = await withDemoClient(server, signal, (client) => demoLoad(client, demoSize));
      const incremental = await this.#backup(server, { ...store, kind: 'incremental' });
      const folder = this.#scratch.directory;
      const accident = await playAccident({ ...shared, identities, folder }, stored);
      const { drill, report } = await this.#drill({ ...store, identities, manifest: incremental.manifest });
      const backups = [full.row, incremental.row];
      return { server: drill.server ?? '', rows, changedRows, backups, accident, drill, report };
    });
  }

  async #drill(what: {
    repository: Repository;
    identities: Identities;
    manifest: Manifest;
  }): Promise<Pick<DemoResult, 'drill' | 'report'>> {
    const { env, signal, progress } = this.#options;
    const folder = this.#scratch.directory;
    const key = await createSigningKey(signingKeyFile(join(folder, 'helvino.yaml')));
    const report = await drill({
      ...this.#options,
      ...what,
      parent: folder,
      binDirs: [],
      fetchServers: true,
      readyTimeoutMs: 120_000,
      evidence: { key },
      exercise: demoExercise,
      about: {
        operator: 'helvino demo',
        target: { asked: 'backup', kind: 'backup', lsn: backupFacts(what.manifest).walEnd },
      },
    });
    progress.phase('writing the report');
    const known = chooseDrill((await knownDrills(what.repository, 'demo')).drills, report.id);
    const directory = join(folder, 'report');
    const { files } = await writeReport(known, { directory, formats: ['html', 'json'], env, signal });
    return { drill: report, report: files.find((file) => file.endsWith('.html')) ?? directory };
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
    what: {
      readonly repository: Repository;
      readonly recipient: string;
      readonly kind: 'full' | 'incremental';
    },
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
      read: 'replication',
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
}
