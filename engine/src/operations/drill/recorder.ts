/** What a drill of any kind of backup has found so far, and the report that this becomes. */
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError, type HelvinoError } from '../../base/errors.ts';
import { backupId } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
import {
  amcheckDatabase,
  type ConnectionParams,
  connectSql,
  type ServerBinaries,
} from '../../postgres/index.ts';
import type { Manifest } from '../../repository/index.ts';
import { type Check, type DrillReport, findings, verdictOf } from './report.ts';

type Look = () => Promise<Omit<Check, 'name' | 'seconds'>>;

interface RecorderOptions {
  readonly manifest: Manifest;
  readonly program: string;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export class DrillRecorder {
  /** The server that was started. */
  binaries: ServerBinaries | undefined;
  /** Seconds from the start of the restore until the server had the data. */
  recoverySeconds: number | undefined;
  readonly #options: RecorderOptions;
  readonly #names: readonly string[];
  readonly #checks: Check[] = [];
  readonly #started: Date;
  readonly #begun: number;

  /** `names`: the checks that should run; a missing one is `unproven` in the report. */
  constructor(options: RecorderOptions, names: readonly string[]) {
    this.#options = options;
    this.#names = names;
    this.#started = options.clock.now();
    this.#begun = options.clock.monotonic();
  }

  recovered(): void {
    this.recoverySeconds = (this.#options.clock.monotonic() - this.#begun) / 1000;
  }

  /** Runs one check; what it throws becomes `failed`, or `unproven` where it says nothing about the backup. */
  async check(name: string, look: Look): Promise<boolean> {
    const { clock, progress, signal } = this.#options;
    signal.throwIfAborted();
    progress.phase(`drill: ${name}`);
    const begun = clock.monotonic();
    const seconds = () => (clock.monotonic() - begun) / 1000;
    try {
      const check = { name, ...(await look()), seconds: seconds() };
      this.#checks.push(check);
      return check.state !== 'failed';
    } catch (thrown) {
      signal.throwIfAborted();
      const error = asHelvinoError(thrown);
      if (!saysSomething(error)) throw error;
      const state = error.code === 'BINARIES_NOT_FOUND' ? 'unproven' : 'failed';
      this.#checks.push({ name, state, detail: error.message, seconds: seconds() });
      return false;
    }
  }

  /** Several checks that one look answers; when it throws, all have failed. */
  async checks(
    names: readonly string[],
    look: () => Promise<readonly Omit<Check, 'seconds'>[]>,
  ): Promise<void> {
    const { clock, progress, signal } = this.#options;
    const begun = clock.monotonic();
    progress.phase(`drill: ${names.join(' and ')}`);
    try {
      const found = await look();
      const seconds = (clock.monotonic() - begun) / 1000;
      for (const check of found) this.#checks.push({ ...check, seconds });
    } catch (thrown) {
      signal.throwIfAborted();
      for (const name of names)
        this.#checks.push({ name, state: 'failed', detail: asHelvinoError(thrown).message, seconds: 0 });
    }
  }

  report(): DrillReport {
    const { manifest, clock, program } = this.#options;
    const ran = new Set(this.#checks.map((check) => check.name));
    const missing = this.#names
      .filter((name) => !ran.has(name))
      .map((name): Check => ({ name, state: 'unproven', detail: 'did not run', seconds: 0 }));
    const checks = [...this.#checks, ...missing];
    const { binaries } = this;
    return {
      id: backupId(this.#started),
      database: manifest.database,
      backup: manifest.id,
      verdict: verdictOf(checks),
      checks,
      started: this.#started.toISOString(),
      finished: clock.now().toISOString(),
      recoverySeconds: this.recoverySeconds,
      bytes: manifest.totals.bytes,
      server: binaries && `PostgreSQL ${binaries.version} (${binaries.source}: ${binaries.binDir})`,
      program,
    };
  }
}

/** amcheck of every table and index of every database of a server. */
export async function amcheckServer(
  connection: ConnectionParams,
  options: { readonly progress: Progress; readonly signal: AbortSignal },
): Promise<Omit<Check, 'name' | 'seconds'>> {
  const failed: string[] = [];
  const unproven: string[] = [];
  let passed = 0;
  for (const database of await openDatabases(connection)) {
    const client = await connectSql(connection, { database });
    try {
      for (const object of await amcheckDatabase(client, options)) {
        const line = `${database}: ${object.schema}.${object.name}: ${object.messages.join('; ')}`;
        if (object.state === 'failed') failed.push(line);
        else if (object.state === 'unproven') unproven.push(line);
        else passed++;
      }
    } finally {
      await client.end();
    }
  }
  if (failed.length > 0)
    return {
      state: 'failed',
      detail: `${failed.length} tables or indexes are corrupt`,
      findings: findings(failed),
    };
  const detail = `${passed} tables and indexes`;
  if (passed === 0 || unproven.length > 0)
    return {
      state: 'unproven',
      detail: `${detail}; ${unproven.length} could not be checked`,
      findings: findings(unproven),
    };
  return { state: 'passed', detail };
}

async function openDatabases(connection: ConnectionParams): Promise<string[]> {
  const client = await connectSql(connection);
  try {
    const { rows } = await client.query<{ datname: string }>(
      'select datname from pg_database where datallowconn and datconnlimit <> -2 order by datname',
    );
    return rows.map((row) => row.datname);
  } finally {
    await client.end();
  }
}

/** Missing keys, full disks and the like end the drill: they are no finding about the backup. */
function saysSomething(error: HelvinoError): boolean {
  return ![
    'KEY_WRONG',
    'KEY_MISSING',
    'TARGET_TOO_SMALL',
    'TARGET_DENIED',
    'TARGET_IO',
    'INTERNAL',
    'INTERRUPTED',
    'STORAGE_UNAVAILABLE',
    'STORAGE_DENIED',
  ].includes(error.code);
}
