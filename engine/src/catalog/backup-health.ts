/** Are the backups of a kind fresh and plausible? Pure. Retention asks the same question before it removes anything. */
import { formatBytes } from '../base/format.ts';

export interface HealthObjectives {
  /** The newest backup must not be older; seconds. */
  readonly maxAge: number;
  /** A backup that takes less in the repository is taken for empty; bytes. */
  readonly minSize: number;
  /** By what part the content may shrink against the trend, from 0 to 1. */
  readonly maxShrink: number;
  /** By what factor it may grow. */
  readonly maxGrowth: number;
}

export interface JudgedBackup {
  readonly id: string;
  readonly made: Date;
  readonly state: 'good' | 'failed' | 'unreadable';
  readonly proven: boolean;
  /** Bytes of the content: what a restore writes. */
  readonly bytes: number;
  /** Bytes in the repository that make up this backup. */
  readonly stored: number;
}

/** A run that left no backup, after the newest one. */
export interface JudgedRun {
  readonly began: Date;
  readonly end: 'failed' | 'cut off' | 'stopped';
  readonly code?: string;
  readonly message?: string;
}

export type Severity = 'ok' | 'warning' | 'critical' | 'unknown';

export interface HealthCheck {
  /** `age`, `size` … */
  readonly name: string;
  readonly state: Severity;
  readonly detail: string;
}

/** How many backups make a trend, and how few do not. */
const trendLength = 10;
const shortestTrend = 3;

/** Checks `age`, `last run`, `size`, `trend` and `drill result` of backups of one kind, in order of time. */
export function judgeBackups(
  backups: readonly JudgedBackup[],
  { objectives, now, badRun }: { objectives: HealthObjectives; now: Date; badRun?: JudgedRun },
): HealthCheck[] {
  const unreadable = backups.filter(({ state }) => state === 'unreadable');
  const readable = backups.filter(({ state }) => state !== 'unreadable');
  const newest = readable.at(-1);
  const checks: HealthCheck[] = [];
  if (unreadable.length > 0) {
    const names = unreadable.map(({ id }) => id).join(', ');
    checks.push({ name: 'manifests', state: 'critical', detail: `${names} cannot be read` });
  }
  if (badRun) checks.push(judgeRun(badRun, now));
  if (!newest) return [{ name: 'age', state: 'critical', detail: 'there is no backup' }, ...checks];
  checks.unshift(judgeAge(newest, objectives.maxAge, now));
  checks.push(judgeSize(newest, objectives.minSize), judgeTrend(newest, readable, objectives));
  if (newest.state === 'failed')
    checks.push({
      name: 'drill result',
      state: 'critical',
      detail: `the drill of the newest backup, ${newest.id}, failed`,
    });
  return checks;
}

function judgeAge(newest: JudgedBackup, maxAge: number, now: Date): HealthCheck {
  const age = (now.getTime() - newest.made.getTime()) / 1000;
  const detail = `the newest backup is ${formatAge(age)} old`;
  if (age < -600)
    return {
      name: 'age',
      state: 'critical',
      detail: `the newest backup is ${formatAge(-age)} in the future: a clock is wrong`,
    };
  return age <= maxAge
    ? { name: 'age', state: 'ok', detail }
    : { name: 'age', state: 'critical', detail: `${detail}, the objective is ${formatAge(maxAge)}` };
}

/** A failed run is known at once, not only when the newest backup is too old. */
function judgeRun({ began, end, code, message }: JudgedRun, now: Date): HealthCheck {
  const name = 'last run';
  const said = message === undefined ? '' : `: ${message} (${code})`;
  const age = `${formatAge((now.getTime() - began.getTime()) / 1000)} ago`;
  if (end === 'stopped')
    return { name, state: 'warning', detail: `the last run, begun ${age}, was stopped before it was done` };
  return {
    name,
    state: 'critical',
    detail: `the last run, begun ${age}, ${end === 'failed' ? 'failed' : 'was cut off'}${said}`,
  };
}

/** A drill that was passed says more than a size. */
function judgeSize({ id, bytes, stored, proven }: JudgedBackup, minSize: number): HealthCheck {
  const name = 'size';
  if (bytes === 0) return { name, state: 'critical', detail: `the newest backup, ${id}, is empty` };
  const detail = `${formatBytes(bytes)}, ${formatBytes(stored)} in the repository`;
  if (stored >= minSize || proven) return { name, state: 'ok', detail };
  return {
    name,
    state: 'critical',
    detail: `the newest backup is suspiciously small: ${detail}, less than ${formatBytes(minSize)}`,
  };
}

function judgeTrend(
  newest: JudgedBackup,
  readable: readonly JudgedBackup[],
  { maxShrink, maxGrowth }: HealthObjectives,
): HealthCheck {
  const name = 'trend';
  const earlier = readable.slice(-1 - trendLength, -1).map(({ bytes }) => bytes);
  if (earlier.length < shortestTrend)
    return { name, state: 'ok', detail: `no trend yet: ${earlier.length} earlier backups` };
  const usual = median(earlier);
  const detail = `${formatBytes(newest.bytes)}; usual is ${formatBytes(usual)}`;
  if (newest.proven) return { name, state: 'ok', detail };
  if (newest.bytes < usual * (1 - maxShrink))
    return {
      name,
      state: 'critical',
      detail: `the newest backup shrank: ${detail} (a drill that proves it says that this is right)`,
    };
  if (newest.bytes > usual * maxGrowth)
    return { name, state: 'warning', detail: `the newest backup grew: ${detail}` };
  return { name, state: 'ok', detail };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[Math.floor((sorted.length - 1) / 2)]! + sorted[Math.ceil((sorted.length - 1) / 2)]!) / 2;
}

/** Seconds as `40 min`, `5 h`, `3 d 2 h`. */
export function formatAge(seconds: number): string {
  const minutes = Math.max(0, Math.floor(seconds / 60));
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h`;
  return `${Math.floor(hours / 24)} d${hours % 24 === 0 ? '' : ` ${hours % 24} h`}`;
}
