/**
 * Recovery that ends within a DROP DATABASE leaves a database without files: they go with a record of their own, before the
 * commit. Where nothing else would be lost, it ends before the drop has begun.
 */
import {
  dropsDatabase,
  formatLsn,
  marksDatabase,
  type WalEvent,
  type WalRecord,
  walEvent,
} from '../../postgres/index.ts';

/** A drop that has not ended. */
interface OpenDrop {
  readonly xid: number;
  /** Where it marked the database invalid; where the files went, if that was not seen. */
  readonly marked: bigint;
  /** Where the files went. */
  readonly gone: bigint;
}

/** An end of a transaction, or a restore point, and what was under way just before it. */
export interface SeenEvent {
  readonly event: WalEvent;
  readonly lsn: bigint;
  readonly end: bigint;
  readonly drop: OpenDrop | undefined;
  /** Where the newest commit before it is; 0 when there is none. */
  readonly committed: bigint;
}

/** To be given each record, in order. */
export class DropWatch {
  #open: OpenDrop[] = [];
  #marked: { xid: number; lsn: bigint } | undefined;
  #committed = 0n;

  see(record: WalRecord): SeenEvent | undefined {
    if (marksDatabase(record)) this.#marked = { xid: record.xid, lsn: record.lsn };
    else if (dropsDatabase(record)) this.#drop(record);
    const event = walEvent(record);
    if (!event) return undefined;
    const { lsn, end } = event;
    const seen = { event, lsn, end, drop: this.#open[0], committed: this.#committed };
    if (event.kind !== 'restore point') this.#open = this.#open.filter(({ xid }) => xid !== event.xid);
    if (event.kind === 'commit') this.#committed = lsn;
    return seen;
  }

  /** A database in several tablespaces has several such records before PostgreSQL 15. */
  #drop({ xid, lsn }: WalRecord): void {
    if (this.#open.some((drop) => drop.xid === xid)) return;
    // Before it has a number a transaction writes none.
    const isOwn = this.#marked !== undefined && (this.#marked.xid === xid || this.#marked.xid === 0);
    this.#open.push({ xid, marked: isOwn ? this.#marked!.lsn : lsn, gone: lsn });
    this.#marked = undefined;
  }
}

interface Ending {
  readonly end: bigint;
  readonly description: string;
}

/** `seen`: at which recovery was to end. `isBefore`: that is what is to be undone. */
export function beforeDrop(ending: Ending, { drop, event, committed }: SeenEvent, isBefore: boolean): Ending {
  if (!drop) return ending;
  const isWith = ending.end > event.lsn;
  if (isWith && event.kind !== 'restore point' && event.xid === drop.xid) return ending;
  const newest = isWith && event.kind === 'commit' ? event.lsn : committed;
  const { description } = ending;
  if (newest < drop.marked)
    return {
      end: drop.marked,
      description: `${description}; before that a DROP DATABASE had begun: its begin, ${formatLsn(drop.marked)}`,
    };
  const isOwn = isBefore && event.kind !== 'restore point' && event.xid === drop.xid;
  if (newest < drop.gone || isOwn)
    return {
      end: drop.gone,
      description: `${description}; before that a DROP DATABASE had begun: just before it removed the files, ${formatLsn(drop.gone)}. It had marked the database invalid: UPDATE pg_database SET datconnlimit = -1 WHERE datconnlimit = -2 makes it usable`,
    };
  return {
    ...ending,
    description: `${description}; a DROP DATABASE was under way: the files of that database are gone there (before:xid:${drop.xid} has them)`,
  };
}
