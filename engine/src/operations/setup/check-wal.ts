/** Looks at a server as a source of WAL: what it keeps for us, for how long, and what happens when we are away. */
import type { Client } from 'pg';
import { formatBytes, formatDuration, plural } from '../../base/format.ts';
import { readSlots, type SlotState } from '../wal/slot.ts';
import { standbyNames } from '../wal/standby-names.ts';
import type { Finding } from './check-server.ts';

interface WalFacts {
  readonly walLevel: string;
  readonly senders: number;
  readonly sendersUsed: number;
  readonly slots: number;
  readonly slotsUsed: number;
  /** Bytes; -1: without a limit. */
  readonly keep: number;
  readonly syncNames: string;
  readonly syncCommit: string;
  readonly waiting: number;
  /** Bytes of WAL a second, on average since the statistics were begun; undefined: not known yet. */
  readonly rate: number | undefined;
}

/** `slot`: of our stream; `streamName`: what it calls itself on the server. Undefined: nothing of ours is looked for. */
export interface StreamNames {
  readonly slot: string;
  readonly streamName: string;
}

export async function checkWal(client: Client, names: StreamNames | undefined): Promise<Finding[]> {
  const facts = await readFacts(client);
  const slots = await readSlots(client);
  const own = names && slots.find(({ name }) => name === names.slot);
  return [
    walLevel(facts),
    ...senders(facts, own?.active === true),
    ...slotCount(facts),
    keepSize(facts),
    ...(names ? [ownSlot(own, names.slot)] : []),
    ...slots.filter((slot) => slot !== own).flatMap(otherSlot),
    ...(names ? synchronous(facts, own, names) : []),
  ];
}

async function readFacts(client: Client): Promise<WalFacts> {
  const { rows } = await client.query<Record<string, string | null>>(
    `select current_setting('wal_level') as level, current_setting('max_wal_senders') as senders,
       current_setting('max_replication_slots') as slots,
       (select setting from pg_settings where name = 'max_slot_wal_keep_size') as keep,
       current_setting('synchronous_standby_names') as sync, current_setting('synchronous_commit') as commit,
       (select count(*)::text from pg_stat_replication) as senders_used,
       (select count(*)::text from pg_replication_slots) as slots_used,
       (select count(*)::text from pg_stat_activity where wait_event = 'SyncRep') as waiting,
       (select case when now() - stats_reset > interval '1 hour'
          then (wal_bytes / extract(epoch from now() - stats_reset))::bigint::text end from pg_stat_wal) as rate`,
  );
  const row = rows[0]!;
  const keep = Number(row.keep ?? -1);
  return {
    walLevel: row.level ?? '',
    senders: Number(row.senders),
    sendersUsed: Number(row.senders_used),
    slots: Number(row.slots),
    slotsUsed: Number(row.slots_used),
    keep: keep < 0 ? -1 : keep * 1024 * 1024,
    syncNames: row.sync ?? '',
    syncCommit: row.commit ?? '',
    waiting: Number(row.waiting),
    rate: row.rate === null || row.rate === undefined ? undefined : Number(row.rate),
  };
}

function walLevel({ walLevel: level }: WalFacts): Finding {
  if (level !== 'minimal') {
    return {
      name: 'wal_level',
      state: 'good',
      detail: `${level}: the server writes into its WAL all that a backup needs`,
    };
  }
  return {
    name: 'wal_level',
    state: 'missing',
    detail: 'wal_level is minimal: the WAL lacks what a backup needs, so none can be taken',
    hint: 'ALTER SYSTEM SET wal_level = replica; then restart the server',
  };
}

/** A sender is the process on the server that serves one connection of the replication protocol. */
function senders({ senders: most, sendersUsed }: WalFacts, streams: boolean): Finding[] {
  const hint = 'ALTER SYSTEM SET max_wal_senders = 10; then restart the server';
  if (most < 1)
    return [
      {
        name: 'max_wal_senders',
        state: 'missing',
        detail: `max_wal_senders is ${most}; a backup takes one`,
        hint,
      },
    ];
  const free = most - sendersUsed;
  const detail = `${sendersUsed} of ${most} in use; the WAL stream takes one, a backup another while it runs`;
  if (free < (streams ? 1 : 2))
    return [
      {
        name: 'max_wal_senders',
        state: 'advice',
        detail: `only ${free} of ${most} are free: ${detail}`,
        hint,
      },
    ];
  return [{ name: 'max_wal_senders', state: 'good', detail }];
}

function slotCount({ slots, slotsUsed }: WalFacts): Finding[] {
  if (slots > slotsUsed) return [];
  return [
    {
      name: 'max_replication_slots',
      state: 'advice',
      detail:
        slots === 0
          ? 'there are no replication slots: `helvino wal stream` needs one, and a long backup relies on wal_keep_size'
          : `all ${slots} replication slots are in use`,
      hint: `ALTER SYSTEM SET max_replication_slots = ${slots + 10}; then restart the server`,
    },
  ];
}

function keepSize({ keep, rate }: WalFacts): Finding {
  const name = 'max_slot_wal_keep_size';
  const hint =
    "set it to what the disk can spare, e.g. half of its free space: ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf(); and let `helvino wal status` alarm you when no stream runs";
  const speed = rate === undefined || rate < 1 ? undefined : `${formatBytes(rate)} a second on average`;
  if (keep === 0) {
    return {
      name,
      state: 'advice',
      detail:
        'the server keeps nothing for a slot: a stream that is away or slow for as long as a checkpoint takes has lost its slot, and a gap begins',
      hint,
    };
  }
  if (keep > 0) {
    const time = speed ? `, some ${formatDuration(keep / rate!)} at ${speed}` : '';
    return {
      name,
      state: 'good',
      detail: `when we are away the server keeps up to ${formatBytes(keep)} of WAL for us${time}; after that the slot is lost: the disk does not fill, but a gap begins, until the next backup`,
    };
  }
  return {
    name,
    state: 'advice',
    detail: `without a limit: when we are away for long, WAL piles up${speed ? ` (${speed})` : ''} until the disk of the server is full, and it stops`,
    hint,
  };
}

function ownSlot(slot: SlotState | undefined, name: string): Finding {
  const what = `slot ${name}`;
  if (slot === undefined) {
    return {
      name: what,
      state: 'advice',
      detail: 'is not there: no WAL stream has run yet, so only the moments of backups can be restored',
      hint: '`helvino wal stream` makes it, and stores WAL about every second',
    };
  }
  const kept = `keeps ${formatBytes(slot.kept)} of WAL`;
  if (slot.wal === 'lost') {
    return {
      name: what,
      state: 'missing',
      detail: 'has lost WAL that was not stored (max_slot_wal_keep_size): there is a gap',
      hint: 'start `helvino wal stream`, which makes it anew; then take a backup',
    };
  }
  if (slot.active) return { name: what, state: 'good', detail: `a stream uses it; ${kept}` };
  return {
    name: what,
    state: 'advice',
    detail: `no stream uses it: it ${kept}, and more with each write`,
    hint: `start \`helvino wal stream\`; if you have stopped for good: SELECT pg_drop_replication_slot('${name}')`,
  };
}

/** Of others: one that nobody uses fills the disk as well. */
function otherSlot(slot: SlotState): Finding[] {
  if (slot.active || slot.kept < 1 << 30 || slot.wal === 'lost') return [];
  return [
    {
      name: `slot ${slot.name}`,
      state: 'advice',
      detail: `nobody uses it, and it keeps ${formatBytes(slot.kept)} of WAL on the server's disk`,
      hint: `if it is no longer needed: SELECT pg_drop_replication_slot('${slot.name}')`,
    },
  ];
}

/** https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES */
function synchronous(facts: WalFacts, slot: SlotState | undefined, { streamName }: StreamNames): Finding[] {
  const name = 'synchronous_standby_names';
  const named = standbyNames(facts.syncNames);
  const any = named.has('*') && facts.sendersUsed === 0;
  if (!named.has(streamName.toLowerCase()) && !any) return [];
  if (slot?.active) {
    if (facts.syncCommit === 'on' || facts.syncCommit === 'remote_apply')
      return [
        { name, state: 'good', detail: `commits wait until ${streamName} has stored them: none can be lost` },
      ];
    return [
      {
        name,
        state: 'advice',
        detail: `names ${streamName}, but synchronous_commit is ${facts.syncCommit}: commits do not wait until they are stored`,
        hint: 'ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();',
      },
    ];
  }
  const waiting = facts.waiting > 0 ? `; ${plural(facts.waiting, 'session waits', 'sessions wait')} now` : '';
  return [
    {
      name,
      state: 'missing',
      detail: `names ${streamName}, and no stream runs: each commit waits until there is one, or another standby that is named${waiting}`,
      hint: "start `helvino wal stream --synchronous`, or let commits through: ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
    },
  ];
}
