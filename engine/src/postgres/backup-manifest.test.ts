import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { backupManifest } from './backup-manifest.ts';

const walRanges = [{ timeline: 1, startLsn: 0x2000028n, endLsn: 0x2000100n }];

test('a manifest – is JSON as documented, with the checksum of all lines but the last', () => {
  const files = [
    { path: 'base/1/1259', size: 8192, mtime: 1_700_000_000 },
    { path: 'base/1/with "quotes"', size: 0, mtime: 0 },
  ];
  const text = Buffer.concat([
    ...backupManifest({ systemId: '7523456789012345678', files, walRanges }),
  ]).toString();
  const lines = text.split('\n');
  assert.equal(lines.pop(), '');
  const last = lines.pop()!;
  const before = `${lines.join('\n')}\n`;
  assert.equal(last, `"Manifest-Checksum": "${createHash('sha256').update(before).digest('hex')}"}`);
  assert.match(before, /"System-Identifier": 7523456789012345678,/);
  const { 'System-Identifier': _, ...parsed } = JSON.parse(text) as Record<string, unknown>;
  assert.deepEqual(parsed, {
    'PostgreSQL-Backup-Manifest-Version': 2,
    Files: [
      { Path: 'base/1/1259', Size: 8192, 'Last-Modified': '2023-11-14 22:13:20 GMT' },
      { Path: 'base/1/with "quotes"', Size: 0, 'Last-Modified': '1970-01-01 00:00:00 GMT' },
    ],
    'WAL-Ranges': [{ Timeline: 1, 'Start-LSN': '0/2000028', 'End-LSN': '0/2000100' }],
    'Manifest-Checksum': parsed['Manifest-Checksum'],
  });
});

test('100,000 files – come in small pieces, each made when it is asked for', () => {
  let made = 0;
  const files = (function* () {
    for (; made < 100_000; made++) yield { path: `base/1/${made}`, size: 8192, mtime: 0 };
  })();
  const pieces = backupManifest({ systemId: '1', files, walRanges });
  const first = pieces.next();
  assert.ok(made < 2000, String(made));
  assert.ok(!first.done && first.value.length < 66_000);
  let longest = 0;
  for (const piece of pieces) longest = Math.max(longest, piece.length);
  assert.ok(longest < 66_000, String(longest));
  assert.equal(made, 100_000);
});
