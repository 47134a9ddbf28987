/** "Proven" expires: by age, and when what was proven is no longer what there is. Pure. */
import { formatAge } from '../../../catalog/index.ts';
import type { DrillFingerprint, DrillReport } from '../report.ts';

export interface ProofFacts {
  readonly now: Date;
  /** How long a proof is good for; seconds. */
  readonly every: number;
  /** What there is now; parts that cannot be told now are left out. */
  readonly fingerprint: Partial<DrillFingerprint>;
}

export interface ProofState {
  /** `stale`: it was proven, and that says no longer what it said. */
  readonly state: 'unproven' | 'failed' | 'partly proven' | 'proven' | 'stale';
  /** When the drill ended; ISO 8601, UTC. */
  readonly on?: string;
  /** When a proof gets too old; ISO 8601, UTC. */
  readonly until?: string;
  /** Why it is stale: `the schema changed since`. */
  readonly reasons: readonly string[];
  /** What the drill did not record, or cannot be told now: whether it changed is not known. */
  readonly unknown: readonly (keyof DrillFingerprint)[];
}

/**
 * The drill of a backup that counts, of all in order of time: the newest; but that more was recovered later, and so not all
 * could be compared, takes nothing from what an earlier one has proven.
 */
export function standingProof(reports: readonly DrillReport[]): DrillReport | undefined {
  const last = reports.at(-1);
  if (last?.verdict !== 'partly proven') return last;
  const decisive = reports.findLast(({ verdict }) => verdict !== 'partly proven');
  return decisive?.verdict === 'proven' ? decisive : last;
}

/** Clocks of two hosts are apart by less. */
const clockSlackSeconds = 600;

const parts = ['config', 'keys', 'schema', 'server'] as const;
const names = { config: 'configuration', keys: 'keys', schema: 'schema', server: 'server version' };

export function proofState(report: DrillReport | undefined, facts: ProofFacts): ProofState {
  if (!report) return { state: 'unproven', reasons: [], unknown: [] };
  const on = report.finished;
  if (report.verdict !== 'proven') return { state: report.verdict, on, reasons: [], unknown: [] };
  const finished = Date.parse(on);
  const age = (facts.now.getTime() - finished) / 1000;
  const reasons: string[] = [];
  const unknown: (keyof DrillFingerprint)[] = [];
  for (const part of parts) {
    const [then, now] = [report.fingerprint?.[part], facts.fingerprint[part]];
    if (!then || !now) unknown.push(part);
    else if (then !== now) reasons.push(changed(part, then, now));
  }
  if (age < -clockSlackSeconds) reasons.push(`it is ${formatAge(-age)} in the future: a clock was wrong`);
  if (age > facts.every)
    reasons.push(`it is ${formatAge(age)} old, and the objective is every ${formatAge(facts.every)}`);
  return {
    state: reasons.length > 0 ? 'stale' : 'proven',
    on,
    until: new Date(finished + facts.every * 1000).toISOString(),
    reasons,
    unknown,
  };
}

function changed(part: keyof DrillFingerprint, then: string, now: string): string {
  if (part === 'server') return `the server was ${then} and is ${now} now`;
  return part === 'keys' ? 'the keys changed since' : `the ${names[part]} changed since`;
}

/** `proven on 2026-11-25`, `proven on 2026-11-25, stale because the schema changed since`. */
export function proofText({ state, on, reasons, unknown }: ProofState): string {
  if (on === undefined) return 'unproven: no drill yet';
  const day = on.slice(0, 10);
  if (state === 'failed') return `the drill of ${day} failed`;
  if (state === 'partly proven') return `partly proven on ${day}`;
  if (state === 'stale') return `proven on ${day}, stale because ${staleBecause(reasons)}`;
  const open = unknown.length === parts.length ? ' (what changed since is not known)' : '';
  return `proven on ${day}${open}`;
}

/** Reasons as one sentence. */
export function staleBecause(reasons: readonly string[]): string {
  return reasons.length < 2 ? reasons.join('') : `${reasons.slice(0, -1).join(', ')} and ${reasons.at(-1)}`;
}
