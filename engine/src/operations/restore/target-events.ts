/** What ends of transactions and restore points in WAL say of a recovery target. Pure. */
import { formatTime, plural } from '../../base/format.ts';
import { formatLsn, type WalEvent } from '../../postgres/index.ts';
import type { RecoveryTarget } from './target-words.ts';

export interface TargetEnding {
  readonly end: bigint;
  /** For people. */
  readonly description: string;
}

type TransactionEvent = Extract<WalEvent, { kind: 'commit' | 'abort' }>;

/** Where recovery to the target ends, if this event decides it. */
export function endingAt(target: RecoveryTarget, event: WalEvent): TargetEnding | undefined {
  if (target.kind === 'time') return event.kind === 'commit' ? afterTime(target, event) : undefined;
  if (target.kind === 'name') {
    if (event.kind !== 'restore point' || event.name !== target.name) return undefined;
    return sideOf(target, event, `the restore point made at ${timeOf(event)}`);
  }
  if (target.kind !== 'xid' || (event.kind !== 'commit' && event.kind !== 'abort')) return undefined;
  return hasTransaction(event, target.xid)
    ? sideOf(target, event, transactionWords(event, target.xid))
    : undefined;
}

function afterTime(
  target: Extract<RecoveryTarget, { kind: 'time' }>,
  event: TransactionEvent,
): TargetEnding | undefined {
  const isLater = event.time > target.time;
  if (!isLater && !(target.side === 'before' && event.time === target.time)) return undefined;
  const where = isLater ? 'after it' : 'at that time';
  const description = `before the first commit ${where}, transaction ${event.xid} at ${timeOf(event)}`;
  return { end: event.lsn, description };
}

function sideOf({ side }: { readonly side?: string }, { lsn, end }: WalEvent, what: string): TargetEnding {
  return side === 'before' ? { end: lsn, description: `just before ${what}` } : { end, description: what };
}

/** A savepoint's work has a number of its own, and ends with the transaction that it is a part of. */
function hasTransaction({ xid, subtransactions }: TransactionEvent, wanted: number): boolean {
  return xid === wanted || subtransactions.includes(wanted);
}

function transactionWords(event: TransactionEvent, wanted: number): string {
  const isPart = event.xid !== wanted;
  const which = `transaction ${event.xid}${isPart ? ` (${wanted} is a subtransaction of it)` : ''}`;
  // As PostgreSQL does, which ends recovery there too.
  if (event.kind === 'abort') return `the rollback of ${which} at ${timeOf(event)}: nothing of it was kept`;
  return `${which}, committed at ${timeOf(event)}`;
}

/** Of a transaction that is prepared and has not ended: why there is no such target. */
export function preparedWords(event: Extract<WalEvent, { kind: 'prepare' }>, reach: bigint): string {
  return `it was prepared (PREPARE TRANSACTION) at ${timeOf(event)}, ${formatLsn(event.end)}, and had not ended by ${formatLsn(reach)}`;
}

/** Whether it is this transaction, or a savepoint's work in it, that is prepared. */
export function isPrepared(
  target: RecoveryTarget,
  { xid, subtransactions }: Extract<WalEvent, { kind: 'prepare' }>,
): boolean {
  return target.kind === 'xid' && (xid === target.xid || subtransactions.includes(target.xid));
}

interface NameUse {
  /** Where recovery to this one ends. */
  readonly end: bigint;
  readonly time: string;
}

/** How often a restore point's name was used: a job may make one before each deployment. */
export class NameUses {
  /** Why more may have been made than were seen. */
  hidden: string | undefined;
  count = 0;
  /** So many as a hint names, oldest first. */
  readonly newest: NameUse[] = [];
  #first: TargetEnding | undefined;

  add(ending: TargetEnding, event: WalEvent): void {
    this.#first ??= ending;
    this.count++;
    this.newest.push({ end: ending.end, time: timeOf(event) });
    if (this.newest.length > mostNamed) this.newest.shift();
  }

  get first(): TargetEnding | undefined {
    if (this.#first === undefined || this.hidden === undefined) return this.#first;
    const { end, description } = this.#first;
    return { end, description: `${description}; whether it was made again is not known: ${this.hidden}` };
  }

  /** `timeline`: the one that was asked for. */
  choices(timeline: number | undefined): string {
    const on = timeline === undefined ? '' : ` --timeline ${timeline}`;
    const shown = this.newest.map(({ end, time }) => `--to ${formatLsn(end)}${on} (made at ${time})`);
    const more = this.count - shown.length;
    return `${shown.join(', ')}${more > 0 ? `, and ${plural(more, 'older one')}` : ''}`;
  }
}

const mostNamed = 5;

export function timeOf(event: Pick<WalEvent, 'time'>): string {
  return formatMicroseconds(event.time);
}

/** `time`: microseconds since 1970. */
export function formatMicroseconds(time: bigint): string {
  return formatTime(new Date(Number(time / 1000n)));
}
