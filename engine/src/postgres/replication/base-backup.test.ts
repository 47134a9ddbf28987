import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HelvinoError } from '../../base/errors.ts';
import { baseBackupCommand } from './base-backup.ts';

const options = { label: "it's", fast: true, verifyChecksums: true, progress: true, wal: false };

test('the command – in the form of the version', () => {
  assert.equal(baseBackupCommand(140010, options), "BASE_BACKUP LABEL 'it''s' PROGRESS FAST NOWAIT");
  assert.equal(
    baseBackupCommand(140010, {
      label: 'x',
      fast: false,
      verifyChecksums: false,
      progress: false,
      wal: true,
      waitForWal: true,
      maxRateKiB: 64,
    }),
    "BASE_BACKUP LABEL 'x' WAL MAX_RATE 64 NOVERIFY_CHECKSUMS",
  );
  assert.equal(
    baseBackupCommand(170000, { ...options, maxRateKiB: 32, incremental: true }),
    "BASE_BACKUP (LABEL 'it''s', PROGRESS true, CHECKPOINT 'fast', WAL false, WAIT false, VERIFY_CHECKSUMS true, MANIFEST 'no', MAX_RATE 32, INCREMENTAL)",
  );
  const spread = baseBackupCommand(150000, { ...options, fast: false });
  assert.match(spread, /^BASE_BACKUP \(.*CHECKPOINT 'spread'/);
  assert.doesNotMatch(baseBackupCommand(140010, { ...options, fast: false }), /FAST/);
});

test('a label with a line break, which would break backup_label – USAGE', () => {
  assert.throws(
    () => baseBackupCommand(160000, { ...options, label: 'a\nb' }),
    (thrown) => thrown instanceof HelvinoError && thrown.code === 'USAGE',
  );
});
