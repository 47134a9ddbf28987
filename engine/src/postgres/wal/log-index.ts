/** The index of a piece of WAL: its transactions, and what is needed to go on behind it. */
import * as z from 'zod';
import { HelvinoError } from '../../base/errors.ts';
import { appliedChangeSchema, openTransactionSchema } from './open-transactions.ts';

/** What was done to one relation. */
export interface RelationChange {
  /** Undefined when the relation is not known: then `file` is all that is. */
  readonly oid: number | undefined;
  readonly file: number;
  readonly database: string;
  readonly schema: string | undefined;
  readonly name: string | undefined;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  readonly created: boolean;
  readonly dropped: boolean;
  readonly truncated: boolean;
  readonly rewritten: boolean;
}

export interface IndexedTransaction {
  readonly xid: number;
  /** Microseconds since 1970. */
  readonly time: number;
  /** Where its commit record begins, and the position after it. */
  readonly lsn: bigint;
  readonly end: bigint;
  /** It began before the first WAL that was read: it may have done more than is told. */
  readonly partial: boolean;
  readonly changes: readonly RelationChange[];
  readonly droppedDatabases: readonly string[];
}

const text = z.string().nullable();
const int = z.number().int();

export const stateSchema = z.object({
  /** End of the last record that was read. */
  lastEnd: z.string().regex(/^\d+$/),
  order: int,
  /** Transactions from this number on were seen whole; null: not known yet. */
  wholeFrom: int.nullable(),
  open: z.array(openTransactionSchema),
  /** What no catalog snapshot tells yet. */
  recent: z.array(appliedChangeSchema),
  /** The record that goes on behind what was read; older indexes do not say. */
  spanning: z
    .object({
      start: z.string().regex(/^\d+$/),
      at: z.string().regex(/^\d+$/),
      length: int.min(0),
      filled: int.min(1),
      header: z.string().regex(/^([0-9a-f]{2}){1,24}$/),
      crc: int,
    })
    .optional(),
});

export type IndexState = z.infer<typeof stateSchema>;

const partSchema = z.object({
  version: z.literal(1),
  begin: z.string().regex(/^\d+$/),
  end: z.string().regex(/^\d+$/),
  /** oid, file, database, schema, name */
  relations: z.array(z.tuple([int.nullable(), int, z.string(), text, text])),
  /** xid, time, lsn and end from `begin` on, partial, then five numbers a relation (its number, inserted, updated, deleted, bits), then the databases that were dropped */
  transactions: z.array(z.unknown()),
  damaged: z.array(
    z.object({
      lsn: z.string(),
      message: z.string(),
      lost: z.object({ from: z.string(), to: z.string() }).optional(),
    }),
  ),
  state: stateSchema,
});

/** A place in WAL that could not be read. */
export interface WalDamage {
  /** Of the page or record. */
  readonly lsn: string;
  readonly message: string;
  /**
   * From the last good record's end to where reading went on: recovery ends at `from`. Undefined for a record that bears its
   * CRC out and that only we do not understand: a server replays it.
   */
  readonly lost?: { readonly from: string; readonly to: string } | undefined;
}

export interface LogIndexPart {
  readonly begin: bigint;
  readonly end: bigint;
  readonly transactions: readonly IndexedTransaction[];
  readonly damaged: readonly WalDamage[];
  readonly state: IndexState;
}

/** created, dropped, truncated, rewritten as bits of one number. */
function bits(change: RelationChange): number {
  return (
    (change.created ? 1 : 0) |
    (change.dropped ? 2 : 0) |
    (change.truncated ? 4 : 0) |
    (change.rewritten ? 8 : 0)
  );
}

export function encodeLogIndex(part: LogIndexPart): Buffer {
  const numbers = new Map<string, Map<number, number>>();
  const relations: [number | null, number, string, string | null, string | null][] = [];
  const numberOf = (change: RelationChange): number => {
    const { database, oid, file, schema, name } = change;
    let known = numbers.get(database);
    if (!known) {
      known = new Map();
      numbers.set(database, known);
    }
    const number = known.get(file);
    // A relation can be renamed within the part.
    if (number !== undefined && relations[number]![4] === (name ?? null)) return number;
    known.set(file, relations.length);
    return relations.push([oid ?? null, file, database, schema ?? null, name ?? null]) - 1;
  };
  const base = Number(part.begin);
  const transactions: unknown[] = [];
  for (const transaction of part.transactions) {
    const numbers: number[] = [];
    for (const change of transaction.changes)
      numbers.push(numberOf(change), change.inserted, change.updated, change.deleted, bits(change));
    const { xid, time, lsn, end, partial, droppedDatabases } = transaction;
    transactions.push([
      xid,
      time,
      Number(lsn) - base,
      Number(end) - base,
      partial,
      numbers,
      droppedDatabases,
    ]);
  }
  const { begin, end, damaged, state } = part;
  return Buffer.from(
    JSON.stringify({
      version: 1,
      begin: String(begin),
      end: String(end),
      relations,
      transactions,
      damaged,
      state,
    }),
  );
}

/** Throws REPOSITORY_DAMAGED. */
export function decodeLogIndex(bytes: Uint8Array, place: string): LogIndexPart {
  try {
    const part = partSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    const begin = BigInt(part.begin);
    const transactions = part.transactions.map((row) => decodeTransaction(row, begin, part.relations));
    return { begin, end: BigInt(part.end), transactions, damaged: part.damaged, state: part.state };
  } catch (thrown) {
    throw new HelvinoError('REPOSITORY_DAMAGED', `${place} is no index of WAL`, { cause: thrown });
  }
}

type RelationRow = z.infer<typeof partSchema>['relations'][number];

/** There are many: checked by hand, which is ten times as quick as by schema. */
function decodeTransaction(
  row: unknown,
  begin: bigint,
  relations: readonly RelationRow[],
): IndexedTransaction {
  const [xid, time, lsn, end, partial, numbers, dropped] = Array.isArray(row) ? (row as unknown[]) : [];
  if (!isWhole(xid) || !isWhole(time) || !isWhole(lsn) || !isWhole(end) || typeof partial !== 'boolean')
    throw new TypeError('a transaction is not laid out as it should be');
  if (!Array.isArray(numbers) || !numbers.every(isWhole) || numbers.length % 5 !== 0)
    throw new TypeError('the changes of a transaction are not laid out as they should be');
  if (!Array.isArray(dropped) || !dropped.every((name) => typeof name === 'string'))
    throw new TypeError('the dropped databases are no names');
  return {
    xid,
    time,
    lsn: begin + BigInt(lsn),
    end: begin + BigInt(end),
    partial,
    changes: decodeChanges(numbers, relations),
    droppedDatabases: dropped,
  };
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function decodeChanges(numbers: readonly number[], relations: readonly RelationRow[]): RelationChange[] {
  const changes: RelationChange[] = [];
  for (let i = 0; i + 4 < numbers.length; i += 5) {
    const relation = relations[numbers[i]!];
    if (!relation) throw new TypeError(`there is no relation ${numbers[i]}`);
    const [oid, file, database, schema, name] = relation;
    const mask = numbers[i + 4]!;
    changes.push({
      oid: oid ?? undefined,
      file,
      database,
      schema: schema ?? undefined,
      name: name ?? undefined,
      inserted: numbers[i + 1]!,
      updated: numbers[i + 2]!,
      deleted: numbers[i + 3]!,
      created: (mask & 1) !== 0,
      dropped: (mask & 2) !== 0,
      truncated: (mask & 4) !== 0,
      rewritten: (mask & 8) !== 0,
    });
  }
  return changes;
}
