/** What a drill says. Pure: checks in, verdict out. */

/** `unproven`: the check did not run, or could not look at everything that it should. */
export type CheckState = 'passed' | 'failed' | 'unproven';

export interface Check {
  readonly name: string;
  readonly state: CheckState;
  /** One line: what was looked at, or why not. */
  readonly detail: string;
  readonly seconds: number;
  /** What is wrong, one line each: the first twenty. */
  readonly findings?: readonly string[];
  /** The object of the repository that is damaged or missing, where it failed because of that. */
  readonly damaged?: string;
  /** What was asked and what was answered: counts and hashes, no rows. */
  readonly queries?: readonly CheckQuery[];
}

export interface CheckQuery {
  readonly sql: string;
  readonly result: string;
}

/** The point that was recovered to. */
export interface DrillTarget {
  /** As it was asked for: `backup`, `latest`, `random`, or a target as `--to` takes it. */
  readonly asked: string;
  /** `backup`, `latest`, `time`, `lsn`, `xid` or `name`. */
  readonly kind: string;
  /** Where the WAL that was replayed ends. */
  readonly lsn?: string;
  /** ISO 8601, UTC. */
  readonly time?: string;
  /** The one along which was recovered. */
  readonly timeline?: number;
  readonly xid?: string;
}

export type PhaseName = 'prepare' | 'restore' | 'recover' | 'verify' | 'application' | 'clean up';

export interface Phase {
  readonly name: PhaseName;
  readonly seconds: number;
  /** Read from the repository. */
  readonly bytes?: number;
  /** Reads that the repository was asked for. */
  readonly requests?: number;
}

export interface Objectives {
  /** The most that it may take until the service is back. */
  readonly rtoSeconds?: number;
  /** The most that may be lost. */
  readonly rpoSeconds?: number;
}

export interface Measured {
  /** From the start of the preparation until the database, and the application where there is one, answered. */
  readonly rtoSeconds?: number;
  /** The wanted moment minus the newest commit, or row of the heartbeat, that was found after recovery. */
  readonly rpoSeconds?: number;
  /** Bytes of WAL that recovery replayed. */
  readonly walBytes?: number;
  readonly bytesRead?: number;
  readonly requests?: number;
  /** While it was restored. */
  readonly bytesPerSecond?: number;
}

/** Where the drill ran. */
export interface DrillEnvironment {
  readonly host: string;
  readonly os: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly node: string;
}

/** SHA-256, hex; `server`: its version in words. What was proven is stale when one of them is another. */
export interface DrillFingerprint {
  readonly config: string;
  readonly keys: string;
  readonly schema: string;
  readonly server: string;
}

export type Verdict = 'proven' | 'partly proven' | 'failed';

export interface DrillReport {
  readonly id: string;
  readonly database: string;
  readonly backup: string;
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** ISO 8601, UTC. */
  readonly started: string;
  readonly finished: string;
  /** Seconds from the start of the restore until the server took connections. */
  readonly recoverySeconds: number | undefined;
  /** Bytes of the restored cluster. */
  readonly bytes: number;
  /** The server program: version and where it was found. */
  readonly server: string | undefined;
  readonly program: string;
  // What follows is not in reports of old versions.
  /** Its name in the configuration. */
  readonly plan?: string;
  /** Name of the copy of the repository that was read. */
  readonly copy?: string;
  readonly target?: DrillTarget;
  readonly phases?: readonly Phase[];
  readonly objectives?: Objectives;
  readonly measured?: Measured;
  /** Made from earlier drills, before this one. */
  readonly prediction?: { readonly rtoSeconds: number; readonly basis: string; readonly drills: number };
  readonly operator?: string;
  readonly approver?: string;
  readonly environment?: DrillEnvironment;
  readonly issue?: {
    readonly findings: readonly string[];
    readonly remediation?: string;
    /** Id of the failed drill that this one repeats. */
    readonly retestOf?: string;
  };
  /** Parts that could not be told are left out. */
  readonly fingerprint?: Partial<DrillFingerprint>;
}

/** Reports of old versions say only when the server took connections. Undefined when the service did not come back. */
export function recoveryTime({ measured, recoverySeconds }: DrillReport): number | undefined {
  return measured ? measured.rtoSeconds : recoverySeconds;
}

/** No check failed and none is missing: proven. Nothing that did not run counts as passed. */
export function verdictOf(checks: readonly Check[]): Verdict {
  if (checks.some((check) => check.state === 'failed')) return 'failed';
  return checks.length > 0 && checks.every((check) => check.state === 'passed') ? 'proven' : 'partly proven';
}

const shown = 20;

export function findings(lines: readonly string[]): readonly string[] | undefined {
  if (lines.length === 0) return undefined;
  return lines.length <= shown ? lines : [...lines.slice(0, shown), `… and ${lines.length - shown} more`];
}

const shownSql = 500;

/** The first of them, and of each the beginning. */
export function shownQueries(queries: readonly CheckQuery[]): readonly CheckQuery[] | undefined {
  if (queries.length === 0) return undefined;
  const short = (text: string) => (text.length <= shownSql ? text : `${text.slice(0, shownSql)}…`);
  return queries.slice(0, shown).map(({ sql, result }) => ({ sql: short(sql), result: short(result) }));
}

/**
 * Where recovery ended: the last switch in the history of the timeline that it began. The server's own position says less:
 * it goes on from there at once. https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
export function recoveryEnd(history: string): string | undefined {
  const lines = history.split('\n').filter((line) => /^\s*\d+\s/.test(line));
  return lines.at(-1)?.trim().split(/\s+/)[1];
}
