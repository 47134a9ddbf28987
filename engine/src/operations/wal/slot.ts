/**
 * The physical replication slot of a stream: the server keeps the WAL that we have not confirmed. What the server says of it:
 * https://www.postgresql.org/docs/current/view-pg-replication-slots.html
 */
import { createHash } from 'node:crypto';
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { type ConnectionParams, type ReplicationConnection, withSql } from '../../postgres/index.ts';

/** `reserved`, `extended`: kept; `unreserved`: the next checkpoint may remove some; `lost`: some is removed. */
export type SlotWal = 'reserved' | 'extended' | 'unreserved' | 'lost';

export interface SlotState {
  readonly name: string;
  readonly physical: boolean;
  /** A stream uses it now. */
  readonly active: boolean;
  /** Undefined: it keeps no WAL yet. */
  readonly wal: SlotWal | undefined;
  /** WAL from here on is kept. */
  readonly restart: bigint | undefined;
  /** Bytes of WAL on the server that only it may be keeping. */
  readonly kept: number;
  /** Bytes that can be written before it may be lost; undefined: without a limit (max_slot_wal_keep_size is -1). */
  readonly room: number | undefined;
  /** `sync`, `quorum`, `potential`: commits may wait for it; `async`; undefined when no stream uses it, or one may not ask. */
  readonly sync: string | undefined;
}

interface SlotRow {
  readonly name: string;
  readonly type: string;
  readonly active: boolean;
  readonly temporary: boolean;
  readonly wal: SlotWal | null;
  readonly restart: string | null;
  readonly kept: string | null;
  readonly room: string | null;
  readonly sync: string | null;
}

const number = (lsn: string) => `(${lsn} - '0/0'::pg_lsn)`;

/** The end of WAL on a server: written, or on a standby received, as a number. */
export const serverEndSql = number(
  'case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) else pg_current_wal_flush_lsn() end',
);

/** The timeline on which a server is: right after a promotion, too, when its control file has the old one still. */
export const serverTimelineSql = `case when pg_is_in_recovery()
  then coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint()))
  else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end`;

/** A slot's name has at most so many bytes, all ASCII: what is longer the server cuts, and then does not find it by its name. */
const longestSlot = 63;

/** Of a database's name: of two databases, never the same because it is long. */
export function defaultSlot(database: string): string {
  return fitted(`helvino_${database.replace(/[^a-z0-9_]/g, '_')}`, longestSlot, database);
}

const claimSuffix = '_reader';
const duplicateObject = '42710';

/** The name of the temporary slot that keeps other streams off a slot: of two slots, never the same. */
export function claimName(slot: string): string {
  return `${fitted(slot, longestSlot - claimSuffix.length, slot)}${claimSuffix}`;
}

/** Itself when it fits; else its start, and a hash of what it stands for. */
function fitted(name: string, most: number, of: string): string {
  if (name.length <= most) return name;
  const hash = createHash('sha256').update(of).digest('hex').slice(0, 12);
  return `${name.slice(0, most - hash.length - 1)}_${hash}`;
}

/**
 * Keeps other streams off a slot for as long as the connection lasts, also while none of its streams runs. False when the
 * server has no place left for it (max_replication_slots). Throws SERVER_ERROR when another one has it.
 */
export async function claimSlot(replication: ReplicationConnection, slot: string): Promise<boolean> {
  try {
    await replication.claimName(claimName(slot));
    return true;
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'SERVER_ERROR') throw thrown;
    if (thrown.context.sqlstate !== duplicateObject) return false;
    throw new HelvinoError('SERVER_ERROR', `another stream uses the replication slot ${slot}`, {
      hint: 'end it first, or choose another name: --slot NAME, or wal.slot in helvino.yaml; if its host has gone, the server notices within about a minute',
      context: { ...thrown.context, sqlstate: objectInUse },
    });
  }
}

const objectInUse = '55006';

/** Another connection streams from the slot: perhaps our last one, which the server still believes in. */
export function isSlotInUse(thrown: unknown): boolean {
  return thrown instanceof HelvinoError && thrown.context.sqlstate === objectInUse;
}

const lostStates = new Map([
  // undefined_object
  ['42704', 'it was dropped'],
  // object_not_in_prerequisite_state, from 18 on
  ['55000', 'it has lost WAL'],
  // undefined_file: before 18 the server finds out when it reads
  ['58P01', 'it has lost WAL'],
]);

/** What a stream that cannot begin or go on throws: SLOT_LOST when its slot no longer is what it was. */
export function slotLoss(thrown: unknown, slot: string): unknown {
  if (!(thrown instanceof HelvinoError) || thrown.code !== 'SERVER_ERROR') return thrown;
  const how = lostStates.get(String(thrown.context.sqlstate));
  if (how === undefined) return thrown;
  return new HelvinoError(
    'SLOT_LOST',
    `the replication slot ${slot} was lost while the stream ran: ${how} (${thrown.message})`,
    { hint: 'raise max_slot_wal_keep_size on the server', cause: thrown, context: thrown.context },
  );
}

/** All slots, or the one that is named. */
export async function readSlots(client: Client, name?: string): Promise<SlotState[]> {
  const { rows } = await client.query<SlotRow>(
    `select s.slot_name as name, s.slot_type as type, s.active, s.temporary, s.wal_status as wal,
       s.safe_wal_size::text as room, ${number('s.restart_lsn')}::text as restart,
       (${serverEndSql} - ${number('s.restart_lsn')})::text as kept, r.sync_state as sync
     from pg_replication_slots s left join pg_stat_replication r on r.pid = s.active_pid order by 1`,
  );
  const claims = new Map(rows.filter(({ temporary }) => temporary).map((row) => [row.name, row]));
  return rows
    .filter((row) => name === undefined || row.name === name)
    .map((row) => slotOf(row, claims.get(claimName(row.name))));
}

function slotOf(row: SlotRow, claim: SlotRow | undefined): SlotState {
  return {
    name: row.name,
    physical: row.type === 'physical',
    active: row.active || claim?.active === true,
    wal: row.wal ?? undefined,
    restart: row.restart === null ? undefined : BigInt(row.restart),
    kept: Math.max(0, Number(row.kept ?? 0)),
    room: row.room === null ? undefined : Number(row.room),
    sync: row.sync ?? claim?.sync ?? undefined,
  };
}

/** The name under which a stream is known to the server, for synchronous_standby_names: the slot's, if none was chosen. */
export function streamConnection(connection: ConnectionParams, slot: string): ConnectionParams {
  return connection.applicationName === 'helvino' ? { ...connection, applicationName: slot } : connection;
}

/**
 * The same with the server asked to notice within a minute that we are gone: while no stream runs, it has no other way
 * (wal_sender_timeout). https://www.postgresql.org/docs/current/runtime-config-connection.html#GUC-TCP-KEEPALIVES-IDLE
 */
export function watchedConnection(connection: ConnectionParams): ConnectionParams {
  const keepalives = '-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3';
  return { ...connection, options: `${keepalives} ${connection.options ?? ''}`.trimEnd() };
}

export interface ReadySlot {
  /** WAL from here on is kept. */
  readonly restart: bigint | undefined;
  /** `kept`: it was there. `made`: it was not. `remade`: the server had removed WAL that it should have kept. */
  readonly was: 'kept' | 'made' | 'remade';
}

/**
 * Makes the slot if it is not there. One that has lost WAL keeps nothing any more, and a stream cannot use it: it is made
 * anew, so that the gap grows no further.
 */
export async function readySlot(
  replication: ReplicationConnection,
  { connection, slot, signal }: { connection: ConnectionParams; slot: string; signal: AbortSignal },
): Promise<ReadySlot> {
  const state = await slotState(connection, { slot, signal });
  if (state && !state.physical) {
    throw new HelvinoError('SERVER_SETTING', `the replication slot ${slot} is a logical one`, {
      hint: 'choose another name: --slot NAME, or wal.slot in helvino.yaml',
    });
  }
  const lost = state?.wal === 'lost';
  if (state && !lost) return { restart: state.restart, was: state.restart === undefined ? 'made' : 'kept' };
  if (lost) await replication.dropSlot(slot);
  await replication.createSlot(slot);
  const made = await slotState(connection, { slot, signal });
  return { restart: made?.restart, was: lost ? 'remade' : 'made' };
}

async function slotState(
  connection: ConnectionParams,
  { slot, signal }: { slot: string; signal: AbortSignal },
): Promise<SlotState | undefined> {
  return withSql(connection, { signal }, async (sql) => (await readSlots(sql, slot))[0]);
}
