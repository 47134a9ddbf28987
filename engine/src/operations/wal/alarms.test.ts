import assert from 'node:assert/strict';
import { test } from 'node:test';
import { walAlarms } from './alarms.ts';
import type { SlotState } from './slot.ts';
import type { SourceAnswer, SourceState } from './source-state.ts';
import type { WalGap, WalStatus } from './status.ts';

const gib = 1 << 30;
const slot: SlotState = {
  name: 'helvino_main',
  physical: true,
  active: true,
  wal: 'reserved',
  restart: 0n,
  kept: 0,
  room: undefined,
  sync: 'async',
};
const gap: WalGap = {
  timeline: 1,
  from: '0/1000000',
  to: '0/2000000',
  reason: 'slot-lost',
  why: '',
  time: undefined,
  closedBy: 'a backup',
};

function alarms(
  source: Partial<SourceState> | Exclude<SourceAnswer, SourceState> | undefined,
  { gaps = [] as WalGap[], room }: { gaps?: WalGap[]; room?: number } = {},
): string[] {
  const status: WalStatus = {
    ranges: [],
    windows: [],
    rivals: [],
    gaps,
    ends: [],
    pieces: 0,
    size: 0,
    newest: undefined,
  };
  const good = {
    slot: { ...slot, room },
    archiving: false,
    lag: { bytes: 0, seconds: 0 },
    elsewhere: undefined,
    waiting: 0,
  };
  const state = typeof source === 'object' && !('other' in source) ? { ...good, ...source } : source;
  const limits = { maxLag: 60, minRoom: gib };
  return walAlarms({ slot: 'helvino_main', limits, status, source: state }).map(
    ({ name, message, hint }) => `${name}: ${message} | ${hint}`,
  );
}

test('a stream that runs, all stored – no alarm', () => {
  assert.deepEqual(alarms({}), []);
  assert.deepEqual(alarms({}, { room: gib }), []);
  assert.deepEqual(alarms({ waiting: 3 }), [], 'a commit that waits for a stream that runs is no alarm');
});

test('no slot – an alarm, unless archive_command hands over the WAL', () => {
  assert.match(alarms({ slot: undefined })[0]!, /^stream: no stream has ever run/);
  assert.deepEqual(alarms({ slot: undefined, archiving: true }), []);
});

test('archive_command that has never stored anything – an alarm, though no time can be said', () => {
  const [lag] = alarms({ slot: undefined, archiving: true, lag: { bytes: gib, seconds: undefined } });
  assert.match(lag!, /^lag: nothing of the WAL of the server was stored yet \| .*wal receive/);
});

test('a slot that nobody uses – says what the server keeps; commits that wait for it are told', () => {
  const away = { ...slot, active: false, kept: 3 * gib };
  const [stream, commits] = alarms({ slot: away, waiting: 2 });
  assert.match(stream!, /^stream: no stream is running: .* keep 3\.00 GiB/);
  assert.match(commits!, /^commits: .*: 2 now/);
});

test('a slot in danger, or lost – what is left, and what to do', () => {
  assert.match(alarms({}, { room: gib - 1 })[0]!, /^room: .* lost after 1024 MiB more/);
  assert.match(
    alarms({ slot: { ...slot, wal: 'unreserved', kept: 2 * gib } })[0]!,
    /^slot: .* keeps 2\.00 GiB/,
  );
  assert.match(alarms({ slot: { ...slot, wal: 'lost' } })[0]!, /^slot: .* has lost WAL .* take a backup/);
});

test('a lag – an alarm only above the limit, and only when something is not stored', () => {
  assert.deepEqual(alarms({ lag: { bytes: 10, seconds: 60 } }), []);
  assert.deepEqual(alarms({ lag: { bytes: 0, seconds: 3600 } }), []);
  assert.match(alarms({ lag: { bytes: 10, seconds: 61 } })[0]!, /^lag: 10 B of WAL are not stored/);
});

test('a gap – an alarm until a backup is after it, also when the server was not asked', () => {
  assert.deepEqual(alarms(undefined, { gaps: [gap] }), []);
  assert.match(
    alarms(undefined, { gaps: [gap, { ...gap, closedBy: undefined }] })[0]!,
    /^gap: .* 0\/1000000/,
  );
});

test('a server of another cluster – that alone is said of it: its slot and its LSNs are not ours; gaps are', () => {
  const other = { other: { message: 'another cluster', hint: 'check the connection' } };
  assert.deepEqual(alarms(other), ['cluster: another cluster | check the connection']);
  assert.equal(alarms(other, { gaps: [{ ...gap, closedBy: undefined }] }).length, 2);
});

test('the server does not answer – that is an alarm: silence is not safety', () => {
  assert.match(alarms('connection refused')[0]!, /^server: the server did not answer: connection refused/);
});
