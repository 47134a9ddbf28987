/**
 * `helvino health` and `helvino status`: is a database safe? Everything is looked at in the store itself: nothing is taken
 * from what a run once said. What could not be looked at is `unknown`, never `ok`.
 */
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError, HelvinoError } from '../../base/errors.ts';
import { formatBytes } from '../../base/format.ts';
import { silentProgress } from '../../base/progress.ts';
import {
  type BackupMethod,
  formatAge,
  type HealthCheck,
  judgeBackups,
  type Severity,
} from '../../catalog/index.ts';
import type { DatabaseConfig, LoadedConfig } from '../../config/index.ts';
import type { ConnectionParams } from '../../postgres/index.ts';
import type { LogPiece, Repository } from '../../repository/index.ts';
import { knownDamage } from '../backup/known-damage.ts';
import { CurrentFacts, type ProofState, proofState, proofText, staleBecause } from '../drill/proof/index.ts';
import { measureOf, predictRecovery } from '../drill/report/prediction.ts';
import type { DrillReport } from '../drill/report.ts';
import { objectivesOf } from '../retention/plan.ts';
import { type DatabaseState, type KnownBackup, readState, unknownKind } from '../retention/read-state.ts';
import { newestVerification, type VerificationRecord } from '../verify/record.ts';
import { checkContainers } from '../volume/left-containers.ts';
import { type WalAlarm, walAlarms } from '../wal/alarms.ts';
import { storedClusters } from '../wal/known-cluster.ts';
import { defaultSlot } from '../wal/slot.ts';
import {
  knownState,
  readSourceState,
  readStoredEnds,
  type SourceState,
  storedEnds,
} from '../wal/source-state.ts';
import { type WalStatus, walStatus } from '../wal/status.ts';
import { type SafeUntil, safeUntil } from './safe-until.ts';

export interface HealthOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly settings: Pick<DatabaseConfig, 'retention' | 'health' | 'wal' | 'volume'>;
  /** With it, a proof is compared with what is configured now. */
  readonly loaded?: LoadedConfig;
  /** Asked how far it is ahead of stored WAL; undefined: it is not asked. */
  readonly connection?: ConnectionParams;
  readonly clock: Clock;
  /** DOCKER_HOST and the like. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Further copies of the repository. */
  readonly copies: readonly { readonly name: string; readonly open: () => Promise<Repository> }[];
}

export interface KindHealth {
  readonly kind: string;
  readonly newest: string;
  /** ISO 8601, UTC. */
  readonly made: string;
  readonly ageSeconds: number;
  readonly maxAgeSeconds: number;
  /** Bytes of the content. */
  readonly bytes: number;
  /** Bytes in the repository. */
  readonly stored: number;
}

export interface HealthReport {
  readonly database: string;
  /** The worst of the checks. */
  readonly state: Severity;
  readonly now: string;
  readonly checks: readonly HealthCheck[];
  readonly kinds: readonly KindHealth[];
  /** To which moments the database can be brought back. */
  readonly recoverable:
    | {
        readonly from: string;
        readonly to: string;
        /** `any moment` in between where WAL leads on from a backup; else only the ends of backups. */
        readonly how: 'any moment' | 'backups';
      }
    | undefined;
  /** The newest proof of each kind, and whether it still holds. */
  readonly proofs: readonly KindProof[];
  /** How long a recovery of the newest physical backup would take (of another kind where there is none), as drills predict it; seconds. */
  readonly restore:
    | {
        readonly seconds: number;
        readonly basis: string;
        readonly drills: number;
        /** How far earlier predictions were off, at most; unknown with fewer than two drills. */
        readonly errorPercent: number | undefined;
        readonly rangeSeconds: readonly [number, number] | undefined;
      }
    | undefined;
  readonly lag: SourceState['lag'] | undefined;
  /** Until when it stays as good as it is, if nothing more happens. */
  readonly safeUntil: SafeUntil | undefined;
}

export interface KindProof extends ProofState {
  readonly kind: string;
  readonly backup: string | undefined;
  /** In words: `proven on 2026-11-25, stale because the schema changed since`. */
  readonly text: string;
}

const rank: Readonly<Record<Severity, number>> = { ok: 0, unknown: 1, warning: 2, critical: 3 };
/** So many times the objective behind, a lag is critical. */
const criticalLag = 10;

export function worst(states: Iterable<Severity>): Severity {
  let found: Severity = 'ok';
  for (const state of states) if (rank[state] > rank[found]) found = state;
  return found;
}

/** Throws what keeps the repository from being read at all. */
export async function health(options: HealthOptions): Promise<HealthReport> {
  const { repository, database, settings } = options;
  const state = await readState(repository, database);
  const newest = newestByKind(state);
  const wal = await walStatus(repository, database);
  const walState = await walChecks(wal, options);
  const drills = state.backups.flatMap(({ kind, drill, bytes }) => (drill ? [{ kind, drill, bytes }] : []));
  drills.sort((a, b) => (a.drill.finished < b.drill.finished ? -1 : 1));
  const every = settings.health.drillEvery;
  const current = new CurrentFacts({ repository, database, loaded: options.loaded, now: state.now, every });
  const proofs = await Promise.all(newest.map(({ kind }) => proofOf(kind, drills, current)));
  const verification = await newestVerification(repository, database);
  const kinds = newest.map((backup) => kindHealth(backup, state, settings));
  const checks = [
    ...kindChecks(state, settings),
    ...(await storedChecks(repository, newest)),
    ...(await copyChecks(options, newest)),
    verificationCheck(verification, state.now, settings.health.verifyEvery),
    ...(await damageChecks(options, newest)),
    ...proofs.map(({ check }) => check),
    ...walState.checks,
    ...(await containerChecks(options)),
  ];
  return {
    database,
    state: worst(checks.map((check) => check.state)),
    now: state.now.toISOString(),
    checks,
    kinds,
    recoverable: recoverable(state, wal, walState.lag),
    restore: restoreTime(drills, newest.find(({ kind }) => kind === 'physical') ?? newest[0], state.pieces),
    proofs: proofs.map(({ proof }) => proof),
    lag: walState.lag,
    safeUntil: safeUntil(
      { kinds, proofs: proofs.map(({ proof }) => proof), verification },
      settings.health,
      state.now,
    ),
  };
}

/** Readable ones. */
function newestByKind({ backups }: DatabaseState): KnownBackup[] {
  const newest = new Map<string, KnownBackup>();
  for (const backup of backups) if (backup.kind !== unknownKind) newest.set(backup.kind, backup);
  return [...newest.values()];
}

function kindHealth(
  backup: KnownBackup,
  { now }: DatabaseState,
  settings: HealthOptions['settings'],
): KindHealth {
  return {
    kind: backup.kind,
    newest: backup.id,
    made: backup.made.toISOString(),
    ageSeconds: Math.round((now.getTime() - backup.made.getTime()) / 1000),
    maxAgeSeconds: objectivesOf(settings, backup.kind).maxAge,
    bytes: backup.bytes,
    stored: backup.stored,
  };
}

/** Kinds that there are, and those that the configuration wants. */
function kindChecks(state: DatabaseState, settings: HealthOptions['settings']): HealthCheck[] {
  const { backups, now } = state;
  const kinds = new Set([...backups.map(({ kind }) => kind), ...Object.keys(settings.health.kinds)]);
  // One try of a kind that nobody wants is forgotten in time.
  for (const [kind, { began }] of state.badRuns)
    if (now.getTime() - began.getTime() < objectivesOf(settings, kind).maxAge * 1000) kinds.add(kind);
  kinds.delete(unknownKind);
  if (kinds.size === 0) kinds.add('physical');
  return [...kinds].sort().flatMap((kind) => {
    const own = backups.filter((backup) => backup.kind === kind || backup.kind === unknownKind);
    const badRun = state.badRuns.get(kind);
    return judgeBackups(own, { objectives: objectivesOf(settings, kind), now, badRun }).map((check) => ({
      ...check,
      name: `${kind} ${check.name}`,
    }));
  });
}

/** Whether all that the newest backups name is there, in its size. */
async function storedChecks(repository: Repository, newest: readonly KnownBackup[]): Promise<HealthCheck[]> {
  const checks: HealthCheck[] = [];
  for (const { kind, id, packs } of newest) {
    const [missing, ...more] = await repository.missingPacks({ packs: packs.named() });
    const detail =
      missing === undefined
        ? `all ${packs.length} objects of ${id} are there`
        : `${missing}${more.length > 0 ? ` and ${more.length} more objects` : ''} of ${id} is missing or cut`;
    checks.push({ name: `${kind} stored`, state: missing === undefined ? 'ok' : 'critical', detail });
  }
  return checks;
}

async function copyChecks(
  { copies, database }: HealthOptions,
  newest: readonly KnownBackup[],
): Promise<HealthCheck[]> {
  const checks: HealthCheck[] = [];
  for (const { name, open } of copies) {
    try {
      checks.push(...(await copyCheck(name, { repository: await open(), database, newest })));
    } catch (thrown) {
      const error = asHelvinoError(thrown);
      if (error.code === 'INTERNAL') throw error;
      checks.push({
        name: `copy ${name}`,
        state: 'unknown',
        detail: `it cannot be looked at: ${error.message}`,
      });
    }
  }
  return checks;
}

async function copyCheck(
  name: string,
  {
    repository,
    database,
    newest,
  }: { repository: Repository; database: string; newest: readonly KnownBackup[] },
): Promise<HealthCheck[]> {
  const there = new Set((await repository.backups(database)).map(({ id }) => id));
  const checks: HealthCheck[] = [];
  for (const { kind, id, packs } of newest) {
    const missing = there.has(id) ? await repository.missingPacks({ packs: packs.named() }) : undefined;
    const good = missing?.length === 0;
    const detail = good
      ? `the newest ${kind} backup is there`
      : `${missing ? `${missing.length} objects of ` : ''}the newest ${kind} backup, ${id}, ${missing ? 'are' : 'is'} not there: helvino copy brings it`;
    checks.push({ name: `copy ${name}`, state: good ? 'ok' : 'critical', detail });
  }
  return checks;
}

function verificationCheck(last: VerificationRecord | undefined, now: Date, every: number): HealthCheck {
  const name = 'verification';
  if (!last) return { name, state: 'warning', detail: 'never verified: helvino verify --read-data' };
  const age = (now.getTime() - Date.parse(last.finished)) / 1000;
  const detail = `${last.verdict} ${formatAge(age)} ago, ${last.depth}`;
  if (last.verdict === 'failed')
    return { name, state: 'critical', detail: `${detail}: ${last.damaged.slice(0, 3).join(', ')}` };
  if (age <= every) return { name, state: 'ok', detail };
  return { name, state: 'warning', detail: `${detail}; the objective is every ${formatAge(every)}` };
}

/** A verification of the structure alone, and good, says nothing of the bytes that one before it found changed. */
async function damageChecks(
  { repository, database }: HealthOptions,
  newest: readonly KnownBackup[],
): Promise<HealthCheck[]> {
  const checks: HealthCheck[] = [];
  for (const { kind, id, made } of newest) {
    const backup = { database, id, started: made.toISOString() };
    const detail = await knownDamage(repository, backup, silentProgress);
    if (detail !== undefined) checks.push({ name: `${kind} damage`, state: 'critical', detail });
  }
  return checks;
}

interface KnownDrill {
  readonly kind: string;
  readonly drill: DrillReport;
  /** Bytes of the backup's content. */
  readonly bytes: number;
}

/** `drills`: in order of time. A drill of one kind says nothing of another. */
async function proofOf(
  kind: string,
  all: readonly KnownDrill[],
  current: CurrentFacts,
): Promise<{ proof: KindProof; check: HealthCheck }> {
  const drills = all.filter((known) => known.kind === kind).map(({ drill }) => drill);
  const last = drills.at(-1);
  const facts = await current.of(kind as BackupMethod);
  const proven =
    last?.verdict === 'failed' ? undefined : drills.findLast(({ verdict }) => verdict === 'proven');
  const shown = proven ?? last;
  const state = proofState(shown, facts);
  const words = { kind, backup: shown?.backup, ...state, text: proofText(state) };
  return { proof: words, check: { name: `${kind} drill`, ...judgeProof(words, facts.now) } };
}

function judgeProof({ state, on, backup, reasons }: KindProof, now: Date): Omit<HealthCheck, 'name'> {
  const ago = on && `${formatAge((now.getTime() - Date.parse(on)) / 1000)} ago`;
  switch (state) {
    case 'unproven':
      return { state: 'warning', detail: 'no backup is proven yet: helvino drill' };
    case 'failed':
      return { state: 'critical', detail: `the last drill, ${ago}, failed: backup ${backup}` };
    case 'partly proven':
      return { state: 'warning', detail: `the last drill, ${ago}, proved backup ${backup} partly` };
    case 'proven':
      return { state: 'ok', detail: `backup ${backup} was proven ${ago}` };
    case 'stale': {
      const why = staleBecause(reasons);
      return { state: 'warning', detail: `backup ${backup} was proven ${ago}, stale because ${why}` };
    }
  }
}

/** Where WAL is stored at all. */
async function walChecks(
  wal: WalStatus,
  { repository, database, settings, connection, clock }: HealthOptions,
): Promise<{ checks: HealthCheck[]; lag: SourceState['lag'] | undefined }> {
  if (wal.pieces === 0) return { checks: [], lag: undefined };
  const slot = settings.wal.slot ?? defaultSlot(database);
  const source =
    connection &&
    (await readSourceState({
      connection,
      slot,
      clusters: await storedClusters(repository, database),
      stored: storedEnds(wal),
      storedNow: () => readStoredEnds(repository, database),
      now: await repository.driver.now(),
      clock,
    }));
  const lag = knownState(source)?.lag;
  const alarms = walAlarms({ slot, limits: settings.wal, status: wal, source });
  const checks = alarms.map(({ name, message, hint }): HealthCheck => {
    const late =
      name === 'lag' && lag?.seconds !== undefined && lag.seconds > settings.wal.maxLag * criticalLag;
    return {
      name: `WAL ${name}`,
      state: late ? 'critical' : alarmStates[name],
      detail: `${message}: ${hint}`,
    };
  });
  if (lag && !alarms.some(({ name }) => name === 'lag' || name === 'elsewhere')) {
    const detail = lag.bytes === 0 ? 'all is stored' : `${formatBytes(lag.bytes)} behind the server`;
    checks.push({ name: 'WAL lag', state: 'ok', detail });
  }
  return { checks, lag };
}

async function containerChecks({
  repository,
  database,
  settings,
  env,
}: HealthOptions): Promise<HealthCheck[]> {
  const left = await checkContainers(repository, database, { engine: settings.volume.engine, env });
  return left.map(({ name, detail, hint }) => ({ name, state: 'critical', detail: `${detail}: ${hint}` }));
}

const alarmStates: Readonly<Record<WalAlarm['name'], Severity>> = {
  server: 'unknown',
  cluster: 'critical',
  room: 'warning',
  lag: 'warning',
  stream: 'critical',
  slot: 'critical',
  elsewhere: 'critical',
  gap: 'critical',
  commits: 'critical',
};

/** From the oldest physical backup that WAL leads on from without a gap; without WAL the ends of backups are all there is. */
function recoverable(
  { backups, now }: DatabaseState,
  wal: WalStatus,
  lag: SourceState['lag'] | undefined,
): HealthReport['recoverable'] {
  const good = backups.filter(({ state }) => state === 'good');
  const [oldest, newest] = [good[0], good.at(-1)];
  if (!oldest || !newest) return undefined;
  // As `restore --to latest` goes.
  const line = wal.ends.at(-1)?.timeline;
  const last = wal.windows.findLast(({ timeline }) => timeline === line) ?? wal.windows.at(-1);
  if (last && wal.newest && last.to !== last.from) {
    const first = wal.windows.find((window) => window.to === last.to && window.timeline === last.timeline);
    const from = backups.find(({ id }) => id === first?.backup);
    // All is stored, and this leads to its end: then the state of now is, too.
    const isEnd = wal.ends.some(({ timeline, to }) => timeline === last.timeline && to === last.to);
    const toEnd = lag?.bytes === 0 ? now.toISOString() : wal.newest;
    const to = isEnd ? toEnd : newest.made.toISOString();
    if (from) return { from: from.made.toISOString(), to, how: 'any moment' };
  }
  return { from: oldest.made.toISOString(), to: newest.made.toISOString(), how: 'backups' };
}

/** By the size of the newest backup, and by the WAL that would be replayed on it. */
function restoreTime(
  drills: readonly KnownDrill[],
  newest: KnownBackup | undefined,
  pieces: Iterable<LogPiece>,
): HealthReport['restore'] {
  if (!newest) return undefined;
  const measured = drills.flatMap(({ kind, drill }) =>
    kind === newest.kind ? (measureOf(drill) ?? []) : [],
  );
  const { start } = newest;
  let walBytes: number | undefined;
  if (start) {
    walBytes = 0;
    for (const one of pieces) if (one.end > start.end) walBytes += one.size;
  }
  const made = predictRecovery(measured, { bytes: newest.bytes, walBytes });
  if (!made) return undefined;
  const { rtoSeconds, basis, errorPercent, rangeSeconds } = made;
  return { seconds: rtoSeconds, basis, drills: made.drills, errorPercent, rangeSeconds };
}

/** For a database that could not be looked at. */
export function unknownHealth(database: string, thrown: unknown, now: Date): HealthReport {
  const error = asHelvinoError(thrown);
  if (!(error instanceof HelvinoError) || ['USAGE', 'INTERRUPTED', 'INTERNAL'].includes(error.code))
    throw error;
  return {
    database,
    state: 'unknown',
    now: now.toISOString(),
    checks: [
      {
        name: error.code.startsWith('CONFIG_') ? 'configuration' : 'repository',
        state: 'unknown',
        detail: `it cannot be looked at: ${error.message}`,
      },
    ],
    kinds: [],
    recoverable: undefined,
    restore: undefined,
    proofs: [],
    lag: undefined,
    safeUntil: undefined,
  };
}
