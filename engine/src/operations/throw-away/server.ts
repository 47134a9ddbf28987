/**
 * `helvino open`: a server as of a moment, on a local port, to look into and copy from; gone when it is no longer wanted.
 * Reads or writes on it touch nothing else.
 */
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import { backupFacts, majorOf } from '../../catalog/index.ts';
import {
  createScratch,
  findBinaries,
  freePort,
  giveUrl,
  openDatabase,
  startLocalServer,
  sweepScratch,
} from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import type { Recovery } from '../restore/find-recovery.ts';
import { restore } from '../restore/restore.ts';

export interface OpenOptions {
  readonly repository: Repository;
  readonly identities: Identities;
  readonly manifest: Manifest;
  readonly recovery?: Recovery;
  readonly writable: boolean;
  /** Undefined: any free one. */
  readonly port?: number;
  /** Where the temporary place is made; undefined: the system's temporary folder. */
  readonly parent?: string;
  readonly binDirs: readonly string[];
  readonly fetchServers: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readyTimeoutMs: number;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface OpenedServer {
  /** With a password that is good for this server only. */
  readonly url: string;
  readonly version: string;
}

/** Calls `onOpen` once the server takes connections, and removes it when that has resolved, or thrown. */
export async function openServer(
  options: OpenOptions,
  onOpen: (server: OpenedServer) => Promise<void>,
): Promise<void> {
  await sweepScratch({ parent: options.parent });
  // Not only when all has been restored.
  if (options.port !== undefined) await freePort(options.port);
  await using cleanup = new AsyncDisposableStack();
  const scratch = await createScratch({ parent: options.parent, purpose: 'open' });
  cleanup.defer(() => scratch.remove());
  const facts = backupFacts(options.manifest);
  const binaries = await findBinaries(majorOf(facts.serverVersion), {
    env: options.env,
    extraDirs: options.binDirs,
    fetch: options.fetchServers,
  });
  const dataDir = join(scratch.directory, 'data');
  const tablespaces = new Map([['*', join(scratch.directory, 'tablespaces')]]);
  await restore({ ...options, directory: dataDir, delta: false, tablespaces, newTimeline: true });
  options.progress.phase('recovering');
  const port = options.port ?? (await freePort());
  const server = await startLocalServer({
    binaries,
    dataDir,
    runDir: scratch.directory,
    user: facts.superuser,
    database: facts.connectedTo,
    settings: {
      listen_addresses: '127.0.0.1',
      port: String(port),
      ...(options.writable ? {} : { default_transaction_read_only: 'on' }),
    },
    readyTimeoutMs: options.readyTimeoutMs,
    signal: options.signal,
  });
  cleanup.defer(() => server.stop('immediate').catch(() => undefined));
  const url = await giveUrl(server, { role: facts.superuser, port });
  const known = ['postgres', server.connection.database];
  const database = await openDatabase(server.connection, known, options.signal);
  await onOpen({ url: `${url}/${encodeURIComponent(database)}`, version: binaries.version });
}
