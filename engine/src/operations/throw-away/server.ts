/**
 * `helvino open`: a server as of a moment, on a local port, to look into and copy from; gone when it is no longer wanted.
 * Reads or writes on it touch nothing else. Without `writable` nothing on it can be written: read-only.ts.
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
  type LocalServer,
  openDatabase,
  type StartOptions,
  startLocalServer,
  sweepScratch,
} from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import type { Recovery } from '../restore/find-recovery.ts';
import { restore } from '../restore/restore.ts';
import { startReadOnly } from './read-only.ts';

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
  const start = options.writable ? startWritable : startReadOnly;
  const { server, url } = await start(
    {
      binaries,
      dataDir,
      runDir: scratch.directory,
      user: facts.superuser,
      database: facts.connectedTo,
      readyTimeoutMs: options.readyTimeoutMs,
      signal: options.signal,
    },
    port,
  );
  cleanup.defer(() => server.stop('immediate').catch(() => undefined));
  const known = ['postgres', server.connection.database];
  const database = await openDatabase(server.connection, known, options.signal);
  await onOpen({ url: `${url}/${encodeURIComponent(database)}`, version: binaries.version });
}

/** As the superuser, without a database. */
async function startWritable(
  options: StartOptions & { readonly user: string },
  port: number,
): Promise<{ server: LocalServer; url: string }> {
  const settings = { listen_addresses: '127.0.0.1', port: String(port) };
  const server = await startLocalServer({ ...options, settings });
  try {
    return { server, url: await giveUrl(server, { role: options.user, port }) };
  } catch (thrown) {
    await server.stop('immediate');
    throw thrown;
  }
}
