/** For tests of `helvino wal receive`: a receiver in a process of its own, and servers that archive to it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { archiveClient, archiveCommand, writeArchiveClient } from '../src/operations/wal/index.ts';
import { formatCatalogRing } from '../src/repository/index.ts';
import { type FaultPlan, faultPlanToEnv } from '../src/storage/testing/faulty-driver.ts';
import { type Fixture, query } from './backup-fixture.ts';
import { type TestServer, testServerUser } from './pg-server.ts';
import type { ReceiveWork } from './receive-child.ts';

export interface ClientOutcome {
  readonly status: number | null;
  readonly stderr: string;
  readonly milliseconds: number;
}

/** Where one receiver listens, and the client that was made for it. */
export class ArchiveLab implements AsyncDisposable {
  readonly home: string;
  readonly folder: string;
  readonly client: string;
  readonly #fixture: Fixture;
  readonly #database: string;
  readonly #receivers: Receiver[] = [];

  private constructor(home: string, o: { fixture: Fixture; database: string }) {
    this.home = home;
    this.folder = join(home, 'meet here');
    this.client = join(home, 'archive');
    this.#fixture = o.fixture;
    this.#database = o.database;
  }

  static async open(o: { fixture: Fixture; database?: string; seconds?: number }): Promise<ArchiveLab> {
    // The server's account must be able to pass through.
    const home = await mkdtemp(join(tmpdir(), 'hv-archive-'));
    const user = await testServerUser();
    if (user) await chown(home, user.uid, user.gid);
    const lab = new ArchiveLab(home, { database: 'main', ...o });
    const script = await archiveClient({ folder: lab.folder, seconds: o.seconds ?? 60 });
    await writeArchiveClient(lab.client, script);
    return lab;
  }

  /** For postgresql.conf. */
  get settings(): { archive_mode: string; archive_command: string } {
    return { archive_mode: 'on', archive_command: archiveCommand(this.client) };
  }

  /** Starts a receiver and waits until it listens, or has ended. */
  async receive({ url }: { url: string }, plan: FaultPlan = {}): Promise<Receiver> {
    const user = await testServerUser();
    const work: ReceiveWork = {
      root: this.#fixture.root,
      ring: formatCatalogRing(this.#fixture.repository.ring.keys),
      recipient: this.#fixture.recipient,
      database: this.#database,
      url,
      folder: this.folder,
      group: user && String(user.gid),
    };
    const receiver = new Receiver(work, plan);
    this.#receivers.push(receiver);
    await receiver.listening();
    return receiver;
  }

  /** As PostgreSQL runs it: by its account, in the data directory. */
  async archive(path: string, name: string, options: { cwd?: string; shell?: string[] } = {}) {
    const user = await testServerUser();
    const begun = performance.now();
    const [program = this.client, ...args] = [...(options.shell ?? []), this.client, path, name];
    const child = spawn(program, args, {
      ...user,
      cwd: options.cwd ?? '/',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk));
    const [status] = (await once(child, 'close')) as [number | null];
    return { status, stderr, milliseconds: performance.now() - begun } satisfies ClientOutcome;
  }

  /** Writes a file that the server's account can read. Its path. */
  async file(name: string, bytes: Uint8Array): Promise<string> {
    const path = join(this.home, name);
    await writeFile(path, bytes, { mode: 0o644 });
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const receiver of this.#receivers) receiver.kill();
    await rm(this.home, { recursive: true, force: true });
  }
}

const script = fileURLToPath(new URL('./receive-child.ts', import.meta.url));

export class Receiver {
  readonly #child: ChildProcess;
  readonly #ended: Promise<NodeJS.Signals | number | null>;
  output = '';

  constructor(work: ReceiveWork, plan: FaultPlan) {
    this.#child = spawn(process.execPath, [script, JSON.stringify(work)], {
      env: { ...process.env, ...faultPlanToEnv(plan) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child.stdout!.on('data', (chunk: Buffer) => (this.output += chunk));
    this.#ended = once(this.#child, 'close').then(([code, signal]) => signal ?? code);
  }

  /** The signal or status that it ended with. */
  get ended(): Promise<NodeJS.Signals | number | null> {
    return this.#ended;
  }

  async listening(): Promise<void> {
    const ended = this.#ended.then(() => true);
    while (!this.output.includes('listening')) {
      if (await Promise.race([ended, sleep(20).then(() => false)])) return;
    }
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  async stop(): Promise<void> {
    this.kill('SIGTERM');
    await this.#ended;
  }
}

/** Ends the segment and waits until it is archived. Its name. */
export async function archiveAll(server: TestServer): Promise<string> {
  const { rows } = await query<{ name: string }>(server, 'select pg_walfile_name(pg_switch_wal()) as name');
  const { name } = rows[0]!;
  for (let i = 0; i < 1200; i++) {
    const last = await query<{ name: string | null }>(
      server,
      'select last_archived_wal as name from pg_stat_archiver',
    );
    if ((last.rows[0]!.name ?? '').slice(0, 24) >= name) return name;
    await sleep(50);
  }
  throw new Error(`did not happen: ${name} is archived\n${server.log()}`);
}

/** Whether a shell is there. */
export function hasProgram(name: string): Promise<boolean> {
  return new Promise((resolve) => execFile('which', [name], (failed) => resolve(failed === null)));
}
