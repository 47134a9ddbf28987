/**
 * `helvino find`: which transactions did what, newest first, from the indexes that were made while WAL was stored. WAL
 * that has no index is read when the recovery identity is there; otherwise it is named as not searched.
 */
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { backupFacts, type PathStep, type RecordedGap, timelineAt } from '../../catalog/index.ts';
import {
  decodeLogIndex,
  formatLsn,
  type IndexedTransaction,
  parseLsn,
  type RelationChange,
  type WalDamage,
} from '../../postgres/index.ts';
import {
  type Identities,
  LogIndex,
  type LogPiece,
  LogPieces,
  listLogNotes,
  openLogNote,
  type Repository,
} from '../../repository/index.ts';
import { openCatalogNames } from '../wal/catalog-names.ts';
import { gapWords, recordedGaps } from '../wal/gaps.ts';
import { StoredLog } from '../wal/log-bytes.ts';
import { pathOf } from '../wal/path-of.ts';
import { partedAt } from '../wal/rival-timelines.ts';
import { type FindFilter, matches } from './find-filter.ts';
import { readHistories, unreadWords } from './histories.ts';
import { Reaches } from './reaches.ts';
import { readWal, stateBefore } from './read-wal.ts';
import { type Kin, mergedPlan, planUntil, type SearchStep, searchPlan } from './search-plan.ts';
import { tablePlaces } from './table-places.ts';

export interface FindOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly identities?: Identities | undefined;
  /** Undefined: all. */
  readonly timeline?: number | undefined;
  readonly filter: FindFilter;
  /** The newest so many. */
  readonly limit: number;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface FoundTransaction extends IndexedTransaction {
  readonly timeline: number;
  /** Done where the newest timeline's path no longer was on this one: it is not in the live database. */
  readonly isPast: boolean;
  /** Why no backup leads to the moment before it; undefined: one does, or it could not be looked, which is noted. */
  readonly unreachable: string | undefined;
}

export interface SearchedRange {
  readonly timeline: number;
  readonly from: string;
  readonly to: string;
}

export interface FindResult {
  /** Oldest first. */
  readonly transactions: readonly FoundTransaction[];
  /** More match than the limit. */
  readonly more: boolean;
  readonly newestTimeline: number;
  readonly searched: readonly SearchedRange[];
  readonly notSearched: readonly (SearchedRange & { readonly why: string })[];
}

/** Commit times do not follow the WAL exactly. */
const slackMicroseconds = 600_000_000;
const attempts = 3;
const defaultSegmentSize = 16 << 20;
const smallestSegment = 1 << 20;

/** Throws STORAGE_NOT_FOUND when no WAL is stored. */
export async function findTransactions(options: FindOptions): Promise<FindResult> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await search(options);
    } catch (thrown) {
      // A stream replaces short parts by whole ones while we read.
      const gone = thrown instanceof HelvinoError && thrown.code === 'STORAGE_NOT_FOUND';
      if (!gone || attempt === attempts) throw thrown;
    }
  }
}

async function search(options: FindOptions): Promise<FindResult> {
  const { repository, database, filter, progress } = options;
  progress.phase('looking through the index of WAL');
  const places = await tablePlaces(options);
  const notes = await LogIndex.read(repository.driver, database);
  return new Search({ ...options, filter: { ...filter, ...places } }, notes).run();
}

type Batches = Iterable<readonly IndexedTransaction[]> | AsyncIterable<readonly IndexedTransaction[]>;

type Matching = Omit<FoundTransaction, 'isPast' | 'unreachable'>;

class Search {
  readonly #options: FindOptions;
  readonly #found: Matching[] = [];
  readonly #seen = new Set<string>();
  readonly #searched: SearchedRange[] = [];
  readonly #notSearched: (SearchedRange & { why: string })[] = [];
  readonly #notes: LogIndex;
  #log: StoredLog | undefined;
  #histories: ReadonlyMap<string, Uint8Array> = new Map();
  readonly #paths = new Map<number, readonly PathStep[]>();
  /** Of which something is stored, the newest first. */
  #lines: readonly number[] = [];

  constructor(options: FindOptions, notes: LogIndex) {
    this.#options = options;
    this.#notes = notes;
  }

  async run(): Promise<FindResult> {
    const { repository, database, limit, identities, progress, signal } = this.#options;
    if (identities) this.#log = await StoredLog.open(repository, identities, database);
    const pieces = this.#log?.pieces ?? (await LogPieces.read(repository.driver, database));
    const lines = [...new Set([...pieces.lines, ...this.#notes.lines])].sort((a, b) => b - a);
    this.#lines = lines;
    const { files: histories, unread } = await readHistories(repository, database);
    this.#histories = histories;
    if (lines.length === 0)
      throw new HelvinoError('STORAGE_NOT_FOUND', `no WAL of ${database} is stored`, {
        hint: 'run `helvino wal stream` as a service: what happens from then on can be found',
      });
    const more = await this.#steps(this.#plans(pieces));
    const gaps = await recordedGaps(repository, database);
    this.#tellGaps(gaps);
    const found = this.#found.slice(0, limit).reverse();
    await this.#nameTheUnnamed(found);
    const unknownLines = new Set(unread.keys());
    const known = { repository, database, pieces, gaps, histories, unknownLines, progress, signal };
    const transactions = await new Reaches(known).judge(found, lines[0]!);
    // At the end: what is tried again is told once.
    for (const [line, why] of unread) progress.note('warn', unreadWords(line, why));
    return {
      transactions,
      more,
      newestTimeline: lines[0]!,
      searched: this.#searched,
      notSearched: this.#notSearched,
    };
  }

  #plans(pieces: Iterable<LogPiece>): Iterable<SearchStep>[] {
    const { timeline } = this.#options;
    const planOf = (line: number) => searchPlan(line, { notes: this.#notes, pieces, kin: this.#kinOf(line) });
    if (timeline === undefined) return this.#lines.map(planOf);
    const parts: Iterable<SearchStep>[] = [];
    for (const line of this.#lines) {
      if (line === timeline) parts.push(planOf(line));
      // The end of a timeline may be stored only as the begin of one that left it.
      const until = this.#pathOf(line).find((step) => step.timeline === timeline)?.until;
      const shared = until === undefined ? [] : [...planUntil(planOf(line), until)];
      if (shared.length > 0) parts.push(shared);
    }
    if (parts.length > 0) return [mergedPlan(parts)];
    throw new HelvinoError('USAGE', `no WAL of timeline ${timeline} is stored`, {
      hint: `there is WAL of timeline ${this.#lines.join(', ')}`,
    });
  }

  /** Asked for with each step, of which there may be as many as segments. */
  #pathOf(line: number): readonly PathStep[] {
    let path = this.#paths.get(line);
    if (path === undefined) {
      path = pathOf(line, this.#histories);
      this.#paths.set(line, path);
    }
    return path;
  }

  #kinOf(line: number): Kin[] {
    const path = this.#pathOf(line);
    return this.#lines.flatMap((other) => {
      const until = other === line ? undefined : partedAt(path, this.#pathOf(other));
      return until === undefined ? [] : [{ line: other, until }];
    });
  }

  /** Gives whether there are more than the limit. */
  async #steps(plans: readonly Iterable<SearchStep>[]): Promise<boolean> {
    const { filter, limit, signal } = this.#options;
    for (const plan of plans) {
      for (const step of plan) {
        signal.throwIfAborted();
        const batches = await this.#batches(step);
        if (!batches) continue;
        this.#note(this.#searched, step);
        const newest = await this.#collect(step, batches);
        if (this.#found.length > limit) return true;
        if (filter.xid !== undefined && this.#found.length > 0) return false;
        if (newest > 0 && filter.since !== undefined && newest < filter.since - slackMicroseconds) break;
      }
    }
    return false;
  }

  /** Adds what matches, the newest first; gives the newest commit time that was seen. */
  async #collect(step: SearchStep, batches: Batches): Promise<number> {
    const { filter, limit, timeline } = this.#options;
    const wanted = limit + 1;
    const path = this.#pathOf(step.line);
    const isBorrowed = step.kind === 'index' && step.note.line !== step.line;
    let matching: Matching[] = [];
    let newest = 0;
    for await (const transactions of batches) {
      for (const transaction of transactions) {
        const { time, lsn } = transaction;
        if (isBorrowed && (lsn < step.begin || lsn >= step.end)) continue;
        if (time > newest) newest = time;
        const on = timelineAt(path, lsn) ?? step.line;
        if (timeline !== undefined && timeline !== on) continue;
        if (matches(transaction, filter)) matching.push({ ...transaction, timeline: on });
      }
      if (matching.length > wanted) matching = matching.slice(-wanted);
    }
    for (const transaction of matching.reverse()) {
      // The begin of a timeline repeats what its parent's segment holds before the fork.
      const key = `${transaction.xid} ${transaction.lsn}`;
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      this.#found.push(transaction);
    }
    return newest;
  }

  /** In order of WAL; undefined when the step cannot be searched. */
  async #batches(step: SearchStep): Promise<Batches | undefined> {
    if (step.kind === 'index') {
      try {
        const bytes = await openLogNote(this.#options.repository, step.note.name);
        const { transactions, damaged } = decodeLogIndex(bytes, step.note.name);
        this.#tellDamage(step, damaged);
        return [transactions];
      } catch (thrown) {
        if (!(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED') throw thrown;
        if (!this.#log) {
          this.#notSearched.push({ ...range(step), why: `its index is damaged (${thrown.message})` });
          return undefined;
        }
      }
    }
    if (!this.#log && (await this.#isPartOfRecord(step))) return [];
    if (!this.#log) {
      const why = 'it has no index yet; with the recovery identity (--identity) the WAL itself is read';
      this.#notSearched.push({ ...range(step), why });
      return undefined;
    }
    return this.#read(step, this.#log);
  }

  /** The index before it has seen all of it: there is the begin of a record that nobody ended. */
  async #isPartOfRecord(step: SearchStep): Promise<boolean> {
    const { repository } = this.#options;
    const state = await stateBefore({ repository, notes: this.#notes }, step).catch((thrown: unknown) => {
      if (thrown instanceof HelvinoError && thrown.code === 'REPOSITORY_DAMAGED') return undefined;
      throw thrown;
    });
    const part = state?.spanning;
    return part !== undefined && BigInt(part.start) <= step.begin && BigInt(part.at) >= step.end;
  }

  async *#read(step: SearchStep, log: StoredLog): AsyncGenerator<readonly IndexedTransaction[]> {
    const { repository, database, signal, progress } = this.#options;
    progress.phase('reading WAL', Number(step.end - step.begin), 'bytes');
    const options = {
      repository,
      database,
      log,
      notes: this.#notes,
      segmentSize: await this.#segmentSize(),
      signal,
      onBytes: (bytes: number) => progress.advance(bytes),
    };
    for await (const { transactions, damaged } of readWal(options, step)) {
      this.#tellDamage(step, damaged);
      yield transactions;
    }
  }

  /** What was not read: a record that only we do not understand may hide any of the step. */
  #tellDamage(step: SearchStep, damaged: readonly WalDamage[]): void {
    // An index may be of more than is asked for.
    for (const { lsn, message, lost } of damaged)
      if (parseLsn(lost?.from ?? lsn) < step.end)
        this.#notSearched.push({ ...range(step), ...(lost ?? {}), why: message });
  }

  /** An index goes over damage, of which only the gap that was recorded says. */
  #tellGaps(gaps: readonly RecordedGap[]): void {
    for (const { reason, timeline, from, to } of gaps) {
      if (reason !== 'damaged') continue;
      const gap = { timeline, from: formatLsn(from), to: formatLsn(to) };
      const isSearched = this.#searched.some(
        (one) => one.timeline === timeline && parseLsn(one.from) < to && from < parseLsn(one.to),
      );
      const isTold = this.#notSearched.some((one) => one.timeline === timeline && one.from === gap.from);
      if (isSearched && !isTold) this.#notSearched.push({ ...gap, why: gapWords.damaged });
    }
  }

  async #segmentSize(): Promise<number> {
    const { repository, database } = this.#options;
    for (const name of (await repository.backups(database)).reverse()) {
      const manifest = await repository.summary(database, name.id).catch(() => undefined);
      if (manifest) return backupFacts(manifest).walSegmentSize;
    }
    return segmentSizeOf(this.#log?.pieces ?? []);
  }

  #note(list: SearchedRange[], step: SearchStep): void {
    const last = list.at(-1);
    const { timeline, from, to } = range(step);
    if (last && last.timeline === timeline && last.from === to) list[list.length - 1] = { ...last, from };
    else list.push({ timeline, from, to });
  }

  /** A table or schema that was made after a snapshot may have its name from the next one. */
  async #nameTheUnnamed(transactions: Matching[]): Promise<void> {
    const { repository, database } = this.#options;
    const unnamed = () => transactions.some(({ changes }) => changes.some((change) => !isNamedWhole(change)));
    if (!unnamed()) return;
    for (const note of (await listLogNotes(repository, database, 'names')).reverse()) {
      const snapshot = await openCatalogNames(repository, note);
      const schemas = new Map(snapshot.schemas);
      const byOid = new Map<number, { schema: number; name: string }>();
      const byFile = new Map<number, { oid: number; schema: number; name: string }>();
      for (const [oid, schema, name, , , file] of snapshot.relations) {
        byOid.set(oid, { schema, name });
        if (file > 0) byFile.set(file, { oid, schema, name });
      }
      for (const [i, transaction] of transactions.entries()) {
        const changes = transaction.changes.map((change) => {
          if (isNamedWhole(change) || change.database !== snapshot.database.name) return change;
          const known = change.oid === undefined ? byFile.get(change.file) : byOid.get(change.oid);
          if (!known) return change;
          return { ...change, ...known, name: change.name ?? known.name, schema: schemas.get(known.schema) };
        });
        transactions[i] = { ...transaction, changes };
      }
      if (!unnamed()) return;
    }
  }
}

function isNamedWhole({ name, schema }: RelationChange): boolean {
  return name !== undefined && schema !== undefined;
}

/** Without a backup that tells: whole segments are pieces of a power of two, at a multiple of it. */
function segmentSizeOf(pieces: Iterable<LogPiece>): number {
  let largest = 0;
  for (const { begin, end } of pieces) {
    const size = Number(end - begin);
    const whole = size >= smallestSegment && begin % BigInt(size) === 0n && Number.isInteger(Math.log2(size));
    if (whole && size > largest) largest = size;
  }
  return largest > 0 ? largest : defaultSegmentSize;
}

function range({ line, begin, end }: SearchStep): SearchedRange {
  return { timeline: line, from: formatLsn(begin), to: formatLsn(end) };
}
