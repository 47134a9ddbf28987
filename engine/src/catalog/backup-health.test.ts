import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatAge, type HealthObjectives, type JudgedBackup, judgeBackups } from './backup-health.ts';

const now = new Date('2026-11-25T12:00:00Z');
const objectives: HealthObjectives = { maxAge: 36 * 3600, minSize: 1 << 20, maxShrink: 0.5, maxGrowth: 3 };
const mib = 1 << 20;

function backup(hoursOld: number, more: Partial<JudgedBackup> = {}): JudgedBackup {
  return {
    id: `${hoursOld} h`,
    made: new Date(now.getTime() - hoursOld * 3_600_000),
    state: 'good',
    proven: false,
    bytes: 100 * mib,
    stored: 20 * mib,
    ...more,
  };
}

function bad(backups: readonly JudgedBackup[]): string[] {
  return judgeBackups(backups, { objectives, now })
    .filter(({ state }) => state !== 'ok')
    .map(({ name, state, detail }) => `${state} ${name}: ${detail}`);
}

test('a fresh backup of usual size – all is well', () => {
  assert.deepEqual(bad([backup(59), backup(35), backup(11)]), []);
  assert.deepEqual(bad([backup(36)]), []);
});

test('no backup, one that is too old, one from the future – critical', () => {
  assert.deepEqual(bad([]), ['critical age: there is no backup']);
  assert.deepEqual(bad([backup(60), backup(37)]), [
    'critical age: the newest backup is 37 h old, the objective is 36 h',
  ]);
  assert.deepEqual(bad([backup(-2)]), [
    'critical age: the newest backup is 2 h in the future: a clock is wrong',
  ]);
});

test('an empty backup, one under 1 MiB – critical, unless a drill has proven the small one', () => {
  assert.deepEqual(bad([backup(1, { bytes: 0, stored: 20 })]), [
    'critical size: the newest backup, 1 h, is empty',
  ]);
  const small = { bytes: 900_000, stored: 200_000 };
  assert.deepEqual(bad([backup(1, small)]), [
    'critical size: the newest backup is suspiciously small: 879 KiB, 195 KiB in the repository, less than 1.00 MiB',
  ]);
  assert.deepEqual(bad([backup(1, { ...small, proven: true })]), []);
});

test('against the median of those before – half is critical, three times is a warning, an outlier does not count', () => {
  const before = [backup(90), backup(70, { bytes: 5 * mib }), backup(50), backup(30)];
  assert.deepEqual(bad([...before, backup(1, { bytes: 51 * mib })]), []);
  assert.deepEqual(bad([...before, backup(1, { bytes: 49 * mib })]), [
    'critical trend: the newest backup shrank: 49.0 MiB; usual is 100 MiB (a drill that proves it says that this is right)',
  ]);
  assert.deepEqual(bad([...before, backup(1, { bytes: 301 * mib })]), [
    'warning trend: the newest backup grew: 301 MiB; usual is 100 MiB',
  ]);
  assert.deepEqual(bad([backup(30), backup(20), backup(1, { bytes: 2 * mib })]), [], 'two make no trend');
});

test('a drill of the newest failed, a manifest cannot be read – critical', () => {
  assert.deepEqual(bad([backup(30), backup(1, { state: 'failed' })]), [
    'critical drill result: the drill of the newest backup, 1 h, failed',
  ]);
  assert.deepEqual(bad([backup(30), backup(1, { state: 'unreadable' })]), [
    'critical manifests: 1 h cannot be read',
  ]);
});

test('ages – minutes, hours, days', () => {
  assert.deepEqual([0, 119 * 60, 7200, 47 * 3600, 48 * 3600, 51 * 3600].map(formatAge), [
    '0 min',
    '119 min',
    '2 h',
    '47 h',
    '2 d',
    '2 d 3 h',
  ]);
});
