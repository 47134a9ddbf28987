/** Pages are text of a stranger's database: none of it may become markup, and none of it may be lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalJson } from '../canonical-json.ts';
import { openReport } from './document.ts';
import { reportHtml } from './html.ts';
import { reportMarkdown } from './markdown.ts';
import { testDocument, testReport } from './report-fixture.ts';

const open = (...args: Parameters<typeof testReport>) =>
  openReport(canonicalJson(testDocument(testReport(...args))));

test('names with markup – are shown as they are, in HTML and Markdown', () => {
  const evil = `<script>alert(1)</script>"'&|\`*_\u202e\u0007`;
  const report = open({
    database: evil,
    operator: evil,
    checks: [
      {
        name: evil,
        state: 'failed',
        detail: evil,
        seconds: 1,
        findings: [evil],
        queries: [{ sql: evil, result: evil }],
      },
    ],
  });
  const html = reportHtml(report);
  assert.doesNotMatch(html, /<script/i);
  assert.doesNotMatch(html, /[\u202e\u0007]/);
  assert.match(html, /&lt;script&gt;alert\(1\)&lt;\/script&gt;&quot;&#39;&amp;\|`\*_\\u202e\\u0007/);
});

test('names with Markdown – are escaped in text, and fenced in code', () => {
  const sql = 'select `x` | <b>';
  const text = reportMarkdown(
    open({
      operator: '*x* <b> | `y`\u0007',
      checks: [{ name: 'a', state: 'passed', detail: '', seconds: 1, queries: [{ sql, result: '1' }] }],
    }),
  );
  assert.ok(text.includes('| Operator | \\*x\\* \\<b\\> \\| \\`y\\`\\\\u0007 |'), text);
  assert.ok(text.includes('| `` select `x` \\| <b> `` | `1` |'), text);
});

test('a page – works alone: no script, nothing from elsewhere', () => {
  const html = reportHtml(open());
  assert.doesNotMatch(html, /<script|<link|src=|url\(|@import|https?:/i);
});

test('HTML and Markdown – carry the SHA-256 of the record, and the same sections', () => {
  const report = open();
  const [html, markdown] = [reportHtml(report), reportMarkdown(report)];
  for (const text of [html, markdown]) assert.ok(text.includes(report.sha256));
  const sections = [...markdown.matchAll(/^## (.*)$/gm)].map(([, title]) => title!);
  assert.ok(sections.length >= 8);
  for (const title of sections) assert.ok(html.includes(title), title);
});

test('what an auditor asks – is answered, or said to be missing', () => {
  const bare = reportMarkdown(open());
  assert.match(bare, /Operator \| not recorded/);
  assert.match(bare, /## What was not checked[\s\S]*The application was not started/);
  assert.match(bare, /not signed: the host had no signing key/);
  const full = reportMarkdown(
    open({
      operator: 'Ada',
      approver: 'Grace',
      objectives: { rtoSeconds: 14_400, rpoSeconds: 60 },
      measured: { rtoSeconds: 460, rpoSeconds: 90 },
      prediction: { rtoSeconds: 506, basis: 'three drills', drills: 3 },
      issue: {
        findings: ['the disk was slow'],
        remediation: 'new disk',
        retestOf: '20261001T050012Z-1f4a01bc',
      },
    }),
    [{ id: 'later', verdict: 'proven', finished: '2026-12-01T05:00:12.000Z' }],
  );
  assert.match(full, /Operator \| Ada/);
  assert.match(full, /Recovery time \(RTO\) \| 4 h 00 min \| 7 min 40 s \| 3 % \| met/);
  assert.match(full, /Recovery point \(RPO\) \| 1 min 00 s \| 1 min 30 s \| 150 % \| missed/);
  assert.match(full, /prediction was 10 % above/);
  assert.match(full, /Remediation \| new disk/);
  assert.match(full, /Repeated by \| drill later of 2026-12-01 05:00:12 UTC: proven/);
  assert.match(full, /`select count\(\*\) from "public"\."messages"` \| `8123456`/);
});

test('a failed drill without a re-test – says that it waits for one', () => {
  const checks = [{ name: 'content', state: 'failed', detail: '1 of them differ', seconds: 3 }] as const;
  const text = reportMarkdown(open({ verdict: 'failed', checks }));
  assert.match(text, /^# Restore drill report: FAILED/);
  assert.match(text, /Remediation \| not recorded/);
  assert.match(text, /Repeated by \| not yet/);
});

test('an application that did not answer – no recovery time, though the database was there', () => {
  const measured = { bytesRead: 1 };
  const report = open({ recoverySeconds: 4, measured, objectives: { rtoSeconds: 60 } });
  assert.match(
    reportMarkdown(report),
    /Recovery time \(RTO\) \| 1 min 00 s \| not measured \| – \| not measured/,
  );
});

test('a recovery point of which its check cannot say whether it was met – is not called missed', () => {
  const [name, state, seconds] = ['RPO', 'unproven', 0] as const;
  const report = open({
    objectives: { rpoSeconds: 60 },
    measured: { rpoSeconds: 90 },
    checks: [{ name, state, seconds, detail: 'it may be that nothing was written' }],
  });
  assert.match(
    reportMarkdown(report),
    /Recovery point \(RPO\) \| 1 min 00 s \| 1 min 30 s \| 150 % \| not known/,
  );
  assert.match(reportHtml(report), /<div class="open"><dt>Recovery point/);
});

test('what was not checked – is told by the names of checks, not by words in those of others', () => {
  const check = (name: string) => ({ name, state: 'passed', detail: '', seconds: 1 }) as const;
  const missing = (...names: string[]) => {
    const text = reportMarkdown(open({ checks: names.map(check) }));
    return /## What was not checked\n\n([\s\S]*?)\n\n##/.exec(text)![1]!;
  };
  const bare = missing('restore', 'row counts', 'assertion: no http errors');
  assert.match(bare, /The application was not started/);
  assert.doesNotMatch(bare, /No assertions/);
  assert.match(bare, /Unlogged tables, .* were not compared/);
  assert.match(missing('application', 'GET /sql', 'row counts'), /No assertions/);
  assert.match(
    missing('restore', 'consistency', 'amcheck'),
    /Row counts, content and schema were not compared/,
  );
});
