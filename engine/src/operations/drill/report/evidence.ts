/**
 * What there is to show of a period: the drills with their reports, how often there were backups and proofs, where there was
 * none for too long, what failed and what became of it. The same for the same repository and period. Reads only.
 */
import { HelvinoError } from '../../../base/errors.ts';
import { idStamp } from '../../../base/ids.ts';
import { methodOf } from '../../../catalog/index.ts';
import {
  hasRemovedBackup,
  listPublicKeys,
  listRemovedBackups,
  listVerifications,
  type Repository,
} from '../../../repository/index.ts';
import { type FailedRun, failedRuns } from '../../runs/failed-runs.ts';
import type { VerificationRecord } from '../../verify/record.ts';
import type { DrillReport, Measured, Objectives, Verdict } from '../report.ts';
import { type KnownDrill, knownDrills } from './known-drills.ts';

export interface EvidenceRequest {
  readonly repository: Repository;
  readonly database: string;
  /** Begin, and end (which is not part of it). */
  readonly from: Date;
  readonly to: Date;
  /** How often drills are to prove a backup, and how old the newest backup of a kind may be; seconds. */
  readonly drillEvery: number;
  readonly maxAge: (kind: string) => number;
}

/** Nothing for longer than the objective. */
export interface Gap {
  /** ISO 8601, UTC. */
  readonly from: string;
  readonly to: string;
  readonly seconds: number;
}

export interface EvidenceDrill {
  readonly id: string;
  readonly backup: string;
  readonly plan?: string;
  readonly verdict: Verdict;
  readonly started: string;
  readonly finished: string;
  readonly operator?: string;
  readonly approver?: string;
  readonly objectives?: Objectives;
  readonly measured?: Measured;
  readonly sha256: string;
  /** Id of the public key; undefined when it is not signed. */
  readonly key?: string;
  readonly signature: KnownDrill['signature'];
}

export interface EvidenceFailure {
  readonly id: string;
  readonly verdict: Verdict;
  readonly reasons: readonly string[];
  readonly remediation?: string;
  /** The drill that was made to repeat it, and what it said. */
  readonly retest?: { readonly id: string; readonly verdict: Verdict };
  /** The next drill that proved a backup, repeated or not. */
  readonly provenBy?: string;
}

export interface EvidenceBackup {
  readonly id: string;
  readonly kind: string;
  readonly finished?: string;
  readonly bytes?: number;
  /** When it was removed; ISO 8601, UTC. */
  readonly removed?: string;
  /** Its manifest cannot be read. */
  readonly damaged?: string;
}

export interface EvidenceIndex {
  readonly format: 'helvino evidence 1';
  readonly database: string;
  readonly repository: string;
  readonly period: { readonly from: string; readonly to: string };
  readonly drills: {
    readonly objectiveSeconds: number;
    readonly list: readonly EvidenceDrill[];
    /** Without a drill that proved a backup. */
    readonly gaps: readonly Gap[];
    readonly failures: readonly EvidenceFailure[];
    /** Reports that another names as the one before it, and that are not there or not the same. */
    readonly missing: readonly string[];
    /** Reports that cannot be read, also of before the period: the object and why. */
    readonly damaged: readonly string[];
  };
  readonly backups: {
    readonly kinds: readonly {
      readonly kind: string;
      readonly count: number;
      readonly objectiveSeconds: number;
      readonly longestSeconds: number;
      readonly gaps: readonly Gap[];
    }[];
    readonly list: readonly EvidenceBackup[];
    readonly failedRuns: readonly FailedRun[];
  };
  readonly verifications: readonly VerificationRecord[];
}

export interface Evidence {
  readonly index: EvidenceIndex;
  readonly drills: readonly KnownDrill[];
  readonly keys: readonly { readonly id: string; readonly pem: string }[];
}

export async function collectEvidence(request: EvidenceRequest): Promise<Evidence> {
  const { repository, database, from, to } = request;
  const [first, end] = [idStamp(from), idStamp(to)];
  // Those before the period, too: it may begin in a gap.
  const { drills: all, damaged } = await knownDrills(repository, database, (id) => id < end);
  const drills = all.filter(({ signed }) => signed.document.report.id >= first);
  const made = await backupsOf(request);
  const { backups } = made;
  const verifications = (await listVerifications(
    repository,
    database,
    (id) => id >= first && id < end,
  )) as VerificationRecord[];
  const proven = all.map(reportOf).filter(({ verdict }) => verdict === 'proven');
  return {
    drills,
    keys: await listPublicKeys(repository),
    index: {
      format: 'helvino evidence 1',
      database,
      repository: repository.id,
      period: { from: from.toISOString(), to: to.toISOString() },
      drills: {
        objectiveSeconds: request.drillEvery,
        list: drills.map(summary),
        gaps: gapsOf(
          proven.map(({ finished }) => finished),
          { from, to, objective: request.drillEvery, earlier: all.length > drills.length },
        ).gaps,
        failures: drills
          .filter((drill) => reportOf(drill).verdict !== 'proven')
          .map((one) => failureOf(one, all)),
        missing: missingLinks(drills, all),
        damaged,
      },
      backups: {
        kinds: kindsOf(made, request),
        list: backups.filter(({ id }) => id >= first),
        failedRuns: await failedRuns(repository, database, (run) => run >= first && run < end),
      },
      verifications,
    },
  };
}

const reportOf = ({ signed }: KnownDrill): DrillReport => signed.document.report;

function summary({ signed, signature }: KnownDrill): EvidenceDrill {
  const { report, key } = signed.document;
  const { id, backup, plan, verdict, started, finished, operator, approver, objectives, measured } = report;
  return {
    id,
    backup,
    plan,
    verdict,
    started,
    finished,
    operator,
    approver,
    objectives,
    measured,
    sha256: signed.sha256,
    key,
    signature,
  };
}

function failureOf(drill: KnownDrill, all: readonly KnownDrill[]): EvidenceFailure {
  const report = reportOf(drill);
  const retest = drill.retests.at(-1);
  return {
    id: report.id,
    verdict: report.verdict,
    reasons: report.checks
      .filter(({ state }) => state !== 'passed')
      .map(({ name, state, detail }) => `${name} (${state}): ${detail}`),
    remediation:
      all.map(reportOf).findLast(({ issue }) => issue?.retestOf === report.id)?.issue?.remediation ??
      report.issue?.remediation,
    retest: retest && { id: retest.id, verdict: retest.verdict as Verdict },
    provenBy: all.map(reportOf).find(({ id, verdict }) => id > report.id && verdict === 'proven')?.id,
  };
}

/** A report that was taken out is still named by the one after it. */
export function missingLinks(
  drills: readonly Pick<KnownDrill, 'signed'>[],
  known: readonly Pick<KnownDrill, 'signed'>[],
): string[] {
  const sums = new Map(known.map(({ signed }) => [signed.document.report.id, signed.sha256]));
  return drills.flatMap(({ signed }) => {
    const { previous } = signed.document;
    return previous && sums.get(previous.id) !== previous.sha256 ? [previous.id] : [];
  });
}

/** Also those shortly before the period: how old the newest was when it began. */
async function backupsOf({
  repository,
  database,
  from,
  to,
  maxAge,
}: EvidenceRequest): Promise<{ backups: EvidenceBackup[]; earlier: boolean }> {
  const lead = Math.max(...['physical', 'logical', 'volume'].map(maxAge));
  const [first, end] = [idStamp(new Date(from.getTime() - lead * 1000)), idStamp(to)];
  const wanted = (id: string) => id >= first && id < end;
  const found: EvidenceBackup[] = [];
  let earlier = await hasRemovedBackup(repository, database, (id) => id < first);
  for (const { id } of await repository.backups(database)) {
    if (id < first) earlier = true;
    if (!wanted(id)) continue;
    try {
      const manifest = await repository.manifest(database, id);
      const { finished, totals } = manifest;
      found.push({ id, kind: methodOf(manifest), finished, bytes: totals.bytes });
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || !/^(REPOSITORY|BACKUP)_/.test(thrown.code)) throw thrown;
      found.push({ id, kind: 'unknown', damaged: thrown.message });
    }
  }
  const there = new Set(found.map(({ id }) => id));
  // A removal that stopped before it had begun has left a note, too.
  for (const { id, method, finished, bytes, removed } of await listRemovedBackups(
    repository,
    database,
    wanted,
  ))
    if (!there.has(id)) found.push({ id, kind: method, finished, bytes, removed });
  return { backups: found.sort((a, b) => (a.id < b.id ? -1 : 1)), earlier };
}

function kindsOf(
  { backups, earlier }: { backups: readonly EvidenceBackup[]; earlier: boolean },
  request: EvidenceRequest,
): EvidenceIndex['backups']['kinds'] {
  const first = idStamp(request.from);
  const kinds = [...new Set(backups.map(({ kind }) => kind))].filter((kind) => kind !== 'unknown').sort();
  return kinds.map((kind) => {
    const own = backups.filter((backup) => backup.kind === kind);
    const objective = request.maxAge(kind);
    const ends = own.flatMap(({ finished }) => finished ?? []);
    const { gaps, longest } = gapsOf(ends, { ...request, objective, earlier });
    const count = own.filter(({ id }) => id >= first).length;
    return { kind, count, objectiveSeconds: objective, longestSeconds: longest, gaps };
  });
}

interface GapQuestion {
  readonly from: Date;
  readonly to: Date;
  /** Seconds. */
  readonly objective: number;
  /** There was something long before the period. Else the period's beginning is taken for the beginning of all. */
  readonly earlier: boolean;
}

/** Times between which there was nothing for longer than the objective; what was before the period counts as far as that. */
function gapsOf(
  times: readonly string[],
  { from, to, objective, earlier }: GapQuestion,
): { gaps: Gap[]; longest: number } {
  const lead = from.getTime() - objective * 1000;
  const moments = times.map((time) => Date.parse(time)).filter((time) => time > lead && time < to.getTime());
  const all = [earlier ? lead : from.getTime(), ...moments, to.getTime()].sort((a, b) => a - b);
  const gaps: Gap[] = [];
  let longest = 0;
  for (let i = 1; i < all.length; i++) {
    const [left, right] = [all[i - 1]!, all[i]!];
    // What lies before the period is not its.
    if (right <= from.getTime()) continue;
    const seconds = (right - left) / 1000;
    if (moments.includes(left)) longest = Math.max(longest, seconds);
    if (seconds > objective)
      gaps.push({ from: new Date(left).toISOString(), to: new Date(right).toISOString(), seconds });
  }
  return { gaps, longest };
}
