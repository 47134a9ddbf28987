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

/**
 * Where recovery ended: the last switch in the history of the timeline that it began. The server's own position says less:
 * it goes on from there at once. https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
export function recoveryEnd(history: string): string | undefined {
  const lines = history.split('\n').filter((line) => /^\s*\d+\s/.test(line));
  return lines.at(-1)?.trim().split(/\s+/)[1];
}
