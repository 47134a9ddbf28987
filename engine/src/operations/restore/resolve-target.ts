/**
 * From a recovery target to a backup and the exact position at which its WAL has to end. Resolved before anything is
 * restored: what cannot be reached is refused with the nearest that can. Recovery itself then needs no target: it is given
 * WAL up to that position and no further.
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatTime, plural } from '../../base/format.ts';
import {
  type BackupFacts,
  backupFacts,
  continuousRanges,
  type LedgerRange,
  type PathStep,
  pathFrom,
  pathUntil,
  physicalFacts,
  type RecordedGap,
  reachAlong,
  withoutDamage,
} from '../../catalog/index.ts';
import {
  formatLsn,
  parseLsn,
  parseTimelineHistory,
  type WalEvent,
  walSegmentBegin,
} from '../../postgres/index.ts';
import { logFiles, type Manifest, type Repository } from '../../repository/index.ts';
import { gapWords, recordedGaps } from '../wal/gaps.ts';
import type { StoredLog } from '../wal/log-bytes.ts';
import { pathOf } from '../wal/path-of.ts';
import { type RivalTimeline, rivalChoices, rivalTimelines } from '../wal/rival-timelines.ts';
import { beforeDrop, DropWatch, type SeenEvent } from './database-drops.ts';
import {
  endingAt,
  formatMicroseconds,
  isPrepared,
  NameUses,
  preparedWords,
  type TargetEnding,
  timeOf,
} from './target-events.ts';
import type { RecoveryTarget } from './target-words.ts';
import { endOfRecordAt, type WalStretch, walRecords } from './wal-records.ts';

export interface ResolvedTarget {
  readonly manifest: Manifest;
  /** The WAL that is replayed ends here. */
  readonly end: bigint;
  /** From the backup's timeline to the one on which the end is. */
  readonly path: readonly PathStep[];
  /** For people: what the end is. */
  readonly description: string;
  /** Why stored WAL leads no further, where more is stored behind that. */
  readonly cut?: string | undefined;
  /** Timeline history files by name. */
  readonly histories: ReadonlyMap<string, Uint8Array>;
  /** What was not chosen, where no timeline was asked for, and the end is behind where they parted. */
  readonly rivals: readonly RivalTimeline[];
}

export interface ResolveOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly log: StoredLog;
  readonly target: Exclude<RecoveryTarget, { kind: 'backup' }>;
  /** Undefined: the newest one that stored WAL leads to. */
  readonly timeline?: number;
  readonly signal: AbortSignal;
}

interface Candidate {
  readonly manifest: Manifest;
  readonly facts: BackupFacts;
  /** The end of the WAL in the backup: from here on the log is needed. */
  readonly from: bigint;
  readonly path: readonly PathStep[];
  /** How far stored WAL leads, not before `from`. */
  readonly reach: bigint;
  /** Why not further, where WAL beyond that is stored. */
  readonly cut: Cut | undefined;
  /** Where another timeline left the last one of the path, as far as is known: what is stored behind that may be no WAL. */
  readonly leftAt: () => bigint | undefined;
}

/** A gap in stored WAL: it begins at the reach. */
interface Cut {
  /** Where stored WAL begins again. */
  readonly to: bigint;
  /** For people. */
  readonly why: string;
}

export async function resolveTarget(options: ResolveOptions): Promise<ResolvedTarget> {
  const { repository, database } = options;
  const histories = await logFiles(repository, database);
  const gaps = await recordedGaps(repository, database);
  /** Newest first; without their manifests, which may be large. */
  const passed: Passed[] = [];
  /** From here on was read already, with a newer backup: a transaction or a name is not looked for there again. */
  let readFrom: bigint | undefined;
  let nearest: string | undefined;
  /** Gaps that what is asked for may be in, or behind. */
  const hiding = new Set<string>();
  let looking = true;
  const course = await courseOf(options, { histories, gaps });
  for await (const candidate of candidatesOf(options, { ...course, histories, gaps })) {
    options.signal.throwIfAborted();
    passed.push(passedOf(candidate));
    if (!looking) continue;
    const found = await seek(options, candidate, readFrom);
    if (isSearched(options.target) && (readFrom === undefined || candidate.from < readFrom))
      readFrom = candidate.from;
    if (found.end !== undefined)
      return {
        ...candidate,
        path: pathUntil(candidate.path, found.end),
        end: found.end,
        cut: candidate.cut && gapBehind(candidate),
        description: found.description,
        histories,
        rivals: course.rivals.filter(({ parted }) => parseLsn(parted) < found.end!),
      };
    nearest = found.description;
    if (found.gap !== undefined) hiding.add(found.gap);
    // The others only say what could be reached instead.
    looking = found.older !== false;
  }
  if (nearest === undefined) throw noCandidate(options);
  const windows = windowsOf(passed);
  const hint = windows
    .slice(-windowsNamed)
    .map(({ from, to, backup, ended }) => `from ${from} (the end of backup ${backup}, ${ended}) to ${to}`);
  const why = `${nearest}${hidingWords([...hiding].reverse())}`;
  const page = hiding.size > 0 ? `; ${gapPage}` : '';
  throw new HelvinoError('TARGET_UNREACHABLE', `${describe(options.target)} cannot be reached: ${why}`, {
    hint: `recoverable is ${hint.join(', and ')}; --to latest is the end${elsewhere(course)}${page}`,
    context: { database, windows },
  });
}

const gapPage = '`helvino wal status` shows the gaps, docs/operations/point-in-time.md what they mean';

/** `gaps`: those that what is asked for may be in or behind. */
function hidingWords(gaps: readonly string[]): string {
  if (gaps.length === 0) return '';
  const which = gaps.length === 1 ? 'in it, or behind it' : 'in one of them, or behind it';
  return `; ${gaps.join(', and ')}: what is asked for may be ${which}, where no backup leads`;
}

/** The target may be on a timeline that nobody asked for. */
function elsewhere({ path, rivals }: Course): string {
  if (rivals.length === 0) return '';
  return `; looked for was it on timeline ${path.at(-1)!.timeline}, not on ${rivalChoices(rivals).join(', ')}`;
}

function noCandidate(options: ResolveOptions): HelvinoError {
  const leads = options.timeline === undefined ? 'stored WAL' : `timeline ${options.timeline}`;
  return new HelvinoError('BACKUP_NOT_FOUND', `no backup of ${options.database} leads to ${leads}`, {
    hint: `WAL is stored of ${timelinesOf(options)}; \`helvino list\` shows the backups, \`helvino wal status\` where they lead`,
  });
}

/** The most that a hint names; the context has all. */
const windowsNamed = 3;

interface Window {
  readonly from: string;
  readonly to: string;
  /** The one at whose end it begins. */
  readonly backup: string;
  readonly ended: string;
}

interface Passed extends Pick<Candidate, 'from' | 'reach'> {
  readonly backup: string;
  readonly ended: string;
}

function passedOf(candidate: Candidate): Passed {
  const { from, reach, manifest } = candidate;
  return { from, reach, backup: manifest.id, ended: formatTime(new Date(endTime(candidate))) };
}

/** What can be recovered to, oldest first: from a backup's end to where stored WAL ends or has a gap. */
function windowsOf(newestFirst: readonly Passed[]): Window[] {
  const windows: (Window & { position: bigint })[] = [];
  for (const { from, reach, backup, ended } of newestFirst.toReversed()) {
    const last = windows.at(-1);
    if (last && from <= last.position) continue;
    windows.push({ position: reach, from: formatLsn(from), to: formatLsn(reach), backup, ended });
  }
  return windows.map(({ position: _, ...window }) => window);
}

/** When the WAL of a backup ended, by the server's clock; of backups that do not say, when all was stored. */
function endTime({ manifest, facts }: Candidate): string {
  return facts.ended ?? manifest.finished;
}

function timelinesOf({ log }: ResolveOptions): string {
  const lines = log.lines;
  if (lines.length === 0) return 'no timeline';
  return `timeline${lines.length > 1 ? 's' : ''} ${lines.join(', ')}`;
}

function describe(target: ResolveOptions['target']): string {
  if (target.kind === 'latest') return 'the latest state';
  if (target.kind === 'time') return formatMicroseconds(target.time);
  if (target.kind === 'lsn') return target.lsn;
  return target.kind === 'xid' ? `transaction ${target.xid}` : `the restore point "${target.name}"`;
}

interface Known {
  readonly histories: ReadonlyMap<string, Uint8Array>;
  readonly gaps: readonly RecordedGap[];
}

interface Course {
  readonly ranges: readonly LedgerRange[];
  /** Newest first. */
  readonly names: Awaited<ReturnType<Repository['backups']>>;
  /** To the wanted timeline. */
  readonly path: readonly PathStep[];
  readonly rivals: readonly RivalTimeline[];
}

async function courseOf(
  { repository, database, log, timeline }: ResolveOptions,
  { histories, gaps }: Known,
): Promise<Course> {
  const ranges = withoutDamage(continuousRanges(log.pieces), gaps);
  const names = (await repository.backups(database)).reverse();
  const path = pathOf(timeline ?? (await newestTimeline(repository, log, names)), histories);
  const rivals = timeline === undefined ? rivalTimelines(path, ranges, histories) : [];
  return { ranges, names, path, rivals };
}

/** Backups that lead to the wanted timeline, newest first. */
async function* candidatesOf(
  { repository, database }: ResolveOptions,
  { ranges, names, path, histories, gaps }: Course & Known,
): AsyncGenerator<Candidate, void, void> {
  for (const name of names) {
    const manifest = await repository.manifest(database, name.id);
    const facts = physicalFacts(manifest);
    if (!facts) continue;
    const from = parseLsn(facts.walEnd);
    const rest = pathFrom(path, facts.timeline, from);
    if (!rest) continue;
    const { position, timeline: line } = reachAlong(
      ranges,
      rest,
      walSegmentBegin(from, facts.walSegmentSize),
    );
    // biome-ignore lint/complexity/useMathMinMax: these are bigints, which Math.max does not take
    const reach = position > from ? position : from;
    const to = resumesAt(ranges, rest, { line, reach });
    const gap = gaps.findLast((one) => one.from === reach && one.timeline <= line && line <= one.toTimeline);
    const cut = to === undefined ? undefined : { to, why: gapWords[gap?.reason ?? 'unknown'] };
    const leftAt = () => firstLeft(histories, line);
    yield { manifest, facts, from, path: pathUntil(rest, reach), reach, cut, leftAt };
  }
}

/** Where WAL is stored again along a path, behind what can be reached; undefined: nowhere. */
function resumesAt(
  ranges: readonly LedgerRange[],
  path: readonly PathStep[],
  { line, reach }: { line: number; reach: bigint },
): bigint | undefined {
  /** A timeline's first segment repeats what its parent's has before the fork. */
  let fork = 0n;
  for (const { timeline, until } of path) {
    // What a timeline has behind the fork is of a server that went on alone: no path leads there.
    const isOn = ({ begin }: LedgerRange) => until === undefined || begin < until;
    const own = timeline < line ? [] : ranges.filter((range) => range.line === timeline && isOn(range));
    const next =
      timeline === line ? own.find(({ begin }) => begin > reach) : own.find(({ end }) => end > fork);
    if (next) return next.begin > fork ? next.begin : fork;
    if (until !== undefined) fork = until;
  }
  return undefined;
}

function firstLeft(histories: ReadonlyMap<string, Uint8Array>, timeline: number): bigint | undefined {
  let first: bigint | undefined;
  for (const bytes of histories.values())
    for (const left of parseTimelineHistory(bytes))
      if (left.timeline === timeline && (first === undefined || left.switchLsn < first))
        first = left.switchLsn;
  return first;
}

/** The newest of which WAL is stored; without any, that of the newest physical backup. */
async function newestTimeline(
  repository: Repository,
  log: StoredLog,
  names: readonly { database: string; id: string }[],
): Promise<number> {
  const stored = Math.max(0, ...log.lines);
  if (stored > 0) return stored;
  for (const name of names) {
    const facts = physicalFacts(await repository.manifest(name.database, name.id));
    if (facts) return facts.timeline;
  }
  return 0;
}

interface Found {
  /** Undefined: not with this backup. */
  readonly end?: bigint;
  readonly description: string;
  /** What is asked for may be in it or behind it. */
  readonly gap?: string | undefined;
  /** False: an older backup will not do either. */
  readonly older?: boolean;
}

async function seek(options: ResolveOptions, candidate: Candidate, readFrom?: bigint): Promise<Found> {
  const { target } = options;
  const { from, reach, manifest } = candidate;
  if (target.kind === 'latest')
    return { end: reach, description: `the end of stored WAL, ${endWords(candidate)}` };
  if (target.kind === 'lsn') {
    const lsn = parseLsn(target.lsn);
    if (lsn > reach)
      return {
        description: `stored WAL after backup ${manifest.id} ends at ${endWords(candidate)}`,
        older: false,
      };
    if (lsn < from) return { description: `it is before the end of every backup that is there` };
    if (target.side !== 'after') return { end: lsn, description: `all WAL before ${target.lsn}` };
    const end = await endOfRecordAt(options.log, candidate, lsn, options.signal);
    if (end !== undefined) return { end, description: `the end of the record at ${target.lsn}` };
    return {
      description: `the record there is not whole: stored WAL ends at ${endWords(candidate)}`,
      older: false,
    };
  }
  if (target.kind === 'time' && target.time < BigInt(new Date(endTime(candidate)).getTime()) * 1000n)
    return { description: 'it is before the end of every backup that is there' };
  return scan(options, candidate, readFrom);
}

/** Only reading all WAL tells whether it is there. */
function isSearched({ kind }: ResolveOptions['target']): boolean {
  return kind === 'xid' || kind === 'name';
}

/** More WAL is stored behind a gap: the newest state that can be had is not the newest that is stored. */
function endWords({ reach, cut }: Pick<Candidate, 'reach' | 'cut'>): string {
  const end = formatLsn(reach);
  return cut === undefined
    ? end
    : `${end}: there is a gap (${cut.why}), and no backup leads to the WAL behind it`;
}

/** What was not found in the WAL before a gap may yet be stored. Undefined: there is none. */
function gapBehind({ reach, cut }: Pick<Candidate, 'reach' | 'cut'>): string | undefined {
  if (cut === undefined) return undefined;
  return `there is a gap from ${formatLsn(reach)} to ${formatLsn(cut.to)} (${cut.why})`;
}

/** Reads WAL from the backup's end on, until what is looked for, or what was read already. */
async function scan(
  options: ResolveOptions,
  candidate: Candidate,
  readFrom: bigint | undefined,
): Promise<Found> {
  const { log, target, signal } = options;
  let last: WalEvent | undefined;
  let passed = false;
  let prepared: Extract<WalEvent, { kind: 'prepare' }> | undefined;
  const uses = new NameUses();
  // Backups may overlap, and there may be a gap between them: only what this one leads to was read with a newer one.
  const isRead = readFrom !== undefined && candidate.from < readFrom && readFrom <= candidate.reach;
  const reach = isRead ? readFrom! : candidate.reach;
  try {
    for await (const seen of events(log, { ...candidate, reach })) {
      signal.throwIfAborted();
      const { event } = seen;
      const found = endingAt(target, event);
      if (found) {
        const ending = fromBackup(beforeDrop(found, seen, isBefore(target)), found, candidate);
        if (target.kind !== 'name') return ending;
        uses.add(ending, event);
      }
      if (event.kind === 'prepare' && isPrepared(target, event)) prepared = event;
      if (event.kind === 'commit') last = event;
      if (target.kind === 'time' && event.time > target.time) passed = true;
    }
  } catch (thrown) {
    signal.throwIfAborted();
    // WAL behind a restore point that cannot be had does not matter to it.
    const mayHide = uses.count > 0 && thrown instanceof HelvinoError;
    if (!mayHide && !isBehindFork(thrown, candidate)) throw thrown;
    if (mayHide) uses.hidden = thrown.message;
  }
  if (uses.count > 1) throw ambiguous(options, uses, candidate);
  if (uses.first) return uses.first;
  const gap = gapBehind(candidate);
  if (prepared) return { description: preparedWords(prepared, candidate.reach), gap, older: false };
  if (target.kind !== 'time')
    return {
      description: `it is not in the WAL from ${formatLsn(candidate.from)} to ${formatLsn(candidate.reach)}`,
      gap,
    };
  // Nothing was committed after the time. Only WAL that is later proves it: when a piece was stored says nothing of that,
  // a stream that was away stores old WAL.
  if (passed)
    return {
      end: candidate.reach,
      description: `nothing was committed after it, up to ${formatLsn(candidate.reach)}`,
    };
  const seen = last
    ? `the last transaction stored is of ${timeOf(last)}, at ${formatLsn(last.end)}`
    : `no transaction is stored after the backup ${candidate.manifest.id}`;
  if (gap === undefined)
    return { description: `${seen}; nothing shows that none came after it`, older: false };
  const before = last
    ? `the last transaction before that is of ${timeOf(last)}, at ${formatLsn(last.end)}`
    : seen;
  return { description: before, gap, older: false };
}

function ambiguous(
  { target, timeline }: ResolveOptions,
  uses: NameUses,
  { manifest }: Candidate,
): HelvinoError {
  const made = `was made ${plural(uses.count, 'time')} after backup ${manifest.id}`;
  return new HelvinoError('TARGET_AMBIGUOUS', `${describe(target)} ${made}`, {
    hint: `say which one is meant: ${uses.choices(timeline)}`,
    context: { points: uses.newest.map(({ end, time }) => ({ lsn: formatLsn(end), time })) },
  });
}

/** Not before the backup's own end. */
function fromBackup(ending: TargetEnding, original: TargetEnding, { from }: Candidate): TargetEnding {
  return ending.end >= from ? ending : original;
}

function isBefore(target: ResolveOptions['target']): boolean {
  return target.kind === 'xid' && target.side === 'before';
}

/** The segment in which a timeline was left may be stored whole, with what was in the file before. */
function isBehindFork(thrown: unknown, { leftAt }: Candidate): boolean {
  if (!(thrown instanceof HelvinoError) || thrown.code !== 'PROTOCOL') return false;
  const { lastGood } = thrown.context;
  const left = leftAt();
  return left !== undefined && typeof lastGood === 'string' && parseLsn(lastGood) >= left;
}

/**
 * When the newest transaction before a target was committed, in microseconds since 1970; undefined when none was after its
 * backup. Reads all that WAL.
 */
export async function newestCommit(
  log: StoredLog,
  { manifest, path, end }: ResolvedTarget,
  signal: AbortSignal,
): Promise<bigint | undefined> {
  const facts = backupFacts(manifest);
  let newest: bigint | undefined;
  const stretch = { path, from: parseLsn(facts.walEnd), reach: end, facts };
  for await (const { event } of events(log, stretch)) {
    signal.throwIfAborted();
    if (event.kind === 'commit' && (newest === undefined || event.time > newest)) newest = event.time;
  }
  return newest;
}

/** Ends of transactions and restore points along the path, after the backup's end. */
function events(log: StoredLog, stretch: WalStretch): AsyncGenerator<SeenEvent> {
  const drops = new DropWatch();
  return walRecords(log, stretch, (record) => drops.see(record));
}
