/**
 * The retention plan of a database: what would be removed, with the reason of each, and its id, which stands for all of it.
 * A plan is applied only by its id, and only while it would still be the same (apply.ts).
 */
import { createHash } from 'node:crypto';
import {
  anchors,
  type BackupState,
  bytesOf,
  type Decision,
  type ForecastMonth,
  forecast,
  type HealthObjectives,
  judgeBackups,
  planRetention,
  type RetentionPolicy,
  removableLog,
} from '../../catalog/index.ts';
import type { DatabaseConfig } from '../../config/index.ts';
import { timelineHistoryName } from '../../postgres/index.ts';
import type { LogPiece, LogPieces, Repository } from '../../repository/index.ts';
import { pathOf } from '../wal/path-of.ts';
import { type OtherCopy, tooFewCopies } from './enough-copies.ts';
import { type DatabaseState, type KnownBackup, readState, unknownKind } from './read-state.ts';

export type RetentionSettings = Pick<DatabaseConfig, 'retention' | 'health'>;

export interface KindPlan {
  readonly kind: string;
  readonly policy: RetentionPolicy;
  /** Oldest first. */
  readonly decisions: readonly (Decision & {
    readonly made: Date;
    readonly label: string | undefined;
    readonly state: BackupState;
    /** Bytes that make it up, shared ones with others. */
    readonly bytes: number;
    /** When it goes by the forecast; undefined: not in the months ahead, or now. */
    readonly until: Date | undefined;
  })[];
  /** Why nothing of this kind is removed. */
  readonly trouble: readonly string[];
  /** Bytes that become free once `collect` has run. */
  readonly frees: number;
  readonly calendar: readonly ForecastMonth[];
  /** The size limit cannot be kept: bytes of what has to stay. */
  readonly over: number | undefined;
}

export interface RetentionPlan {
  /** Stands for what would be removed and for what would stay. */
  readonly id: string;
  readonly database: string;
  /** The store's clock. */
  readonly now: Date;
  readonly kinds: readonly KindPlan[];
  readonly log: {
    /** In the order in which they go. */
    readonly remove: LogPieces;
    readonly keep: LogPieces;
    readonly bytes: number;
    readonly keptPieces: number;
    /** Why it is as it is, for people. */
    readonly reason: string;
  };
}

const monthsAhead = 12;
const dayMs = 86_400_000;

/** `others`: the further copies; undefined where they do not matter, since nothing is to be removed. */
export async function planRetentionOf(
  repository: Repository,
  database: string,
  settings: RetentionSettings,
  others?: readonly OtherCopy[],
): Promise<RetentionPlan> {
  const state = await readState(repository, database);
  const wanted = {
    copies: others === undefined ? 1 : settings.retention.minimumCopies,
    minimumOf: (kind: string) => policyOf(settings, kind).minimum,
  };
  const tooFew = await tooFewCopies(state, wanted, others ?? []);
  const logOf = newestStored(state.pieces);
  const kinds = [...new Set(state.backups.map(({ kind }) => kind))].sort();
  const plans = kinds.map((kind) => planKind(state, kind, { settings, logOf, tooFew }));
  const log = planLog(state, plans, { settings, tooFew });
  // Of a plan only WAL is still asked for.
  state.packs.free();
  return { id: idOf(database, plans, log.remove), database, now: state.now, kinds: plans, log };
}

/** Settings of a kind: its own, and where it has none those for all. */
export function policyOf({ retention }: RetentionSettings, kind: string): RetentionPolicy {
  const own = retention.kinds[kind as keyof typeof retention.kinds];
  const { within, ...keep } = own?.keep ?? retention.keep;
  return {
    keep: { ...keep, withinMs: within === undefined ? undefined : within * 1000 },
    minimum: own?.minimum ?? retention.minimum,
    maxBytes: own?.maxSize ?? retention.maxSize,
    timeZone: retention.timeZone,
    deployLabel: retention.deployLabel,
    pitrMs: retention.pitr * 1000,
  };
}

export function objectivesOf({ health }: RetentionSettings, kind: string): HealthObjectives {
  const own = health.kinds[kind as keyof typeof health.kinds];
  return {
    maxAge: own?.maxAge ?? health.maxAge,
    minSize: own?.minSize ?? health.minSize,
    maxShrink: health.maxShrink,
    maxGrowth: health.maxGrowth,
  };
}

interface Situation {
  readonly settings: RetentionSettings;
  /** Kinds with too few copies, and why. */
  readonly tooFew: ReadonlyMap<string, string>;
}

/** Why nothing of a kind may be removed now. */
function troubleOf(state: DatabaseState, kind: string, { settings, tooFew }: Situation): string[] {
  const backups = state.backups.filter((backup) => backup.kind === kind || backup.kind === unknownKind);
  const badRun = state.badRuns.get(kind);
  const failing = judgeBackups(backups, { objectives: objectivesOf(settings, kind), now: state.now, badRun })
    .filter(({ name, state: severity }) => severity === 'critical' || name === 'last run')
    .map(({ detail }) => detail);
  const few = tooFew.get(kind);
  return few === undefined ? failing : [...failing, few];
}

function newestStored(pieces: Iterable<LogPiece>): Map<number, Date> {
  const newest = new Map<number, Date>();
  for (const { line, stored } of pieces) {
    const known = newest.get(line);
    if (known === undefined || stored > known) newest.set(line, stored);
  }
  return newest;
}

function planKind(
  state: DatabaseState,
  kind: string,
  { settings, logOf, tooFew }: Situation & { logOf: ReadonlyMap<number, Date> },
): KindPlan {
  const policy = policyOf(settings, kind);
  const trouble = troubleOf(state, kind, { settings, tooFew });
  const own = state.backups.filter((backup) => backup.kind === kind);
  const byId = new Map(own.map((backup) => [backup.id, backup]));
  const situation = { policy, now: state.now, logOf: kind === 'physical' ? logOf : new Map<number, Date>() };
  const plan = planRetention(own, { ...situation, trouble });
  const [kept, removed] = split(own, plan);
  const until = new Date(state.now.getTime() + (monthsAhead * 31 + 1) * dayMs);
  const calendar = kind === unknownKind ? [] : forecast(kept, { ...situation, until });
  const going = new Map(calendar.flatMap((month) => month.removed.map(({ id, on }) => [id, on])));
  const keptBytes = bytesOf(kept);
  const decisions = plan.map((decision) => {
    const { made, label, packs, state } = byId.get(decision.id)!;
    return { ...decision, made, label, state, bytes: bytesOf([{ packs }]), until: going.get(decision.id) };
  });
  return {
    kind,
    policy,
    decisions,
    trouble,
    frees: bytesOf([...kept, ...removed]) - keptBytes,
    calendar,
    over: policy.maxBytes !== undefined && keptBytes > policy.maxBytes ? keptBytes : undefined,
  };
}

function split(backups: readonly KnownBackup[], plan: readonly Decision[]): [KnownBackup[], KnownBackup[]] {
  const gone = new Set(plan.filter(({ action }) => action === 'remove').map(({ id }) => id));
  return [backups.filter(({ id }) => !gone.has(id)), backups.filter(({ id }) => gone.has(id))];
}

function planLog(
  state: DatabaseState,
  plans: readonly KindPlan[],
  { settings, tooFew }: Situation,
): RetentionPlan['log'] {
  const { pieces } = state;
  const keep = (reason: string) => ({
    remove: pieces.select(() => false),
    keep: pieces,
    bytes: 0,
    keptPieces: pieces.length,
    reason,
  });
  if (pieces.length === 0) return keep('no WAL is stored');
  const trouble = troubleOf(state, 'physical', { settings, tooFew });
  if (trouble.length > 0) return keep(`nothing is removed while ${trouble.join('; ')}`);
  const gone = new Set(
    plans.flatMap(({ decisions }) =>
      decisions.filter(({ action }) => action === 'remove').map(({ id }) => id),
    ),
  );
  const kept = state.backups.filter(({ id, start }) => start !== undefined && !gone.has(id));
  const policy = policyOf(settings, 'physical');
  const good = kept.filter((backup) => backup.state === 'good');
  const first = anchors(good, { policy, now: state.now, logOf: newestStored(pieces) });
  const oldest = first.length > 0 ? first : good.slice(-1);
  const from = Math.min(...oldest.map(({ made }) => made.getTime()));
  const goes = removableLog({
    starts: kept.filter(({ made }) => made.getTime() >= from).map(({ start }) => start!),
    before: new Date(state.now.getTime() - policy.pitrMs),
    pathTo: (timeline) =>
      timeline === 1 || state.histories.has(timelineHistoryName(timeline))
        ? pathOf(timeline, state.histories)
        : undefined,
  });
  const remove = pieces.select(goes);
  let bytes = 0;
  for (const { size } of remove) bytes += size;
  return {
    remove,
    keep: pieces.select((piece) => !goes(piece)),
    bytes,
    keptPieces: pieces.length - remove.length,
    reason: `the recovery window begins with backup ${oldest[0]!.id}`,
  };
}

function idOf(database: string, plans: readonly KindPlan[], log: Iterable<LogPiece>): string {
  const decisions = plans.flatMap(({ kind, decisions }) =>
    decisions.map(({ id, action }) => [kind, id, action]),
  );
  const hash = createHash('sha256').update(JSON.stringify({ database, decisions }));
  for (const { name } of log) hash.update(`${name}\n`);
  return hash.digest('hex').slice(0, 12);
}
