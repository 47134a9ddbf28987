/** A report of a drill for tests of this folder, with all that one can say. */

import { canonicalJson } from '../canonical-json.ts';
import type { DrillReport } from '../report.ts';
import { documentFormat, openReport, type ReportDocument, type SignedReport } from './document.ts';
import type { SigningKey } from './signing-key.ts';

export function testReport(more: Partial<DrillReport> = {}): DrillReport {
  return {
    id: '20261101T050012Z-1f4a01bc',
    database: 'main',
    backup: '20261101T030000Z-00012345',
    verdict: 'proven',
    checks: [
      { name: 'restore', state: 'passed', detail: '1604 files, 42949672960 bytes', seconds: 412.4 },
      {
        name: 'start',
        state: 'passed',
        detail: 'PostgreSQL 18.4 from /usr/lib/postgresql/18/bin',
        seconds: 38.2,
      },
      {
        name: 'row counts',
        state: 'passed',
        detail: '41 tables, 10000000 rows: equal to the source',
        seconds: 12,
        queries: [{ sql: 'select count(*) from "public"."messages"', result: '8123456' }],
      },
    ],
    started: '2026-11-01T05:00:12.000Z',
    finished: '2026-11-01T05:14:40.500Z',
    recoverySeconds: 455.1,
    bytes: 42_949_672_960,
    server: 'PostgreSQL 18.4 (system: /usr/lib/postgresql/18/bin)',
    program: '0.1.0',
    ...more,
  };
}

export function testDocument(report: DrillReport, more: Partial<ReportDocument> = {}): ReportDocument {
  return {
    format: documentFormat,
    report,
    backup: {
      id: report.backup,
      repository: '0123456789abcdef0123456789abcdef',
      kind: 'full',
      started: '2026-11-01T03:00:00.000Z',
      finished: '2026-11-01T03:11:02.000Z',
      bytes: report.bytes,
      files: 1604,
      contentSha256: 'ab'.repeat(32),
      source: 'db.internal:5432',
      sourceVersion: '18.4',
      program: '0.1.0',
    },
    dataset: { databases: [{ name: 'shop', tables: 41, rows: '10000000' }], hashed: 41 },
    cadenceSeconds: 32 * 86_400,
    ...more,
  };
}

export function signTest(document: ReportDocument, key: SigningKey): SignedReport {
  const text = canonicalJson({ ...document, key: key.id });
  return { ...openReport(text), signature: key.sign(Buffer.from(text)) };
}
