/** What is wrong with the protection by WAL, with what to do. Pure. */
import { formatBytes, formatDuration } from '../../base/format.ts';
import { formatLsn } from '../../postgres/index.ts';
import { slotProblems } from './slot-watch.ts';
import type { SourceAnswer, SourceState } from './source-state.ts';
import type { WalStatus } from './status.ts';

export interface WalAlarm {
  readonly name: 'server' | 'cluster' | 'stream' | 'slot' | 'room' | 'lag' | 'elsewhere' | 'gap' | 'commits';
  readonly message: string;
  readonly hint: string;
}

export interface AlarmLimits {
  /** Seconds. */
  readonly maxLag: number;
  /** Bytes. */
  readonly minRoom: number;
}

export interface AlarmFacts {
  readonly slot: string;
  readonly limits: AlarmLimits;
  readonly status: WalStatus;
  /** Undefined: the server was not asked. */
  readonly source: SourceAnswer | undefined;
}

export function walAlarms({ slot, limits, status, source }: AlarmFacts): WalAlarm[] {
  const alarms = [...gapAlarm(status)];
  if (source === undefined) return alarms;
  if (typeof source === 'string') {
    const hint = 'whether WAL is stored up to now is not known; --no-server looks only at what is stored';
    return [{ name: 'server', message: `the server did not answer: ${source}`, hint }, ...alarms];
  }
  if ('other' in source) return [{ name: 'cluster', ...source.other }, ...alarms];
  return [
    ...streamAlarms(slot, source, limits),
    ...(source.elsewhere === undefined ? lagAlarm(source, limits) : elsewhereAlarm(slot, source.elsewhere)),
    ...waitingAlarm(source),
    ...alarms,
  ];
}

function streamAlarms(name: string, { slot, archiving }: SourceState, limits: AlarmLimits): WalAlarm[] {
  const start = 'start `helvino wal stream`, and keep it running as a service';
  if (slot === undefined) {
    if (archiving) return [];
    const message = `no stream has ever run here, or its slot was dropped: the server has no slot ${name}`;
    return [{ name: 'stream', message, hint: start }];
  }
  const alarms: WalAlarm[] = [];
  if (!slot.active) {
    const message = `no stream is running: the slot ${name} makes the server keep ${formatBytes(slot.kept)} of WAL, and more with each write`;
    alarms.push({ name: 'stream', message, hint: start });
  }
  const hints = {
    slot: 'start `helvino wal stream`: it makes the slot anew and fetches what the server still has; then take a backup, and raise max_slot_wal_keep_size',
    room: 'is the stream running, and the store fast enough? raise max_slot_wal_keep_size if the disk has room',
    lag: '',
  };
  for (const { key, message } of slotProblems(name, slot, limits))
    if (key !== 'lag') alarms.push({ name: key, message, hint: hints[key] });
  return alarms;
}

function lagAlarm({ lag, slot, archiving }: SourceState, { maxLag }: AlarmLimits): WalAlarm[] {
  if (lag.bytes === 0) return [];
  if (lag.seconds === undefined) {
    if (slot === undefined && !archiving) return [];
    const hint = archiving
      ? 'is `helvino wal receive` running? pg_stat_archiver and the log of the server say what archive_command answered'
      : 'look at the output of `helvino wal stream`, and at the store';
    return [{ name: 'lag', message: 'nothing of the WAL of the server was stored yet', hint }];
  }
  if (lag.seconds <= maxLag) return [];
  const message = `${formatBytes(lag.bytes)} of WAL are not stored; the last store was ${formatDuration(lag.seconds)} ago (more than wal.maxLag, ${formatDuration(maxLag)})`;
  return [{ name: 'lag', message, hint: 'what was committed since would be lost with the server now' }];
}

/** The server forgets what is confirmed: it will never come here. */
function elsewhereAlarm(slot: string, confirmed: bigint): WalAlarm[] {
  return [
    {
      name: 'elsewhere',
      message: `the stream that uses the slot ${slot} has confirmed WAL up to ${formatLsn(confirmed)}, which is not stored here: it stores elsewhere`,
      hint: 'another Helvino streams into another repository with this slot: give each a slot of its own (wal.slot in helvino.yaml), and take a backup',
    },
  ];
}

function waitingAlarm({ slot, waiting }: SourceState): WalAlarm[] {
  if (waiting === 0 || slot?.active) return [];
  return [
    {
      name: 'commits',
      message: `commits wait for a synchronous standby that is not there: ${waiting} now`,
      hint: "start `helvino wal stream --synchronous`, or let them through: ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
    },
  ];
}

function gapAlarm({ gaps }: WalStatus): WalAlarm[] {
  const gap = gaps.findLast(({ closedBy }) => closedBy === undefined);
  if (!gap) return [];
  return [
    {
      name: 'gap',
      message: `WAL from ${gap.from} to ${gap.to} of timeline ${gap.timeline} is ${gap.reason === 'damaged' ? 'damaged' : 'missing'}, and there is no backup after it`,
      hint: 'take a backup now: what is after the gap can be recovered only with a backup that is after it, too',
    },
  ];
}
