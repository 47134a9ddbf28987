import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DrillReport } from '../../operations/drill/index.ts';
import { drillText } from './drill-text.ts';

test('what an application printed – does not steer the terminal', () => {
  const evil = '\u001b[2Jgone\u0007';
  const report = {
    database: 'main',
    backup: 'b',
    bytes: 1,
    verdict: 'failed',
    checks: [{ name: `assertion: ${evil}`, state: 'failed', detail: evil, seconds: 1, findings: [evil] }],
  } as unknown as DrillReport;
  const text = drillText(report).join('\n');
  assert.doesNotMatch(text, /[\u001b\u0007]/);
  assert.equal(text.match(/\\u001b\[2Jgone\\u0007/g)?.length, 4);
});
